//! Decides whether a server that answers belongs to the cluster, by its system identifier.

use crate::config::Policy;
use crate::seen::Seen;

/// Whether a node belongs to the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admission {
    Granted,
    /// It does, and so do none that were taken in before: it was named first.
    Overrules,
    /// It stands where the writer stood, and its cluster takes the old one's place.
    Replaces {
        old: u64,
    },
    Stranger {
        system: u64,
        expected: u64,
    },
}

/// Which cluster it is that the nodes belong to.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Identity {
    /// The system identifier, and the place of the node that told it.
    system: Option<(usize, u64)>,
}

/// What the rest of the router knows when a node answers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Known {
    /// The node that took writes last.
    pub(crate) last_writer: Option<usize>,
    /// Whether another node answers as a primary.
    pub(crate) other_primary: bool,
    pub(crate) policy: Policy,
}

impl Identity {
    pub(crate) fn system(&self) -> Option<u64> {
        self.system.map(|(_, system)| system)
    }

    /// Whether this node belongs to it.
    ///
    /// Of several clusters, the node says which one is meant that was named first; but a cluster that has had
    /// a writer is left only for the one that answers in the writer's own place, and only where that is
    /// wanted.
    pub(crate) fn admit(&mut self, number: usize, seen: Seen, known: Known) -> Admission {
        let Some(sighting) = seen.up() else { return Admission::Granted };
        let Some(system) = sighting.system else { return Admission::Granted };
        let (teller, expected) = *self.system.get_or_insert((number, system));
        if expected == system {
            self.system = Some((number.min(teller), system));
            return Admission::Granted;
        }
        match known.last_writer {
            None if number < teller => {
                self.system = Some((number, system));
                Admission::Overrules
            }
            Some(writer)
                if known.policy == Policy::Follow
                    && writer == number
                    && seen.primary().is_some()
                    && !known.other_primary =>
            {
                self.system = Some((number, system));
                Admission::Replaces { old: expected }
            }
            _ => Admission::Stranger { system, expected },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seen::Sighting;
    use db_core::Role;
    use std::time::Instant;

    fn seen(role: Role, system: u64) -> Seen {
        Seen::Up(Sighting {
            role,
            system: Some(system),
            started: None,
            timeline: 1,
            position: None,
            lag: None,
            covers: None,
            asked: Instant::now(),
            since: Instant::now(),
        })
    }

    fn stranger(system: u64, expected: u64) -> Admission {
        Admission::Stranger { system, expected }
    }

    #[test]
    fn the_node_that_was_named_first_says_which_cluster_it_is_until_there_was_a_writer() {
        let mut identity = Identity::default();
        let mut admit = |number, seen, last_writer| {
            identity.admit(number, seen, Known { last_writer, other_primary: false, policy: Policy::Refuse })
        };
        let standby = |system| seen(Role::Standby, system);
        assert_eq!(admit(2, standby(8), None), Admission::Granted, "nobody else has answered");
        assert_eq!(admit(3, standby(7), None), stranger(7, 8));
        assert_eq!(admit(1, standby(7), None), Admission::Overrules);
        assert_eq!(admit(2, standby(8), None), stranger(8, 7));
        assert_eq!(admit(3, standby(7), None), Admission::Granted);
        assert_eq!(admit(2, Seen::Down, None), Admission::Granted);
        assert_eq!(admit(0, standby(9), Some(0)), stranger(9, 7), "its name leads elsewhere by now");
        assert_eq!(admit(0, standby(7), Some(0)), Admission::Granted);
    }

    #[test]
    fn another_cluster_is_followed_only_in_the_writers_place_where_that_is_wanted() {
        let check = |policy, number, role, other_primary, expected| {
            let mut identity = Identity { system: Some((0, 7)) };
            let known = Known { last_writer: Some(1), other_primary, policy };
            assert_eq!(identity.admit(number, seen(role, 9), known), expected);
        };
        let refused = stranger(9, 7);
        check(Policy::Follow, 1, Role::Primary, false, Admission::Replaces { old: 7 });
        check(Policy::Refuse, 1, Role::Primary, false, refused);
        check(Policy::Follow, 2, Role::Primary, false, refused);
        check(Policy::Follow, 1, Role::Standby, false, refused);
        check(Policy::Follow, 1, Role::Primary, true, refused);
    }
}
