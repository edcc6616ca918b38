//! Decides from what was seen of all nodes which of them takes writes.
//!
//! A node is the writer only if it is not in recovery and its timeline is at least the best that was ever
//! seen: a promotion starts a new timeline, so an old primary that comes back is behind and stays fenced. On
//! a timeline that is already known there can be no proof in a node's own answer, so every other node must
//! have been asked after it: the new primary may be among them. Two primaries on one timeline cannot both be
//! right, and nothing tells which is wrong.

use crate::config::Policy;
use crate::seen::{Seen, Sighting};

/// Who takes writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nobody that we know of.
    Nobody,
    /// This node.
    Writer(usize),
    /// Two nodes claim to: on the same timeline, or the second was promoted while the first still answers.
    Conflict(usize, usize),
}

/// What is remembered between two elections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Memory {
    /// The best timeline seen so far, on any node.
    pub(crate) best: u32,
    /// The timeline of the last writer; 0 before the first.
    pub(crate) settled: u32,
    /// The writer as it was.
    pub(crate) current: Option<usize>,
    /// The node that took writes last, though it may not do so now.
    pub(crate) last: Option<usize>,
}

/// The verdict; `second` says whether a promoted standby is followed while the old primary still answers as
/// one.
pub(crate) fn elect(seen: &[Seen], memory: Memory, second: Policy) -> Verdict {
    // A server that does not tell its timeline is believed where none is known at all.
    let hidden = |claim: &Sighting| claim.timeline == 0 && memory.best == 0;
    let claims = |known: bool| {
        seen.iter().enumerate().filter_map(move |(index, seen)| {
            let claim = seen.primary()?;
            let holds =
                if known { claim.timeline > 0 && claim.timeline >= memory.best } else { hidden(&claim) };
            holds.then_some((index, claim))
        })
    };
    let known = claims(true).next().is_some();
    let mut claims = claims(known);
    let Some(first) = claims.next() else { return Verdict::Nobody };
    let mut chosen = first;
    for other in claims {
        if !same_server(&first.1, &other.1) {
            return Verdict::Conflict(first.0, other.0);
        }
        if memory.current == Some(other.0) {
            chosen = other;
        }
    }
    let (index, claim) = chosen;
    if second == Policy::Refuse
        && claim.timeline > memory.settled
        && let Some(old) = old_primary(seen, &claim)
    {
        return Verdict::Conflict(old, index);
    }
    let proven = memory.settled > 0 && claim.timeline > memory.settled;
    let denied_elsewhere = || {
        seen.iter().enumerate().filter(|(other, _)| *other != index).all(|(_, seen)| match seen {
            Seen::Nothing | Seen::Suspect => false,
            Seen::Down => true,
            Seen::Up(sighting) => sighting.asked >= claim.since || same_server(sighting, &claim),
        })
    };
    if memory.current == Some(index) || proven || denied_elsewhere() {
        Verdict::Writer(index)
    } else {
        Verdict::Nobody
    }
}

/// A node that still answers as a primary on an earlier timeline.
fn old_primary(seen: &[Seen], claim: &Sighting) -> Option<usize> {
    let is_old =
        |old: Sighting| old.timeline > 0 && old.timeline < claim.timeline && !same_server(&old, claim);
    seen.iter().position(|seen| seen.primary().is_some_and(is_old))
}

fn same_server(a: &Sighting, b: &Sighting) -> bool {
    a.started.is_some() && a.started == b.started && a.system == b.system
}

#[cfg(test)]
mod tests {
    use super::*;
    use db_core::Role;
    use std::time::{Duration, Instant};

    /// Two nodes differ in when they were started; `asked` is in milliseconds after a common start.
    struct Scene {
        start: Instant,
    }

    impl Scene {
        fn up(&self, role: Role, timeline: u32, started: i64, asked: u64) -> Seen {
            Seen::Up(Sighting {
                role,
                system: Some(7),
                started: Some(started),
                timeline,
                position: None,
                lag: None,
                covers: None,
                asked: self.start + Duration::from_millis(asked),
                since: self.start + Duration::from_millis(asked),
            })
        }

        fn primary(&self, timeline: u32, started: i64, asked: u64) -> Seen {
            self.up(Role::Primary, timeline, started, asked)
        }

        fn standby(&self, timeline: u32, started: i64, asked: u64) -> Seen {
            self.up(Role::Standby, timeline, started, asked)
        }
    }

    fn scene() -> Scene {
        Scene { start: Instant::now() }
    }

    fn memory(best: u32, settled: u32, current: Option<usize>) -> Memory {
        Memory { best, settled, current, last: current }
    }

    fn follow(seen: &[Seen], memory: Memory) -> Verdict {
        elect(seen, memory, Policy::Follow)
    }

