//! Upkeep of the database, asked for through [`Db`].

use db_core::{Error, Result};
use db_maintenance::partitions::Report;
use db_maintenance::routine::{Routine, RoutineReport};

use super::Db;

/// What [`Db::maintain`] did.
///
/// ```
/// # fn show(done: &db_platform::Maintained) {
/// println!("{}; {} tasks", done.partitions.summary(), done.routine.done.len());
/// # }
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Maintained {
    /// Of the partitions that the settings name.
    pub partitions: Report,
    /// Of everything else.
    pub routine: RoutineReport,
}

impl Db {
    /// Makes the partitions that will be needed and takes out those that have outlived their rows, as the
    /// policy of the settings says (`PARTITION_POLICY`): what the schedule does at its times.
    ///
    /// ```no_run
    /// # async fn tidy(db: db_platform::Db) -> db_platform::Result<()> {
    /// let report = db.cleanup_partitions().await?;
    /// println!("{}", report.summary());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// It runs on a connection of its own, past any pooler. Where another process is at work,
    /// [`Report::is_led`] is false and nothing was done; without a policy as well. A set that failed is in
    /// the report, and stops no other.
    ///
    /// # Errors
    /// Where nothing could be planned: no connection, or a lost one.
    ///
    /// # Cancel safety
    /// Dropping the future closes its connection; what was begun, the next run ends.
    pub async fn cleanup_partitions(&self) -> Result<Report> {
        self.upkeep.run().await.map_err(known)
    }

    /// All upkeep in one call, as an operator would do it: the partitions first, then what is due of vacuum,
    /// statistics, bloat, indexes and materialized views, within `routine`'s budget. What is bloated the
    /// server's statistics say. `MAINTENANCE_SCHEDULE` does it at its times.
    ///
    /// ```no_run
    /// # async fn tidy(db: db_platform::Db) -> db_platform::Result<()> {
    /// use db_platform::maintenance::routine::Routine;
    ///
    /// let done = db.maintain(&Routine::default()).await?;
    /// assert!(done.routine.failed.is_empty(), "{:?}", done.routine);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Db::cleanup_partitions`].
    ///
    /// # Cancel safety
    /// As [`Db::cleanup_partitions`].
    pub async fn maintain(&self, routine: &Routine) -> Result<Maintained> {
        let partitions = self.cleanup_partitions().await?;
        let routine = self.upkeep.tidy(routine).await.map_err(known)?;
        Ok(Maintained { partitions, routine })
    }
}

/// An error of ours stays what it is.
fn known(error: db_schedule::BoxError) -> Error {
    match error.downcast::<Error>() {
        Ok(error) => *error,
        Err(error) => Error::Client(error),
    }
}
