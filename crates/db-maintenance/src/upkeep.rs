//! Upkeep beside a service: partitions and routine tasks, at the times of the settings, and watched in
//! between.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use db_core::{Error, Part, PartCheck, Running};
use db_schedule::{BoxError, BoxFuture, Job, Scheduler};
use tokio_postgres::Client;

use crate::partitions::{Partitions, Report, checks};
use crate::routine::{Routine, RoutineReport};
use crate::{PartitionSettings, UpkeepSettings};

/// A run that hangs is cancelled after so long; the next one ends what it began.
const LONGEST_RUN: Duration = Duration::from_secs(3_600);

/// So long behind its budget routine upkeep is done with what it had begun.
const LONGEST_END: Duration = Duration::from_secs(600);

/// How long a run may go on when the service ends.
const GRACE: Duration = Duration::from_secs(10);

/// Opens a connection to the primary, past any pooler, without limits on its statements.
pub type OpenClient = Arc<dyn Fn() -> BoxFuture<'static, Result<Client, BoxError>> + Send + Sync>;

/// Finds what is bloated: the routine, with that added.
pub type FindBloat = Arc<dyn Fn(Routine) -> BoxFuture<'static, Result<Routine, BoxError>> + Send + Sync>;

/// Keeps partitions and does routine upkeep, on connections of its own.
///
/// ```
/// # fn attach(open: db_maintenance::OpenClient, bloat: db_maintenance::FindBloat) {
/// use db_maintenance::{PartitionSettings, Upkeep};
///
/// let upkeep = Upkeep::new(None, open, bloat);
/// assert!(upkeep.part(&PartitionSettings::default()).is_none(), "there is nothing to keep");
/// # }
/// ```
#[derive(Clone)]
pub struct Upkeep {
    partitions: Option<Partitions>,
    open: OpenClient,
    with_bloat: FindBloat,
    last: Arc<Mutex<Report>>,
}

impl Upkeep {
    /// Keeps these partitions, if any.
    pub fn new(partitions: Option<Partitions>, open: OpenClient, with_bloat: FindBloat) -> Self {
        Upkeep { partitions, open, with_bloat, last: Arc::default() }
    }

    /// One run over the partitions, now; nothing without any.
    ///
    /// # Errors
    /// Where nothing could be planned.
    ///
    /// # Cancel safety
    /// Dropping the future closes its connection; what was begun, the next run ends.
    pub async fn run(&self) -> Result<Report, BoxError> {
        let Some(partitions) = &self.partitions else { return Ok(Report::default()) };
        let mut client = (self.open)().await?;
        let report = partitions.apply(&mut client).await?;
        let known = match report.is_led {
            true => report.clone(),
            // Another process keeps them; how they are is seen here as well.
            false => partitions.status(&mut client).await?.into(),
        };
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = known;
        Ok(report)
    }

    /// Whether the settings name sets of partitions.
    pub fn has_policy(&self) -> bool {
        self.partitions.is_some()
    }

    /// How the sets are now; changes nothing.
    ///
    /// # Errors
    /// Where no connection is to be had, or it is lost.
    ///
    /// # Cancel safety
    /// Dropping the future closes its connection.
    pub async fn look(&self) -> Result<Report, BoxError> {
        let Some(partitions) = &self.partitions else { return Ok(Report::default()) };
        Ok(partitions.status(&mut (self.open)().await?).await?.into())
    }

    /// Routine upkeep, now, with what is found to be bloated beside what the caller says is.
    ///
    /// # Errors
    /// Where it is not known what is bloated, and where no connection is to be had.
    ///
    /// # Cancel safety
    /// Dropping the future closes its connections; what was begun, the next run ends.
    pub async fn tidy(&self, routine: &Routine) -> Result<RoutineReport, BoxError> {
        let known = (self.with_bloat)(routine.clone()).await?;
        let routine = Routine {
            bloated: known.bloated.into_iter().chain(routine.bloated.iter().cloned()).collect(),
            bloated_tables: known
                .bloated_tables
                .into_iter()
                .chain(routine.bloated_tables.iter().cloned())
                .collect(),
            ..known
        };
        let probes = (self.open)().await?;
        let mut client = (self.open)().await?;
        Ok(routine.apply(&mut client, Some(&probes)).await?)
    }

    fn checks(&self) -> Vec<PartCheck> {
        checks(&self.last.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The part that keeps partitions at the times of the settings; none where there is nothing to keep.
    pub fn part(&self, settings: &PartitionSettings) -> Option<Part> {
        let cron = settings.schedule.clone().filter(|_| self.partitions.is_some())?;
        let upkeep = self.clone();
        Some(Part::named("partitions").starting(move |_| async move {
            let work = upkeep.clone();
            let job = Job::new("partitions", cron, move |run| {
                let work = work.clone();
                async move {
                    tokio::select! {
                        done = work.run() => said(&done?),
                        () = run.cancelled() => Err("it was to end before it was done".into()),
                    }
                }
            });
            let scheduler = Scheduler::builder().job(job.timeout(LONGEST_RUN)).start();
            let scheduler = scheduler.map_err(|error| Error::Client(Box::new(error)))?;
            // The first look is at once: a partition that is missing now is not to wait for the hour.
            scheduler.run_now("partitions").map_err(|error| Error::Client(Box::new(error)))?;
            Ok(Running::new().with_checks(move || upkeep.checks()).with_stop(move || async move {
                scheduler.stop(GRACE).await;
            }))
        }))
    }

    /// The part that does routine upkeep at the times of the settings; none where they name none.
    pub fn routine_part(&self, settings: &UpkeepSettings) -> Option<Part> {
        let (cron, routine) = (settings.schedule.clone()?, settings.routine());
        // What is at work when the budget ends is cancelled by then.
        let longest = routine.budget.saturating_add(LONGEST_END);
        let upkeep = self.clone();
        Some(Part::named("upkeep").starting(move |_| async move {
            let job = Job::new("upkeep", cron, move |run| {
                let (upkeep, routine) = (upkeep.clone(), routine.clone());
                async move {
                    tokio::select! {
                        done = upkeep.tidy(&routine) => routine_said(&done?),
                        () = run.cancelled() => Err("it was to end before it was done".into()),
                    }
                }
            });
            let scheduler = Scheduler::builder().job(job.timeout(longest)).start();
            let scheduler = scheduler.map_err(|error| Error::Client(Box::new(error)))?;
            Ok(Running::new().with_stop(move || async move {
                scheduler.stop(GRACE).await;
            }))
        }))
    }
}

/// What a run says; one that leaves something to a person has failed.
fn said(report: &Report) -> Result<String, BoxError> {
    if report.is_well() { Ok(report.summary()) } else { Err(report.summary().into()) }
}

/// As [`said`], of routine upkeep.
fn routine_said(report: &RoutineReport) -> Result<String, BoxError> {
    if report.failed.is_empty() { Ok(report.summary()) } else { Err(report.summary().into()) }
}

impl fmt::Debug for Upkeep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upkeep").field("partitions", &self.partitions).finish_non_exhaustive()
    }
}