    #[test]
    fn the_first_writer_waits_until_every_node_was_asked_after_it() {
        let (s, fresh) = (scene(), memory(1, 0, None));
        let check = |other: Seen, verdict| assert_eq!(follow(&[s.primary(1, 1, 10), other], fresh), verdict);
        check(Seen::Nothing, Verdict::Nobody);
        check(Seen::Suspect, Verdict::Nobody);
        check(s.standby(1, 2, 9), Verdict::Nobody);
        check(s.standby(1, 2, 10), Verdict::Writer(0));
        check(Seen::Down, Verdict::Writer(0));
    }

    /// It is asked more often than a far away standby can answer.
    #[test]
    fn a_primary_that_repeats_itself_need_not_wait_for_whoever_answers_slowly() {
        let s = scene();
        let Seen::Up(mut again) = s.primary(1, 1, 50) else { panic!() };
        again.since = s.start + Duration::from_millis(10);
        let other = |asked| s.standby(1, 2, asked);
        assert_eq!(follow(&[Seen::Up(again), other(9)], memory(1, 0, None)), Verdict::Nobody);
        assert_eq!(follow(&[Seen::Up(again), other(20)], memory(1, 0, None)), Verdict::Writer(0));
    }

    #[test]
    fn a_promoted_standby_is_the_writer_at_once() {
        let s = scene();
        let seen = [Seen::Down, s.primary(2, 2, 10), s.standby(1, 3, 1)];
        assert_eq!(follow(&seen, memory(2, 1, None)), Verdict::Writer(1));
        assert_eq!(follow(&seen, memory(2, 1, Some(0))), Verdict::Writer(1));
    }

    #[test]
    fn an_old_primary_that_comes_back_is_fenced() {
        let s = scene();
        let seen = [s.primary(1, 1, 20), s.primary(2, 2, 10)];
        assert_eq!(follow(&seen, memory(2, 2, Some(1))), Verdict::Writer(1));
        assert_eq!(follow(&[s.primary(1, 1, 20), Seen::Down], memory(2, 2, None)), Verdict::Nobody);
        // A standby that follows the new primary gives the old one away, too.
        assert_eq!(
            follow(&[s.primary(1, 1, 20), s.standby(2, 3, 30)], memory(2, 1, Some(0))),
            Verdict::Nobody
        );
    }

    #[test]
    fn two_primaries_on_one_timeline_are_a_conflict_and_two_names_of_one_server_are_not() {
        let s = scene();
        let two = [s.primary(3, 1, 10), s.primary(3, 2, 10)];
        assert_eq!(follow(&two, memory(3, 3, Some(0))), Verdict::Conflict(0, 1));
        let one = [s.primary(3, 1, 10), s.primary(3, 1, 11)];
        assert_eq!(follow(&one, memory(3, 3, Some(1))), Verdict::Writer(1));
        assert_eq!(follow(&one, memory(3, 0, None)), Verdict::Writer(0));
    }

    /// It may lack what the old one acknowledged.
    #[test]
    fn a_promotion_beside_the_old_primary_can_be_refused_until_that_one_is_gone() {
        let s = scene();
        let refuse = |seen: &[Seen], memory| elect(seen, memory, Policy::Refuse);
        let both = [s.primary(1, 1, 20), s.primary(2, 2, 10)];
        assert_eq!(refuse(&both, memory(2, 1, Some(0))), Verdict::Conflict(0, 1));
        assert_eq!(
            refuse(&both, memory(2, 0, None)),
            Verdict::Conflict(0, 1),
            "a process that has just started"
        );
        assert_eq!(refuse(&both, memory(2, 2, Some(1))), Verdict::Writer(1), "it came back later");
        for old in [Seen::Down, s.standby(1, 1, 20)] {
            assert_eq!(refuse(&[old, s.primary(2, 2, 10)], memory(2, 1, Some(0))), Verdict::Writer(1));
        }
    }

    #[test]
    fn the_writer_stays_it_while_it_answers() {
        let s = scene();
        let seen = [s.primary(1, 1, 500), s.standby(1, 2, 10), Seen::Suspect];
        assert_eq!(follow(&seen, memory(1, 1, Some(0))), Verdict::Writer(0));
    }

    #[test]
    fn a_server_that_does_not_tell_its_timeline_is_believed_where_none_contradicts() {
        let s = scene();
        assert_eq!(follow(&[s.primary(0, 1, 1)], memory(0, 0, None)), Verdict::Writer(0));
        assert_eq!(follow(&[s.primary(0, 1, 9), s.primary(2, 2, 9)], memory(2, 2, None)), Verdict::Writer(1));
        assert_eq!(follow(&[s.primary(0, 1, 9), Seen::Down], memory(2, 2, None)), Verdict::Nobody);
    }
}
