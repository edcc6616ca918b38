//! Breadth-first search over all states that can be reached: the shortest way to a promise that is not kept,
//! if there is one.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};

use super::actions::{Action, Guard, next};
use super::state::State;

/// What a search came to.
pub(super) struct Searched {
    pub(super) states: usize,
    /// The way to the first broken promise, and what was broken.
    pub(super) broken: Option<(Vec<Action>, String)>,
}

/// Searches from `start`, with one guard left out, or none. It gives up after so many states.
pub(super) fn search(start: State, without: Guard, most_states: usize) -> Searched {
    // States are told apart by 64 bits of their hash: of ten million two meet with a probability below 1 in
    // 100,000.
    let mut came_by: HashMap<u64, Option<(u64, Action)>> = HashMap::new();
    let mut ahead = VecDeque::new();
    came_by.insert(hash(&start), None);
    ahead.push_back(start);
    while let Some(state) = ahead.pop_front() {
        let from = hash(&state);
        for (action, reached) in next(&state, without) {
            match reached {
                Err(broken) => {
                    let mut way = vec![action];
                    let mut at = from;
                    while let Some(Some((before, action))) = came_by.get(&at) {
                        way.push(*action);
                        at = *before;
                    }
                    way.reverse();
                    return Searched { states: came_by.len(), broken: Some((way, broken)) };
                }
                Ok(reached) => {
                    if let Entry::Vacant(unknown) = came_by.entry(hash(&reached)) {
                        unknown.insert(Some((from, action)));
                        ahead.push_back(reached);
                    }
                }
            }
        }
        assert!(came_by.len() <= most_states, "more than {most_states} states: the model has grown");
    }
    Searched { states: came_by.len(), broken: None }
}

fn hash(state: &State) -> u64 {
    let mut hasher = DefaultHasher::new();
    state.hash(&mut hasher);
    hasher.finish()
}

/// Whether every state that can be reached and is over satisfies `is_fine`.
pub(super) fn all_that_end(
    start: State,
    without: Guard,
    most_states: usize,
    is_fine: impl Fn(&State) -> bool,
) -> bool {
    let mut seen = std::collections::HashSet::from([hash(&start)]);
    let mut ahead = VecDeque::from([start]);
    while let Some(state) = ahead.pop_front() {
        let reached = next(&state, without).into_iter().filter_map(|(_, reached)| reached.ok());
        let new: Vec<State> = reached.filter(|reached| seen.insert(hash(reached))).collect();
        if !is_fine(&state) {
            return false;
        }
        ahead.extend(new);
        assert!(seen.len() <= most_states, "more than {most_states} states: the model has grown");
    }
    true
}
