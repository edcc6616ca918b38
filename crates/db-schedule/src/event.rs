//! What happens to jobs, told to observers as it happens.

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};

/// Is told of everything that happens to jobs: for notifications, an audit log, metrics.
///
/// It is called on the job's own task and must not block. A panic in it is caught and logged.
///
/// ```
/// use db_schedule::{Event, Observer};
///
/// struct Print;
/// impl Observer for Print {
///     fn on_event(&self, event: &Event<'_>) {
///         println!("{event}");
///     }
/// }
/// ```
pub trait Observer: Send + Sync {
    /// Something happened.
    fn on_event(&self, event: &Event<'_>);
}

/// Something that happened to a job.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A run begins.
    Started {
        /// The job.
        job: &'a str,
        /// The time that the run is for.
        due: DateTime<Utc>,
    },
    /// A run has ended.
    Finished {
        /// The job.
        job: &'a str,
        /// The time that the run is for.
        due: DateTime<Utc>,
        /// How long it took.
        elapsed: Duration,
        /// How it ended.
        outcome: &'a Outcome,
    },
    /// A run waits for another host; said when the reason changes.
    Waiting {
        /// The job.
        job: &'a str,
        /// The time that the run is for.
        due: DateTime<Utc>,
        /// Who has the lease.
        why: &'a str,
    },
    /// There was nothing to do: another host has attended to it.
    Skipped {
        /// The job.
        job: &'a str,
        /// The time that the run was for.
        due: DateTime<Utc>,
        /// Who did it.
        why: &'a str,
    },
    /// Due times passed without a run of their own.
    Missed {
        /// The job.
        job: &'a str,
        /// How many; counting ends at a thousand.
        count: u32,
        /// Why, such as `the job was still running`.
        why: &'a str,
    },
    /// There was no success for longer than expected; said once until the next success.
    Overdue {
        /// The job.
        job: &'a str,
        /// The last success; none where there never was one.
        last_success: Option<DateTime<Utc>>,
        /// What was expected.
        within: Duration,
    },
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It did its work; what it says about it.
    Succeeded(String),
    /// It failed; its error and what that was caused by.
    Failed(String),
    /// It took longer than it may.
    TimedOut(Duration),
    /// It panicked; the panic's message.
    Panicked(String),
    /// The scheduler stopped, and the run did not end by itself before.
    Cancelled,
    /// Its lease was lost, so another host may run it; why.
    LeaseLost(String),
}

impl Outcome {
    /// Whether the work was done.
    pub fn is_success(&self) -> bool {
        matches!(self, Outcome::Succeeded(_))
    }

    /// A word for a metric's label.
    pub fn label(&self) -> &'static str {
        match self {
            Outcome::Succeeded(_) => "succeeded",
            Outcome::Failed(_) => "failed",
            Outcome::TimedOut(_) => "timed_out",
            Outcome::Panicked(_) => "panicked",
            Outcome::Cancelled => "cancelled",
            Outcome::LeaseLost(_) => "lease_lost",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Succeeded(what) if what.is_empty() => f.write_str("succeeded"),
            Outcome::Succeeded(what) => write!(f, "succeeded: {what}"),
            Outcome::Failed(why) => write!(f, "failed: {why}"),
            Outcome::TimedOut(limit) => write!(f, "was cancelled because it took longer than {limit:?}"),
            Outcome::Panicked(why) => write!(f, "panicked: {why}"),
            Outcome::Cancelled => f.write_str("was cancelled because the scheduler stops"),
            Outcome::LeaseLost(why) => write!(f, "was cancelled because its lease was lost: {why}"),
        }
    }
}

impl<'a> Event<'a> {
    /// The job that it happened to.
    pub fn job(&self) -> &'a str {
        match self {
            Event::Started { job, .. }
            | Event::Finished { job, .. }
            | Event::Waiting { job, .. }
            | Event::Skipped { job, .. }
            | Event::Missed { job, .. }
            | Event::Overdue { job, .. } => job,
        }
    }

    /// Whether a person should look.
    pub fn is_bad(&self) -> bool {
        match self {
            Event::Finished { outcome, .. } => !outcome.is_success() && **outcome != Outcome::Cancelled,
            Event::Overdue { .. } => true,
            _ => false,
        }
    }
}

impl fmt::Display for Event<'_> {
    /// One sentence.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let short = |at: &DateTime<Utc>| at.to_rfc3339_opts(SecondsFormat::Secs, true);
        match self {
            Event::Started { job, due } => {
                write!(f, "the run of {job} that was due at {} begins", short(due))
            }
            Event::Finished { job, elapsed, outcome, .. } => {
                write!(f, "{job} {outcome} ({:.1} s)", elapsed.as_secs_f64())
            }
            Event::Waiting { job, why, .. } => write!(f, "{job} waits: {why}"),
            Event::Skipped { job, due, why } => {
                write!(f, "{job} has nothing to do for {}: {why}", short(due))
            }
            Event::Missed { job, count, why } => write!(f, "{job} missed {count} of its times: {why}"),
            Event::Overdue { job, last_success: Some(at), within } => {
                write!(f, "{job} has not succeeded since {}, expected within {within:?}", short(at))
            }
            Event::Overdue { job, last_success: None, within } => {
                write!(f, "{job} has never succeeded, expected within {within:?}")
            }
        }
    }
}
