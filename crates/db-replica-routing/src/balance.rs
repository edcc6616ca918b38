//! Chooses one of the nodes that may answer.
//!
//! Of two random ones the less loaded (the power of two choices: Mitzenmacher, 2001), by reads under way
//! times recent latency. Nodes of our own zone come first, until the best of the others is several times less
//! loaded.

use std::sync::Arc;

use crate::node::Node;
use crate::nodes::Places;

/// Some of the nodes, by their numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Set(u64);

impl Set {
    pub(crate) fn add(&mut self, number: usize) {
        self.0 |= 1 << number;
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(crate) fn from_bits(bits: u64) -> Self {
        Set(bits)
    }

    pub(crate) fn contains(self, number: usize) -> bool {
        self.0 & (1 << number) != 0
    }

    fn count(self) -> u32 {
        self.0.count_ones()
    }

    /// The nth member, from 0.
    fn nth(self, n: u32) -> usize {
        let rest = (0..n).fold(self.0, |bits, _| bits & bits.wrapping_sub(1));
        rest.trailing_zeros() as usize
    }
}

/// One of the candidates; none where there are none.
pub(crate) fn choose<A>(nodes: &Places<A>, candidates: Set, zone_bias: f32) -> Option<&Arc<Node<A>>> {
    let near = nodes.near().0;
    let best_near = two_choices(nodes, Set(candidates.0 & near));
    let best_far = two_choices(nodes, Set(candidates.0 & !near));
    match (best_near, best_far) {
        (Some(near), Some(far)) if near.load() > far.load() * zone_bias => Some(far),
        (near, far) => near.or(far),
    }
}

fn two_choices<A>(nodes: &Places<A>, candidates: Set) -> Option<&Arc<Node<A>>> {
    match candidates.count() {
        0 => None,
        1 => nodes.get(candidates.nth(0)),
        count => {
            let first = fastrand::u32(0..count);
            let second = (first + fastrand::u32(1..count)) % count;
            let (first, second) = (nodes.get(candidates.nth(first))?, nodes.get(candidates.nth(second))?);
            // One that may have become slow unseen gets a read, and until that is answered no other.
            let cost = |node: &Node<A>| (node.is_on_trial(), node.load());
            Some(if cost(second) < cost(first) { second } else { first })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::NodeConfig;
    use crate::nodes::Nodes;
    use db_core::Endpoint;
    use std::num::NonZeroU32;
    use std::sync::atomic::Ordering;
    use std::time::{Duration, Instant};

    /// Nodes of these weights that take so many milliseconds each; the first `near` of them stand in our
    /// zone.
    fn nodes(of: &[(u32, u64)], near: usize) -> Nodes<()> {
        let nodes = Nodes::default();
        for (at, (weight, millis)) in of.iter().enumerate() {
            let endpoint = Endpoint::new("db", at as u16);
            let weight = NonZeroU32::new(*weight).unwrap();
            let config = NodeConfig { weight, ..NodeConfig::from(endpoint.clone()) };
            let added = nodes.add(&endpoint, |n| Node::new(n, config, n < near, (), Arc::default())).unwrap();
            added.vitals.answered(Instant::now(), Some(Duration::from_millis(*millis)));
        }
        nodes
    }

    fn everyone(nodes: &Nodes<()>) -> Set {
        nodes.now().iter().fold(Set::default(), |mut all, node| {
            all.add(node.number);
            all
        })
    }

    /// How often each is chosen out of a thousand times, when reads end in the order in which they began.
    fn shares(nodes: &Nodes<()>) -> Vec<u32> {
        let (mut chosen, mut under_way) = (vec![0; nodes.now().len()], std::collections::VecDeque::new());
        for _ in 0..1_000 {
            let node = choose(&nodes.now(), everyone(nodes), 4.0).cloned().unwrap();
            chosen[node.number] += 1;
            node.in_flight.fetch_add(1, Ordering::Relaxed);
            under_way.push_back(Arc::clone(&node));
            if under_way.len() > 16 {
                under_way.pop_front().unwrap().in_flight.fetch_sub(1, Ordering::Relaxed);
            }
        }
        chosen
    }

    #[test]
    fn equals_share_equally_and_a_slow_one_gets_less() {
        let equal = shares(&nodes(&[(1, 5), (1, 5), (1, 5)], 3));
        assert!(equal.iter().all(|share| (250..420).contains(share)), "{equal:?}");
        let slow = shares(&nodes(&[(1, 5), (1, 50), (1, 5)], 3));
        assert!(slow[1] < slow[0] / 3 && slow[1] < slow[2] / 3, "{slow:?}");
    }

    #[test]
    fn a_heavier_node_gets_more_and_one_that_came_back_less() {
        let heavy = shares(&nodes(&[(3, 5), (1, 5)], 2));
        assert!(heavy[0] > heavy[1] * 2, "{heavy:?}");
        let cold = nodes(&[(1, 5), (1, 5)], 2);
        cold.now().get(0).unwrap().set_share(0.1);
        let shared = shares(&cold);
        assert!(shared[0] < shared[1] / 4, "{shared:?}");
    }

    #[test]
    fn the_own_zone_answers_until_it_is_much_more_loaded() {
        let shared = shares(&nodes(&[(1, 5), (1, 5)], 1));
        assert!(shared[0] > shared[1] * 2 && shared[1] > 0, "{shared:?}");
        let idle = nodes(&[(1, 5), (1, 5)], 1);
        let chosen = |of: Set| choose(&idle.now(), of, 4.0).map(|node| node.number);
        assert_eq!(chosen(everyone(&idle)), Some(0));
        idle.now().get(0).unwrap().in_flight.store(4, Ordering::Relaxed);
        assert_eq!(chosen(everyone(&idle)), Some(1));
        assert_eq!(chosen(Set::default()), None);
    }

    /// It may have become slow since it was last asked.
    #[test]
    fn a_node_that_was_not_asked_lately_gets_one_read_until_that_is_answered() {
        let forgotten = nodes(&[(1, 5), (1, 5)], 2);
        let now = forgotten.now();
        let node = now.get(0).unwrap();
        node.vitals.forget_latency();
        let chosen = || choose(&now, everyone(&forgotten), 4.0).map(|node| node.number);
        assert_eq!(chosen(), Some(0), "it looks like the fastest");
        node.in_flight.store(1, Ordering::Relaxed);
        now.get(1).unwrap().in_flight.store(9, Ordering::Relaxed);
        assert_eq!(chosen(), Some(1));
        node.vitals.answered(Instant::now(), Some(Duration::from_millis(5)));
        assert_eq!(chosen(), Some(0));
    }
}
