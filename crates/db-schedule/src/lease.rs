//! One at a time across hosts: what a lease is. It is implemented elsewhere, where its store is.
//!
//! A lock alone runs a short job twice: the second host's clock is late, and the lock is free again. So a
//! lease is asked about one due time, and may answer that it was attended to.

use chrono::{DateTime, Utc};

use crate::{BoxError, BoxFuture};

/// Lets one host run a job while others wait: an advisory lock of a database, an object in a repository.
///
/// ```
/// use std::sync::{Arc, Mutex};
/// use chrono::{DateTime, Utc};
/// use db_schedule::{BoxError, BoxFuture, Claim, Hold, Lease};
///
/// /// One lock for all jobs, within one process.
/// #[derive(Clone, Default)]
/// struct Local(Arc<Mutex<Option<String>>>);
/// struct Held(Local);
///
/// impl Lease for Local {
///     fn try_take<'a>(&'a self, job: &'a str, _due: DateTime<Utc>) -> BoxFuture<'a, Result<Claim, BoxError>> {
///         Box::pin(async move {
///             let mut holder = self.0.lock().map_err(|_| "the lock is poisoned")?;
///             if let Some(other) = &*holder {
///                 return Ok(Claim::Busy { why: format!("{other} is running") });
///             }
///             *holder = Some(job.to_owned());
///             Ok(Claim::Held(Box::new(Held(self.clone()))))
///         })
///     }
/// }
///
/// impl Hold for Held {
///     fn lost(&mut self) -> BoxFuture<'_, String> {
///         Box::pin(std::future::pending()) // it cannot be lost
///     }
///     fn release(self: Box<Self>) -> BoxFuture<'static, ()> {
///         Box::pin(async move {
///             if let Ok(mut holder) = self.0.0.lock() {
///                 *holder = None;
///             }
///         })
///     }
/// }
/// ```
pub trait Lease: Send + Sync {
    /// Tries to take the lease for the run of `job` that is due at `due`, without waiting for another host.
    ///
    /// # Errors
    /// What kept it from asking: the run counts as failed.
    fn try_take<'a>(&'a self, job: &'a str, due: DateTime<Utc>) -> BoxFuture<'a, Result<Claim, BoxError>>;
}

/// What a lease answers.
pub enum Claim {
    /// It is ours until it is released or lost.
    Held(Box<dyn Hold>),
    /// Another host has it; it is asked for again. `why` names the host, and since when: an operator reads
    /// it.
    Busy {
        /// Who has it and since when, as in `host db2 (pid 77) has it since 02:00:00Z`.
        why: String,
    },
    /// Another host has attended to this due time: there is nothing to do before the next.
    Done {
        /// Who did, and when.
        why: String,
    },
}

/// A lease that is held.
pub trait Hold: Send {
    /// Waits until the lease is lost, and says why. The run is then cancelled. It may be dropped and called
    /// again.
    ///
    /// Where the lease must be renewed, this is the place that does it.
    fn lost(&mut self) -> BoxFuture<'_, String>;

    /// Gives it back. It is given up after some seconds, so a lease must also end by itself.
    fn release(self: Box<Self>) -> BoxFuture<'static, ()>;
}
