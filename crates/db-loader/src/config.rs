//! How large batches are, how many run at once, how long one may take, and how much a scope remembers.

use std::num::NonZeroUsize;
use std::time::Duration;

/// How a loader batches. The defaults suit statements that take milliseconds.
///
/// ```
/// use db_loader::LoaderConfig;
/// use std::time::Duration;
///
/// let patient = LoaderConfig { timeout: Some(Duration::from_secs(120)), ..LoaderConfig::default() };
/// assert_eq!(patient.max_batch.get(), 1_000);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoaderConfig {
    /// The most keys in one batch. A batch that is full is run at once.
    ///
    /// Lower it where one statement with so many keys holds a connection for too long.
    pub max_batch: NonZeroUsize,
    /// The most batches that run at once; keys that come meanwhile make up the next one.
    ///
    /// A loader of its own for each request counts for itself: what all of them may use of the database is
    /// the pool's to bound. A batch that waits for a load of its own is not counted while it waits, so that
    /// loaders which load through loaders cannot block one another.
    pub max_concurrent: NonZeroUsize,
    /// The longest that one batch may take, the wait for a connection included; none is for ever.
    ///
    /// It gives the batch's place back when the batch function hangs. Keep it above the statement timeout,
    /// which knows better what went wrong.
    pub timeout: Option<Duration>,
    /// The most keys that a [scope](crate::Loader::scope) remembers. What it loads beyond that is loaded
    /// again each time.
    pub memo_keys: usize,
}

impl Default for LoaderConfig {
    fn default() -> Self {
        LoaderConfig {
            max_batch: NonZeroUsize::MIN.saturating_add(999),
            max_concurrent: NonZeroUsize::MIN.saturating_add(3),
            timeout: Some(Duration::from_secs(30)),
            memo_keys: 10_000,
        }
    }
}
