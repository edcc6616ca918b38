//! What this process has changed and the second tier has not heard of, to be told as soon as it answers.

use std::collections::BTreeSet;
use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::clock::Moment;
use crate::second_tier::{Cursor, Usage};
use crate::tag::Slot;

/// Slots that were changed, at most all there are, and whether everything is to be dropped.
#[derive(Debug, Default)]
pub(crate) struct Unheard {
    state: Mutex<State>,
    /// There is something to be told.
    added: Notify,
    /// The second tier was told.
    told: Notify,
}

const MOST_LATER: usize = 1_024;

#[derive(Debug, Default)]
struct State {
    slots: BTreeSet<Slot>,
    /// What is being told.
    telling: BTreeSet<Slot>,
    /// Where in the feed stands what was told last.
    told_at: Option<Cursor>,
    epoch: bool,
    later: Vec<(Moment, Vec<Slot>)>,
    usage: Usage,
}

impl Unheard {
    pub(crate) fn remember(&self, slots: &[Slot]) {
        self.state().slots.extend(slots);
        self.added.notify_one();
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
        self.added.notify_one();
    }

    /// Waits until there is something to be told.
    pub(crate) async fn when_any(&self) {
        loop {
            let added = self.added.notified();
            {
                let state = self.state();
                if !state.slots.is_empty() || state.epoch {
                    return;
                }
            }
            added.await;
        }
    }

    /// Waits until the second tier knows of these slots; where in the feed that stands.
    pub(crate) async fn when_told(&self, slots: &[Slot]) -> Option<Cursor> {
        loop {
            let mut told = std::pin::pin!(self.told.notified());
            told.as_mut().enable();
            {
                let state = self.state();
                let is_left = |slot: &Slot| state.slots.contains(slot) || state.telling.contains(slot);
                if !slots.iter().any(is_left) {
                    return state.told_at;
                }
            }
            told.await;
        }
    }

    /// Takes what is to be told, one at a time: the slots, and whether everything is to be dropped. What
    /// comes of it is said by [`Unheard::told`] or [`Unheard::not_told`].
    pub(crate) fn take(&self, now: Moment) -> (Vec<Slot>, bool) {
        let mut state = self.state();
        let (due, later): (Vec<_>, Vec<_>) =
            mem::take(&mut state.later).into_iter().partition(|(from, _)| *from <= now);
        state.later = later;
        state.slots.extend(due.into_iter().flat_map(|(_, slots)| slots));
        state.telling = mem::take(&mut state.slots);
        (state.telling.iter().copied().collect(), mem::take(&mut state.epoch))
    }

    /// The second tier was told what was taken.
    pub(crate) fn told(&self, at: Option<Cursor>) {
        let mut state = self.state();
        state.telling.clear();
        state.told_at = at.or(state.told_at);
        drop(state);
        self.told.notify_waiters();
    }

    /// It was not told: that is still to be done.
    pub(crate) fn not_told(&self, epoch: bool) {
        let mut state = self.state();
        let slots = mem::take(&mut state.telling);
        state.slots.extend(slots);
        state.epoch |= epoch;
    }

    /// Whether there is nothing to be told now.
    pub(crate) fn is_empty(&self, now: Moment) -> bool {
        let state = self.state();
        state.slots.is_empty() && !state.epoch && state.later.iter().all(|(from, _)| *from > now)
    }

    /// Whether nothing is to be told, now or later.
    pub(crate) fn is_all_told(&self) -> bool {
        let state = self.state();
        state.slots.is_empty() && state.telling.is_empty() && !state.epoch && state.later.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        let state = self.state();
        state.slots.len() + state.telling.len()
    }

    pub(crate) fn set_usage(&self, usage: Usage) {
        self.state().usage = usage;
    }

    pub(crate) fn usage(&self) -> Usage {
        self.state().usage.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
