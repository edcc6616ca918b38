//! A job: its name, its times, its work, and what holds when it is late, hangs or is not alone.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio_util::sync::CancellationToken;

use crate::{BoxFuture, Cron, Lease};

/// Why a run failed.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

pub(crate) type Work = Arc<dyn Fn(Run) -> BoxFuture<'static, Result<String, BoxError>> + Send + Sync>;

/// Something that runs at the times of a cron expression.
///
/// ```
/// use std::time::Duration;
/// use db_schedule::{Cron, Job};
///
/// let job = Job::new("backup", Cron::parse("30 2 * * *", "UTC")?, |run| async move {
///     // A long job looks at `run.cancelled()` where it can stop.
///     Ok(format!("the run of {}", run.due))
/// })
/// .timeout(Duration::from_secs(6 * 3600))
/// .jitter(Duration::from_secs(300))
/// .expect_within(Duration::from_secs(26 * 3600));
/// assert_eq!(job.name(), "backup");
/// # Ok::<(), db_schedule::InvalidCron>(())
/// ```
pub struct Job {
    pub(crate) name: String,
    pub(crate) cron: Cron,
    pub(crate) work: Work,
    pub(crate) timeout: Option<Duration>,
    pub(crate) cancel_grace: Duration,
    pub(crate) jitter: Duration,
    pub(crate) missed: Missed,
    pub(crate) expect_within: Option<Duration>,
    pub(crate) last_success: Option<DateTime<Utc>>,
    pub(crate) lease: Option<Arc<dyn Lease>>,
    pub(crate) lease_poll: Duration,
}

/// What happens to due times that passed while the host slept, was stopped or had a wrong clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Missed {
    /// One run at once makes up for all of them. For backups: a late one is worth more than none.
    #[default]
    RunOnce,
    /// Nothing: the next run is at the next due time. For what makes sense at its time only.
    Skip,
}

/// One run of a job, as its work sees it.
#[derive(Debug, Clone)]
pub struct Run {
    /// The time that the run is for; the time of the request for a run that was asked for.
    pub due: DateTime<Utc>,
    pub(crate) cancelled: CancellationToken,
}

impl Job {
    /// A job. Its work answers with one line on what it did, or with an error.
    ///
    /// The name is shown to people and is a label of metrics: short, stable and unique in a scheduler.
    pub fn new<F>(
        name: impl Into<String>,
        cron: Cron,
        work: impl Fn(Run) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Result<String, BoxError>> + Send + 'static,
    {
        Job {
            name: name.into(),
            cron,
            work: Arc::new(move |run| Box::pin(work(run))),
            timeout: None,
            cancel_grace: Duration::from_secs(10),
            jitter: Duration::ZERO,
            missed: Missed::default(),
            expect_within: None,
            last_success: None,
            lease: None,
            lease_poll: Duration::from_secs(10),
        }
    }

    /// What logs, metrics and notifications call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// When it runs.
    pub fn cron(&self) -> &Cron {
        &self.cron
    }

    /// Cancels a run that takes longer. Without it a run that hangs is only found by
    /// [`expect_within`](Job::expect_within), and no other run of the job begins.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// How long a cancelled run may take to end before its future is dropped; 10 s unless said.
    #[must_use]
    pub fn cancel_grace(mut self, grace: Duration) -> Self {
        self.cancel_grace = grace;
        self
    }

    /// Starts each run at a random moment up to this long after its due time, so that many hosts do not ask
    /// one store in the same second.
    #[must_use]
    pub fn jitter(mut self, jitter: Duration) -> Self {
        self.jitter = jitter;
        self
    }

    /// What happens to due times that passed while nobody could attend to them.
    #[must_use]
    pub fn missed(mut self, missed: Missed) -> Self {
        self.missed = missed;
        self
    }

    /// Says [`Overdue`](crate::Event::Overdue) when there was no success for this long, whatever the reason.
    /// Take the longest pause between two due times, and a run's time on top.
    #[must_use]
    pub fn expect_within(mut self, within: Duration) -> Self {
        self.expect_within = Some(within);
        self
    }

    /// When the job last succeeded before this process started, as its own records say: with it, a due time
    /// that passed while no process ran is made up for, and the age of the last success survives a restart.
    #[must_use]
    pub fn last_success(mut self, at: Option<DateTime<Utc>>) -> Self {
        self.last_success = at;
        self
    }

    /// Runs only while it has this lease, so that one of many hosts runs it.
    #[must_use]
    pub fn lease(mut self, lease: Arc<dyn Lease>) -> Self {
        self.lease = Some(lease);
        self
    }

    /// How often a lease that another host has is asked for again; 10 s unless said, and at least 10 ms.
    #[must_use]
    pub fn lease_poll(mut self, poll: Duration) -> Self {
        self.lease_poll = poll.max(Duration::from_millis(10));
        self
    }
}

impl Run {
    /// Waits until the run is to end: its time is over, its lease is lost, or the scheduler stops.
    ///
    /// # Cancel safety
    /// It may be dropped and called again.
    pub async fn cancelled(&self) {
        self.cancelled.cancelled().await;
    }

    /// Whether the run is to end.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.is_cancelled()
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job").field("name", &self.name).field("cron", &self.cron).finish_non_exhaustive()
    }
}
