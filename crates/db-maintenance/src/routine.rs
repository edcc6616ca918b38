//! Routine upkeep: vacuum and analyze where statistics say so, indexes that are invalid or bloated,
//! materialized views.
//!
//! `plan` names each thing and why; `apply` does it within a budget, one after another, each as the role that
//! owns it. It gives way: to whoever holds a lock, to a vacuum that is at work, and to an index that somebody
//! builds.

mod baseline;
mod look;
mod note;
mod run;

use std::fmt;
use std::time::Duration;

use serde::Serialize;
use tokio_postgres::Client;

use crate::compact::CompactConfig;
use crate::error::Result;
use crate::name::TableName;
use crate::session::{Patience, Session};

/// What is to be kept in order, and within which bounds.
///
/// ```no_run
/// # async fn tidy(client: &mut tokio_postgres::Client) -> db_maintenance::Result<()> {
/// use std::time::Duration;
/// use db_maintenance::routine::Routine;
///
/// let routine = Routine { budget: Duration::from_secs(1_800), ..Routine::default() };
/// println!("{}", routine.plan(client).await?);
/// let report = routine.apply(client, None).await?;
/// assert!(report.failed.is_empty(), "{report:?}");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Routine {
    /// No task is begun after this long, and one that is at work is cancelled then.
    pub budget: Duration,
    /// B-trees that statistics call bloated. Of other kinds of index, upkeep knows by the baseline that it
    /// has noted when they were as they should be.
    pub bloated: Vec<BloatedIndex>,
    /// Tables that statistics call bloated: they are compacted where nothing forbids it.
    pub bloated_tables: Vec<BloatedTable>,
    /// How they are compacted. Its budget and its owners are this routine's.
    pub compact: CompactConfig,
    /// Owners of tables whose functions a superuser may run; a role that is no superuser needs none.
    pub trusted_owners: Vec<String>,
    /// How long a task waits for its lock.
    pub lock_waits: Duration,
    /// Whether what failed before for a lasting reason is tried again.
    pub retry_failed: bool,
    /// Build bloated indexes anew although there are standbys: where the old index goes, their readers of it
    /// are cancelled after `max_standby_streaming_delay`.
    pub cancel_standby_readers: bool,
}

impl Default for Routine {
    fn default() -> Self {
        Routine {
            budget: Duration::from_secs(3_600),
            bloated: Vec::new(),
            bloated_tables: Vec::new(),
            compact: CompactConfig::default(),
            trusted_owners: Vec::new(),
            lock_waits: Duration::from_secs(5),
            retry_failed: false,
            cancel_standby_readers: false,
        }
    }
}

/// An index that would be smaller if it were built anew.
///
/// ```
/// use db_maintenance::routine::BloatedIndex;
///
/// let bloated = BloatedIndex { index: "app.orders_at_idx".parse()?, bytes: 1 << 30, bloat_percent: 62.0 };
/// # let _ = bloated;
/// # Ok::<(), db_maintenance::MaintenanceError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct BloatedIndex {
    /// The index.
    pub index: TableName,
    /// Its size.
    pub bytes: i64,
    /// How much of it could be given back.
    pub bloat_percent: f64,
}

/// A table that would be smaller if its rows stood close together.
///
/// ```
/// use db_maintenance::routine::BloatedTable;
///
/// let bloated = BloatedTable { table: "app.orders".parse()?, bytes: 1 << 30, bloat_percent: 62.0 };
/// # let _ = bloated;
/// # Ok::<(), db_maintenance::MaintenanceError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct BloatedTable {
    /// The table.
    pub table: TableName,
    /// Its size.
    pub bytes: i64,
    /// How much of it could be given back.
    pub bloat_percent: f64,
}

/// What is to be done.
///
/// ```
/// use db_maintenance::routine::TaskKind;
///
/// assert_eq!(TaskKind::Analyze.to_string(), "analyze");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum TaskKind {
    /// VACUUM with FREEZE: its transaction ids grow old.
    Freeze,
    /// DROP INDEX CONCURRENTLY of what an interrupted build left.
    Drop,
    /// The table is made small, as [`Compact`](crate::compact::Compact) does it.
    Compact,
    /// REINDEX INDEX CONCURRENTLY.
    Reindex,
    /// VACUUM.
    Vacuum,
    /// ANALYZE.
    Analyze,
    /// REFRESH MATERIALIZED VIEW CONCURRENTLY.
    Refresh,
}

/// One task of a plan.
///
/// ```
/// # fn show(task: &db_maintenance::routine::Task) {
/// println!("{} {}: {}", task.kind, task.name, task.why);
/// # }
/// ```
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Task {
    /// What is to be done.
    pub kind: TaskKind,
    /// To what.
    pub name: TableName,
    /// Why, with its figures.
    pub why: String,
    #[serde(skip)]
    pub(crate) oid: u32,
    #[serde(skip)]
    pub(crate) owner: String,
    /// The table that an index is on.
    #[serde(skip)]
    pub(crate) table: Option<u32>,
    /// What is noted of a materialized view once it is refreshed.
    #[serde(skip)]
    pub(crate) mark: Option<String>,
}

