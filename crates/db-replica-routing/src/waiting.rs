//! A room for so many who wait, and no more.

use std::sync::atomic::{AtomicUsize, Ordering};

#[derive(Debug)]
pub(crate) struct Room {
    limit: usize,
    waiting: AtomicUsize,
}

/// A place in a [`Room`], for as long as it lives.
#[derive(Debug)]
pub(crate) struct Place<'a>(&'a AtomicUsize);

impl Room {
    pub(crate) fn new(limit: usize) -> Self {
        Room { limit, waiting: AtomicUsize::new(0) }
    }

    /// How many may wait.
    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// How many wait.
    pub(crate) fn waiting(&self) -> usize {
        AtomicUsize::load(&self.waiting, Ordering::Relaxed).min(self.limit)
    }

    /// Whether anyone waits.
    pub(crate) fn is_occupied(&self) -> bool {
        self.waiting() > 0
    }

    /// A place.
    ///
    /// # Errors
    /// How many wait already, where all places are taken.
    pub(crate) fn enter(&self) -> Result<Place<'_>, usize> {
        let waiting = self.waiting.fetch_add(1, Ordering::AcqRel);
        let place = Place(&self.waiting);
        if waiting < self.limit { Ok(place) } else { Err(waiting) }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_finds_the_room_full_takes_no_place() {
        let room = Room::new(1);
        let place = room.enter().unwrap();
        assert_eq!(room.enter().unwrap_err(), 1);
        drop(place);
        assert!(!room.is_occupied());
        assert!(room.enter().is_ok());
    }
}
