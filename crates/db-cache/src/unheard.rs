//! What this process has changed while the second tier did not answer, to be told as soon as it does.

use std::collections::BTreeSet;
use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::clock::Moment;
use crate::second_tier::Usage;
use crate::tag::Slot;

/// Slots that were changed, at most all there are, and whether everything is to be dropped.
#[derive(Debug, Default)]
pub(crate) struct Unheard(Mutex<State>);

const MOST_LATER: usize = 1_024;

#[derive(Debug, Default)]
struct State {
    slots: BTreeSet<Slot>,
    epoch: bool,
    later: Vec<(Moment, Vec<Slot>)>,
    usage: Usage,
}

impl Unheard {
    pub(crate) fn remember(&self, slots: &[Slot]) {
        self.state().slots.extend(slots);
    }

    /// To be told from that moment on.
    pub(crate) fn remember_later(&self, from: Moment, slots: &[Slot]) {
        let mut state = self.state();
        state.later.push((from, slots.to_vec()));
        if state.later.len() > MOST_LATER {
            // So many unknown outcomes are an outage: they are told together, when the last of them is due.
            let last = state.later.iter().map(|(from, _)| *from).max().unwrap_or(from);
            let slots: BTreeSet<Slot> = state.later.drain(..).flat_map(|(_, slots)| slots).collect();
            state.later.push((last, slots.into_iter().collect()));
        }
    }

    pub(crate) fn remember_epoch(&self) {
        self.state().epoch = true;
    }

    /// Takes what is to be told: the slots, and whether everything is to be dropped.
    pub(crate) fn take(&self, now: Moment) -> (BTreeSet<Slot>, bool) {
        let mut state = self.state();
        let (due, later): (Vec<_>, Vec<_>) =
            mem::take(&mut state.later).into_iter().partition(|(from, _)| *from <= now);
        state.later = later;
        state.slots.extend(due.into_iter().flat_map(|(_, slots)| slots));
        (mem::take(&mut state.slots), mem::take(&mut state.epoch))
    }

    /// Whether there is nothing to be told now.
    pub(crate) fn is_empty(&self, now: Moment) -> bool {
        let state = self.state();
        state.slots.is_empty() && !state.epoch && state.later.iter().all(|(from, _)| *from > now)
    }

    /// Whether nothing is to be told, now or later.
    pub(crate) fn is_all_told(&self) -> bool {
        let state = self.state();
        state.slots.is_empty() && !state.epoch && state.later.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.state().slots.len()
    }

    pub(crate) fn set_usage(&self, usage: Usage) {
        self.state().usage = usage;
    }

    pub(crate) fn usage(&self) -> Usage {
        self.state().usage.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
