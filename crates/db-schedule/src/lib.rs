//! Runs jobs at the times of cron expressions: one run of a job at a time, here and across hosts.
#![doc = include_str!("../README.md")]

mod cron;
mod event;
mod job;
mod late;
mod lease;
mod running;
mod scheduler;
mod status;

pub use cron::{Cron, InvalidCron};
pub use event::{Event, Observer, Outcome};
pub use job::{BoxError, Job, Missed, Run};
pub use lease::{Claim, Hold, Lease};
pub use scheduler::{Builder, Scheduler, SchedulerError, Stopped};
pub use status::JobStatus;

use std::pin::Pin;

/// A future that a trait object returns.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
