//! The scheduler: one task for each job, which waits for its due times and runs it, and one that watches
//! their age.

use std::collections::BTreeSet;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::late::{self, Due};
use crate::status::Board;
use crate::{Event, Job, JobStatus, Observer, running};

/// Timers do not run while the host sleeps, so the clock is looked at this often.
const LOOK: Duration = Duration::from_secs(10);

type Clock = Arc<dyn Fn() -> DateTime<Utc> + Send + Sync>;

/// Jobs that run at their times until they are stopped. Dropping it ends them at once, mid-run.
///
/// ```
/// use std::time::Duration;
/// use db_schedule::{Cron, Job, Scheduler};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let scheduler = Scheduler::builder()
///     .job(Job::new("tidy", Cron::parse("@hourly", "UTC")?, |_| async { Ok("3 files".to_owned()) }))
///     .start()?;
/// scheduler.run_now("tidy")?;
/// let stopped = scheduler.stop(Duration::from_secs(30)).await;
/// assert!(stopped.cancelled.is_empty());
/// # Ok(())
/// # }
/// ```
pub struct Scheduler {
    shared: Arc<Shared>,
    tasks: JoinSet<()>,
}

/// Makes a [`Scheduler`].
pub struct Builder {
    jobs: Vec<Job>,
    observers: Vec<Arc<dyn Observer>>,
    clock: Clock,
}

/// How a scheduler stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stopped {
    /// The jobs whose runs did not end by themselves within the grace.
    pub cancelled: Vec<String>,
}

/// What a scheduler refuses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SchedulerError {
    /// Two jobs have one name.
    #[error("two jobs are called {0:?}: give each a name of its own")]
    SameName(String),
    /// There is no such job.
    #[error("there is no job {name:?}: the jobs are {known}")]
    NoSuchJob {
        /// What was asked for.
        name: String,
        /// The names that there are.
        known: String,
    },
}

/// What the tasks of a scheduler share.
pub(crate) struct Shared {
    jobs: Vec<Arc<Entry>>,
    observers: Vec<Arc<dyn Observer>>,
    clock: Clock,
    /// No run begins any more.
    pub(crate) stopping: CancellationToken,
    /// Runs are to end.
    pub(crate) cancelling: CancellationToken,
}

/// A job and how it is.
pub(crate) struct Entry {
    pub(crate) job: Job,
    pub(crate) board: Board,
    asked: Notify,
}

impl Scheduler {
    /// A scheduler without jobs yet.
    pub fn builder() -> Builder {
        Builder { jobs: Vec::new(), observers: Vec::new(), clock: Arc::new(Utc::now) }
    }

    /// How each job is now, in the order in which they were given.
    pub fn status(&self) -> Vec<JobStatus> {
        self.shared.status()
    }

    /// A handle that answers [`status`](Scheduler::status) from elsewhere, such as from a page of metrics.
    pub fn watch(&self) -> impl Fn() -> Vec<JobStatus> + Send + Sync + Clone + use<> {
        let shared = Arc::clone(&self.shared);
        move || shared.status()
    }

    /// Runs a job now, besides its times. If it runs already, it runs once more when that run has ended;
    /// asking several times meanwhile is asking once.
    ///
    /// # Errors
    /// [`SchedulerError::NoSuchJob`].
    pub fn run_now(&self, name: &str) -> Result<(), SchedulerError> {
        match self.shared.jobs.iter().find(|entry| entry.job.name == name) {
            Some(entry) => {
                entry.asked.notify_one();
                Ok(())
            }
            None => {
                let known = self.shared.jobs.iter().map(|entry| &*entry.job.name).collect::<Vec<_>>();
                Err(SchedulerError::NoSuchJob { name: name.to_owned(), known: known.join(", ") })
            }
        }
    }

    /// Begins no more runs, waits up to `grace` for those that run, then cancels them and waits for each
    /// job's [`cancel_grace`](Job::cancel_grace).
    ///
    /// # Cancel safety
    /// Dropping the future ends all runs at once.
    pub async fn stop(mut self, grace: Duration) -> Stopped {
        self.shared.stopping.cancel();
        if timeout(grace, all(&mut self.tasks)).await.is_ok() {
            return Stopped { cancelled: Vec::new() };
        }
        let running = self.shared.status().into_iter().filter(|status| status.running_since.is_some());
        let cancelled = running.map(|status| status.name).collect();
        self.shared.cancelling.cancel();
        all(&mut self.tasks).await;
        Stopped { cancelled }
    }
}

async fn all(tasks: &mut JoinSet<()>) {
    while tasks.join_next().await.is_some() {}
}

impl Builder {
    /// Adds a job.
    #[must_use]
    pub fn job(mut self, job: Job) -> Self {
        self.jobs.push(job);
        self
    }

    /// Adds someone who is told of everything that happens.
    #[must_use]
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observers.push(observer);
        self
    }

    /// Reads the time from here in place of the system's clock: for tests that pause tokio's time.
    #[must_use]
    pub fn clock(mut self, clock: impl Fn() -> DateTime<Utc> + Send + Sync + 'static) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Starts the jobs' tasks on the current runtime.
    ///
    /// # Errors
    /// [`SchedulerError::SameName`].
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn start(self) -> Result<Scheduler, SchedulerError> {
        let mut names = BTreeSet::new();
        if let Some(job) = self.jobs.iter().find(|job| !names.insert(job.name.clone())) {
            return Err(SchedulerError::SameName(job.name.clone()));
        }
        let entry = |job: Job| {
            let board = Board::new(&job.name, job.last_success);
            Arc::new(Entry { job, board, asked: Notify::new() })
        };
        let shared = Arc::new(Shared {
            jobs: self.jobs.into_iter().map(entry).collect(),
            observers: self.observers,
            clock: self.clock,
            stopping: CancellationToken::new(),
            cancelling: CancellationToken::new(),
        });
        let mut tasks = JoinSet::new();
        for entry in &shared.jobs {
            tasks.spawn(attend(Arc::clone(&shared), Arc::clone(entry)));
        }
        tasks.spawn(watch_age(Arc::clone(&shared)));
        Ok(Scheduler { shared, tasks })
    }
}