/// What there is to do, and what is left alone.
///
/// ```
/// # fn show(plan: &db_maintenance::routine::RoutinePlan) {
/// println!("{plan}");
/// # }
/// ```
#[derive(Debug, Clone, Default, Serialize)]
#[non_exhaustive]
pub struct RoutinePlan {
    /// The tasks, in their order.
    pub tasks: Vec<Task>,
    /// What would be due, and why it is not done.
    pub held: Vec<Held>,
}

/// What is left alone.
///
/// ```
/// # fn show(held: &db_maintenance::routine::Held) {
/// println!("{}: {}", held.name, held.why);
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Held {
    /// The table, index or view.
    pub name: TableName,
    /// Why, and what would let it go on.
    pub why: String,
}

/// What one run did.
///
/// ```
/// let report = db_maintenance::routine::RoutineReport::default();
/// assert!(!report.is_led && report.done.is_empty());
/// ```
#[derive(Debug, Clone, Default, Serialize)]
#[non_exhaustive]
pub struct RoutineReport {
    /// Whether this run had the lock; if not, another maintainer is at work and nothing was done.
    pub is_led: bool,
    /// The tasks that were done, in words.
    pub done: Vec<String>,
    /// The tasks that failed, each with its reason.
    pub failed: Vec<String>,
    /// The tasks for which the budget had no room.
    pub left: Vec<String>,
    /// What was left alone, and why.
    pub held: Vec<Held>,
}

impl Routine {
    /// What there is to do. It only reads.
    ///
    /// # Errors
    /// What the server says.
    pub async fn plan(&self, client: &mut Client) -> Result<RoutinePlan> {
        let mut session = Session::pin(client, Patience::default()).await?;
        look::plan(self, &mut session).await
    }

    /// Does it, if no other maintainer is at work. A task that fails stops no other.
    ///
    /// `probes` is a second connection to the same server, on which reads of a table are timed while it is
    /// compacted; without one, their latency does not slow that down.
    ///
    /// # Errors
    /// Where nothing could be planned, or the connection is lost.
    ///
    /// # Cancel safety
    /// Dropping the future may leave an index half built: the next run removes it. Close the connection.
    pub async fn apply(&self, client: &mut Client, probes: Option<&Client>) -> Result<RoutineReport> {
        let mut session = Session::pin(client, Patience::default()).await?;
        run::apply(self, &mut session, probes).await
    }
}

impl RoutineReport {
    /// What was done, in one sentence.
    pub fn summary(&self) -> String {
        if !self.is_led {
            return "another maintainer is at work".to_owned();
        }
        let mut said = vec![format!("{} tasks done", self.done.len())];
        said.extend((!self.failed.is_empty()).then(|| format!("failed: {}", self.failed.join("; "))));
        said.extend((!self.left.is_empty()).then(|| format!("{} left for the next run", self.left.len())));
        said.join(", ")
    }
}

impl Task {
    /// The task in words, without its reason.
    pub fn what(&self) -> String {
        format!("{} {}", self.kind, self.name)
    }

    /// The statement that does it; none where it takes more than one.
    pub fn sql(&self) -> Option<String> {
        let name = self.name.quoted();
        Some(match self.kind {
            // Cutting off the end of a table takes an exclusive lock, which cancels readers on standbys.
            TaskKind::Freeze => format!("VACUUM (FREEZE, ANALYZE, TRUNCATE false) {name}"),
            TaskKind::Vacuum => format!("VACUUM (ANALYZE, TRUNCATE false) {name}"),
            TaskKind::Analyze => format!("ANALYZE {name}"),
            TaskKind::Drop => format!("DROP INDEX CONCURRENTLY {name}"),
            TaskKind::Compact => return None,
            TaskKind::Reindex => format!("REINDEX INDEX CONCURRENTLY {name}"),
            TaskKind::Refresh => format!("REFRESH MATERIALIZED VIEW CONCURRENTLY {name}"),
        })
    }
}

impl fmt::Display for TaskKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TaskKind::Freeze => "freeze",
            TaskKind::Drop => "drop",
            TaskKind::Compact => "compact",
            TaskKind::Reindex => "reindex",
            TaskKind::Vacuum => "vacuum",
            TaskKind::Analyze => "analyze",
            TaskKind::Refresh => "refresh",
        })
    }
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what(), self.why)
    }
}

impl fmt::Display for RoutinePlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for task in &self.tasks {
            writeln!(f, "{task}")?;
        }
        for held in &self.held {
            writeln!(f, "{} is left alone: {}", held.name, held.why)?;
        }
        write!(f, "{} tasks", self.tasks.len())
    }
}
