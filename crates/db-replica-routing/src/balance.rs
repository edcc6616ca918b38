//! Chooses one of the nodes that may answer.
//!
//! Of two random ones the less loaded (the power of two choices: Mitzenmacher, 2001), by reads under way times recent
//! latency. Nodes of our own zone come first, until the best of the others is several times less loaded.

use std::sync::Arc;

use rand::{Rng, RngExt};

use crate::node::Node;

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
pub(crate) fn choose<A>(
    nodes: &[Arc<Node<A>>],
    candidates: Set,
    zone_bias: f32,
    rng: &mut impl Rng,
) -> Option<usize> {
    let near = nodes.iter().filter(|node| node.near).fold(0, |bits, node| bits | 1 << node.number);
    let (near, far) = (Set(candidates.0 & near), Set(candidates.0 & !near));
    let best_near = two_choices(nodes, near, rng);
    let best_far = two_choices(nodes, far, rng);
    match (best_near, best_far) {
        (Some(near), Some(far)) if nodes[near].load() > nodes[far].load() * zone_bias => Some(far),
        (near, far) => near.or(far),
    }
}

fn two_choices<A>(nodes: &[Arc<Node<A>>], candidates: Set, rng: &mut impl Rng) -> Option<usize> {
    match candidates.count() {
        0 => None,
        1 => Some(candidates.nth(0)),
        count => {
            let first = rng.random_range(0..count);
            let second = (first + rng.random_range(1..count)) % count;
            let (first, second) = (candidates.nth(first), candidates.nth(second));
            Some(if nodes[second].load() < nodes[first].load() { second } else { first })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::NodeConfig;
    use db_core::Endpoint;
    use std::num::NonZeroU32;
    use std::sync::atomic::Ordering;
    use std::time::{Duration, Instant};

    /// Nodes that take so many milliseconds each; the first `near` of them stand in our zone.
    fn nodes(millis: &[u64], near: usize) -> Vec<Arc<Node<()>>> {
        let node = |(number, millis): (usize, &u64)| {
            let config = NodeConfig::from(Endpoint::new("db", 1));
            let node = Node::new(number, config, number < near, (), Arc::default());
            node.vitals.answered(Instant::now(), Some(Duration::from_millis(*millis)));
            Arc::new(node)
        };
        millis.iter().enumerate().map(node).collect()
    }

    /// How often each is chosen out of a thousand times, when reads end in the order in which they began.
    fn shares(nodes: &[Arc<Node<()>>]) -> Vec<u32> {
        let mut all = Set::default();
        nodes.iter().for_each(|node| all.add(node.number));
        let (mut chosen, mut under_way) = (vec![0; nodes.len()], std::collections::VecDeque::new());
        for _ in 0..1_000 {
            let node = choose(nodes, all, 4.0, &mut rand::rng()).unwrap();
            chosen[node] += 1;
            nodes[node].in_flight.fetch_add(1, Ordering::Relaxed);
            under_way.push_back(node);
            if under_way.len() > 16 {
                let ended = under_way.pop_front().unwrap();
                nodes[ended].in_flight.fetch_sub(1, Ordering::Relaxed);
            }
        }
        chosen
    }

    #[test]
    fn equals_share_equally_and_a_slow_one_gets_less() {
        let equal = shares(&nodes(&[5, 5, 5], 3));
        assert!(equal.iter().all(|share| (250..420).contains(share)), "{equal:?}");
        let slow = shares(&nodes(&[5, 50, 5], 3));
        assert!(slow[1] < slow[0] / 3 && slow[1] < slow[2] / 3, "{slow:?}");
    }

    #[test]
    fn a_heavier_node_gets_more_and_one_that_came_back_less() {
        let mut heavy = nodes(&[5, 5], 2);
        Arc::get_mut(&mut heavy[0]).unwrap().config.weight = NonZeroU32::new(3).unwrap();
        let shared = shares(&heavy);
        assert!(shared[0] > shared[1] * 2, "{shared:?}");
        let cold = nodes(&[5, 5], 2);
        cold[0].set_share(0.1);
        let shared = shares(&cold);
        assert!(shared[0] < shared[1] / 4, "{shared:?}");
    }

    #[test]
    fn the_own_zone_answers_until_it_is_much_more_loaded() {
        let zones = nodes(&[5, 5], 1);
        let shared = shares(&zones);
        assert!(shared[0] > shared[1] * 2 && shared[1] > 0, "{shared:?}");
        let idle = nodes(&[5, 5], 1);
        let mut both = Set::default();
        both.add(0);
        both.add(1);
        assert_eq!(choose(&idle, both, 4.0, &mut rand::rng()), Some(0));
        idle[0].in_flight.store(4, Ordering::Relaxed);
        assert_eq!(choose(&idle, both, 4.0, &mut rand::rng()), Some(1));
        assert_eq!(choose(&idle, Set::default(), 4.0, &mut rand::rng()), None);
    }
}