impl Shared {
    pub(crate) fn now(&self) -> DateTime<Utc> {
        (self.clock)()
    }

    /// Logs an event and tells the observers.
    pub(crate) fn tell(&self, event: &Event<'_>) {
        match event {
            Event::Finished { .. } | Event::Overdue { .. } if event.is_bad() => {
                tracing::error!(job = event.job(), "{event}");
            }
            Event::Missed { .. } => tracing::warn!(job = event.job(), "{event}"),
            _ => tracing::info!(job = event.job(), "{event}"),
        }
        for observer in &self.observers {
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| observer.on_event(event))) {
                let why = running::words(&*panic);
                tracing::error!(job = event.job(), "an observer of jobs panicked: {why}");
            }
        }
    }

    pub(crate) fn missed(&self, entry: &Entry, count: u32, why: &str) {
        if count > 0 {
            let mut board = entry.board.lock();
            board.missed = board.missed.saturating_add(u64::from(count));
            drop(board);
            self.tell(&Event::Missed { job: &entry.job.name, count, why });
        }
    }

    fn status(&self) -> Vec<JobStatus> {
        self.jobs.iter().map(|entry| entry.board.look()).collect()
    }
}

/// What ended a wait.
enum Woken {
    Stop,
    Asked,
    Due(DateTime<Utc>),
}

/// Attends to one job until the scheduler stops.
async fn attend(shared: Arc<Shared>, entry: Arc<Entry>) {
    let job = &entry.job;
    // A due time that passed since the last success, while nobody ran, has come as well.
    let mut next = late::first(&job.cron, job.last_success, shared.now());
    let mut last = None;
    loop {
        entry.board.lock().next = next;
        let woken = wait(&shared, &entry, next, last).await;
        let now = shared.now();
        let due = match woken {
            Woken::Stop => return,
            Woken::Asked => {
                entry.board.lock().next = None;
                running::run(&shared, &entry, now).await;
                // Its own due time stands, if it has not passed.
                next = late::next(&job.cron, last, shared.now());
                continue;
            }
            Woken::Due(due) => due,
        };
        entry.board.lock().next = None;
        last = Some(match late::attend(&job.cron, job.missed, due, now) {
            Due::Run { due, passed } => {
                shared.missed(&entry, passed, "the host slept, or nothing ran");
                running::run(&shared, &entry, due).await
            }
            Due::Drop { last, passed } => {
                shared.missed(&entry, passed, "the host slept, or nothing ran");
                last
            }
        });
        next = late::next(&job.cron, last, shared.now());
    }
}

/// Waits for a due time, a request, or the end.
async fn wait(
    shared: &Shared,
    entry: &Entry,
    mut next: Option<DateTime<Utc>>,
    last: Option<DateTime<Utc>>,
) -> Woken {
    let jitter = Duration::try_from_secs_f64(entry.job.jitter.as_secs_f64() * fastrand::f64());
    let jitter = TimeDelta::from_std(jitter.unwrap_or(entry.job.jitter)).unwrap_or(TimeDelta::MAX);
    let mut seen = shared.now();
    loop {
        if shared.stopping.is_cancelled() {
            return Woken::Stop;
        }
        // The clock was set back: the due time may have been computed far ahead.
        if shared.now() < seen {
            next = late::next(&entry.job.cron, last, shared.now());
            entry.board.lock().next = next;
        }
        seen = shared.now();
        let begin = next.map(|next| next.checked_add_signed(jitter).unwrap_or(next));
        let left = begin.map(|begin| (begin - seen).to_std().unwrap_or(Duration::ZERO));
        if let (Some(next), Some(Duration::ZERO)) = (next, left) {
            return Woken::Due(next);
        }
        tokio::select! {
            biased;
            () = shared.stopping.cancelled() => return Woken::Stop,
            () = entry.asked.notified() => return Woken::Asked,
            () = sleep(left.unwrap_or(LOOK).min(LOOK)) => {}
        }
    }
}

/// Says of each job, once, that it has not succeeded for longer than expected.
async fn watch_age(shared: Arc<Shared>) {
    let since = shared.now();
    loop {
        tokio::select! {
            () = shared.stopping.cancelled() => return,
            () = sleep(LOOK) => {}
        }
        for entry in &shared.jobs {
            let Some(within) = entry.job.expect_within else { continue };
            let mut board = entry.board.lock();
            let last_success = board.last_success;
            let age = (shared.now() - last_success.unwrap_or(since)).to_std().unwrap_or_default();
            if age <= within || board.is_overdue {
                continue;
            }
            board.is_overdue = true;
            drop(board);
            shared.tell(&Event::Overdue { job: &entry.job.name, last_success, within });
        }
    }
}

impl fmt::Debug for Scheduler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scheduler").field("jobs", &self.status()).finish()
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("jobs", &self.jobs).finish_non_exhaustive()
    }
}
