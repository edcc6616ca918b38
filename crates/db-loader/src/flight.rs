//! One key that somebody waits for, or whose answer is remembered.

use std::sync::{Arc, OnceLock};

use tokio::sync::SetOnce;

use crate::error::LoadError;
use crate::nesting::Running;

/// What a caller gets.
pub(crate) type Outcome<V> = Result<Option<V>, LoadError>;

#[derive(Debug)]
pub(crate) struct Flight<V> {
    pub(crate) outcome: SetOnce<Outcome<V>>,
    /// The batch that loads it; none while it is queued.
    batch: OnceLock<Arc<Running>>,
}

impl<V> Flight<V> {
    pub(crate) fn queued() -> Arc<Self> {
        Arc::new(Flight { outcome: SetOnce::new(), batch: OnceLock::new() })
    }

    pub(crate) fn known(value: Option<V>) -> Arc<Self> {
        Arc::new(Flight { outcome: SetOnce::new_with(Some(Ok(value))), batch: OnceLock::new() })
    }

    /// Answers it, unless it was answered before.
    pub(crate) fn answer(&self, outcome: Outcome<V>) {
        let _ = self.outcome.set(outcome);
    }

    pub(crate) fn is_answered(&self) -> bool {
        self.outcome.initialized()
    }

    pub(crate) fn start(&self, batch: &Arc<Running>) {
        let _ = self.batch.set(Arc::clone(batch));
    }

    pub(crate) fn batch(&self) -> Option<&Arc<Running>> {
        self.batch.get()
    }

    /// Whether a write that is made now may be missing from its answer.
    pub(crate) fn may_be_stale(&self) -> bool {
        self.is_answered() || self.batch.get().is_some()
    }
}
