//! Runs jobs at the times of cron expressions: one run of a job at a time, here and across hosts.
#![doc = include_str!("../README.md")]

#[cfg(feature = "postgres")]
mod advisory_lease;
mod cron;
mod event;
mod job;
mod late;
mod lease;
mod running;
mod scheduler;
mod status;

#[cfg(feature = "postgres")]
pub use advisory_lease::AdvisoryLease;
pub use cron::{Cron, InvalidCron};
pub use event::{Event, Observer, Outcome};
pub use job::{BoxError, Job, Missed, Run};
pub use lease::{Claim, Hold, Lease};
pub use scheduler::{Builder, Scheduler, SchedulerError, Stopped};
pub use status::JobStatus;

use std::pin::Pin;

/// A future that a trait object returns.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
