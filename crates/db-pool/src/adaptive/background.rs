//! Keeps the share of background work below the limit, wherever that goes.

use std::sync::Arc;

use crate::inner::Inner;

/// How many places background work has.
#[derive(Debug)]
pub(crate) struct Background {
    places: usize,
}

impl Background {
    pub(crate) fn new(inner: &Inner) -> Self {
        Background { places: inner.config.background_within(inner.config.first_limit()) }
    }

    /// Gives background work what it may have at this limit.
    pub(crate) fn follow(&mut self, inner: &Inner, limit: usize) {
        let share = inner.config.background_within(limit);
        if share > self.places {
            inner.background.add_permits(share - self.places);
        } else if share < self.places {
            let too_many = u32::try_from(self.places - share).unwrap_or(u32::MAX);
            let places = Arc::clone(&inner.background);
            // It stands in line like everybody else: places in use are taken away when they are given back.
            inner.runtime.spawn(async move {
                if let Ok(taken) = places.acquire_many_owned(too_many).await {
                    taken.forget();
                }
            });
        }
        self.places = share;
    }
}
