//! All nodes, each in a place of its own. Whoever is gone for good leaves its place to the next.
//!
//! Every read looks at them, so looking takes no lock.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::{ArcSwap, Guard};
use db_core::Endpoint;

use crate::balance::Set;
use crate::node::Node;

/// More nodes than any cluster has; they are told apart by the bits of a word.
const MOST: usize = 64;

pub(crate) struct Nodes<A> {
    places: ArcSwap<Places<A>>,
    changing: Mutex<()>,
}

/// The nodes as they were at one moment.
pub(crate) struct Places<A> {
    places: Vec<Option<Arc<Node<A>>>>,
    /// Those in our own zone.
    near: Set,
}

impl<A> Default for Nodes<A> {
    fn default() -> Self {
        let none = Places { places: Vec::new(), near: Set::default() };
        Nodes { places: ArcSwap::from_pointee(none), changing: Mutex::new(()) }
    }
}

impl<A> Nodes<A> {
    /// The nodes as they are.
    pub(crate) fn now(&self) -> Guard<Arc<Places<A>>> {
        self.places.load()
    }

    /// Adds the node that `make` makes of its number; none where this endpoint is known, or where there is no
    /// room.
    pub(crate) fn add(
        &self,
        endpoint: &Endpoint,
        make: impl FnOnce(usize) -> Node<A>,
    ) -> Option<Arc<Node<A>>> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.now();
        if before.iter().any(|node| node.endpoint() == endpoint) {
            return None;
        }
        let mut places = before.places.clone();
        let free = places.iter().position(Option::is_none).unwrap_or(places.len());
        if free == MOST {
            tracing::error!(%endpoint, "a node beyond the {MOST}th is not used");
            return None;
        }
        let node = Arc::new(make(free));
        places.resize(places.len().max(free + 1), None);
        places[free] = Some(Arc::clone(&node));
        self.places.store(Arc::new(Places::of(places)));
        Some(node)
    }

    /// Removes a node; its place is free for another.
    #[cfg(any(feature = "patroni", test))]
    pub(crate) fn remove(&self, node: &Node<A>) {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut places = self.now().places.clone();
        if let Some(place) = places.get_mut(node.number) {
            *place = None;
        }
        self.places.store(Arc::new(Places::of(places)));
    }
}

impl<A> Places<A> {
    fn of(places: Vec<Option<Arc<Node<A>>>>) -> Self {
        let mut near = Set::default();
        places.iter().flatten().filter(|node| node.near).for_each(|node| near.add(node.number));
        Places { places, near }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Node<A>>> {
        self.places.iter().flatten()
    }

    pub(crate) fn get(&self, number: usize) -> Option<&Arc<Node<A>>> {
        self.places.get(number)?.as_ref()
    }

    /// One for each place, from the first to the last that was ever taken; none where it is free.
    pub(crate) fn places(&self) -> &[Option<Arc<Node<A>>>] {
        &self.places
    }

    pub(crate) fn len(&self) -> usize {
        self.iter().count()
    }

    /// Those in our own zone.
    pub(crate) fn near(&self) -> Set {
        self.near
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_many_come_and_go_there_is_room_for_those_that_are_there() {
        let nodes: Nodes<()> = Nodes::default();
        let add = |port: u16| {
            let endpoint = Endpoint::new("db", port);
            let made = endpoint.clone();
            nodes.add(&endpoint, |number| Node::new(number, made.into(), number == 1, (), Arc::default()))
        };
        let stays = add(1).unwrap();
        assert!(add(1).is_none(), "it is known");
        for port in 2..200 {
            let comes = add(port).unwrap();
            assert_eq!((comes.number, nodes.now().near().contains(1)), (1, true));
            nodes.remove(&comes);
            assert!(nodes.now().near().is_empty());
        }
        assert_eq!((nodes.now().len(), stays.number), (1, 0));
        for port in 200..263 {
            assert!(add(port).is_some());
        }
        assert!(add(300).is_none(), "there is no room");
    }
}
