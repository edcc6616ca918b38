//! All nodes, in the order in which they became known; none ever goes.
//!
//! Every read looks at them, so looking takes no lock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use db_core::Endpoint;

use crate::balance::Set;
use crate::node::Node;

/// More nodes than any cluster has; they are told apart by the bits of a word.
const MOST: usize = 64;

pub(crate) struct Nodes<A> {
    slots: [OnceLock<Arc<Node<A>>>; MOST],
    /// Those in our own zone.
    near: AtomicU64,
    adding: Mutex<()>,
}

impl<A> Default for Nodes<A> {
    fn default() -> Self {
        Nodes { slots: [const { OnceLock::new() }; MOST], near: AtomicU64::new(0), adding: Mutex::new(()) }
    }
}

impl<A> Nodes<A> {
    /// Adds the node that `make` makes of its number; none where this endpoint is known, or where there is no room.
    pub(crate) fn add(
        &self,
        endpoint: &Endpoint,
        make: impl FnOnce(usize) -> Node<A>,
    ) -> Option<&Arc<Node<A>>> {
        let _adding = self.adding.lock().unwrap_or_else(PoisonError::into_inner);
        if self.iter().any(|node| node.endpoint() == endpoint) {
            return None;
        }
        let number = self.len();
        let Some(slot) = self.slots.get(number) else {
            tracing::error!(%endpoint, "a node beyond the {MOST}th is not used");
            return None;
        };
        let node = slot.get_or_init(|| Arc::new(make(number)));
        self.near.fetch_or(u64::from(node.near) << number, Ordering::Relaxed);
        Some(node)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Node<A>>> {
        self.slots.iter().map_while(OnceLock::get)
    }

    pub(crate) fn get(&self, number: usize) -> Option<&Arc<Node<A>>> {
        self.slots.get(number).and_then(OnceLock::get)
    }

    pub(crate) fn len(&self) -> usize {
        self.iter().count()
    }

    /// Those in our own zone.
    pub(crate) fn near(&self) -> Set {
        Set::from_bits(AtomicU64::load(&self.near, Ordering::Relaxed))
    }
}
