//! Retries what may be retried, and never what may not.
#![doc = include_str!("../README.md")]

mod attempts;
mod backoff;
mod begin;
mod counts;
mod retry;
mod transaction;

pub use backoff::{Backoff, Jitter};
pub use begin::{Begin, Isolation};
pub use counts::RetryCounts;
pub use retry::{Retry, RetryConfig};
