//! Connections above the limit that stay open, so that a trial of another limit closes and opens none.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use deadpool::unmanaged::Object;

use crate::closing::Closing;
use crate::inner::Inner;
use crate::returning;
use crate::slot::Slot;

/// Connections that nobody gets for the moment.
#[derive(Default)]
pub(crate) struct Parked {
    slots: Mutex<Vec<Object<Box<Slot>>>>,
    count: AtomicUsize,
}

impl Parked {
    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Takes one in where more than the limit are in service; otherwise hands it back.
    pub(crate) fn take_in(&self, inner: &Inner, slot: Object<Box<Slot>>) -> Option<Object<Box<Slot>>> {
        let mut slots = self.slots();
        // Asked again under the lock: of two that come back at once only one may be too many.
        if inner.is_closed() || !inner.is_over_limit() {
            return Some(slot);
        }
        slots.push(slot);
        self.count.store(slots.len(), Ordering::Relaxed);
        None
    }

    /// Takes one out.
    pub(crate) fn take_out(&self) -> Option<Object<Box<Slot>>> {
        let mut slots = self.slots();
        let slot = slots.pop();
        self.count.store(slots.len(), Ordering::Relaxed);
        slot
    }

    /// Parks idle connections above the limit, puts parked ones back into service below it, and of the rest
    /// keeps `keep`.
    pub(crate) fn rebalance(&self, inner: &Arc<Inner>, keep: usize) {
        while inner.is_over_limit()
            && let Ok(idle) = inner.idle.try_get()
        {
            drop(self.take_in(inner, idle));
        }
        while inner.in_service() < inner.limit()
            && let Some(slot) = self.take_out()
        {
            drop(slot);
            inner.came_back();
        }
        self.close(inner, keep);
    }

    /// Closes those that are spent or that nobody has needed for long, and those beyond `keep`.
    pub(crate) fn close(&self, inner: &Arc<Inner>, keep: usize) {
        if self.count() == 0 {
            return;
        }
        let now = Instant::now();
        let mut slots = self.slots();
        let unneeded = |slot: &mut Object<Box<Slot>>| {
            slot.is_spent(inner, now) || slot.has_been_idle_for(inner.config.idle_timeout, now)
        };
        let mut closed: Vec<_> = slots.extract_if(.., unneeded).collect();
        let kept = keep.min(slots.len());
        closed.extend(slots.drain(kept..));
        self.count.store(slots.len(), Ordering::Relaxed);
        drop(slots);
        closed.into_iter().for_each(|slot| returning::close(inner, slot, Closing::TooMany));
    }

    fn slots(&self) -> MutexGuard<'_, Vec<Object<Box<Slot>>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
