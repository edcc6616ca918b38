//! How much a scope remembers, and until when.

use std::sync::Arc;

/// How much is remembered, and until when.
#[derive(Clone, Default)]
pub(crate) struct Memo {
    /// The most keys.
    pub(crate) keys: usize,
    /// What is remembered is good as long as this answers the same; without it, until it is cleared.
    pub(crate) version: Option<Version>,
}

/// Goes up with each write.
pub(crate) type Version = Arc<dyn Fn() -> u64 + Send + Sync>;

impl Memo {
    /// The version that a load which begins now is as new as.
    pub(crate) fn version(&self) -> u64 {
        self.version.as_ref().map_or(0, |version| version())
    }
}
