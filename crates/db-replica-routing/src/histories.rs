//! Tells of the history that the writer continues: another cluster, or another timeline of it, before anyone
//! is led to it.
//!
//! What was read from the writer before may hold commits that a failover has lost, so a cache must drop it
//! first.

use std::sync::{Arc, Mutex, PoisonError};

/// Is told the system identifier, where the server tells it, and the timeline. It must not block.
pub(crate) type Hook = Arc<dyn Fn(Option<u64>, u32) + Send + Sync>;

/// A system identifier, where the server tells it, and a timeline.
type History = (Option<u64>, u32);

/// Whom to tell, and what was noted last.
#[derive(Default)]
pub(crate) struct Histories(Mutex<State>);

#[derive(Default)]
struct State {
    hook: Option<Hook>,
    noted: Option<History>,
}

impl Histories {
    /// From now on this is told, first of the history that holds now.
    pub(crate) fn tell(&self, hook: Hook) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((system, timeline)) = state.noted {
            hook(system, timeline);
        }
        state.hook = Some(hook);
    }

    /// The writer that is about to be named continues this.
    pub(crate) fn note(&self, system: Option<u64>, timeline: u32) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let history = Some((system, timeline));
        if std::mem::replace(&mut state.noted, history) != history
            && let Some(hook) = &state.hook
        {
            hook(system, timeline);
        }
    }
}
