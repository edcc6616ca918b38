//! Decides whether a relay may go on where the last one stopped: a pure function of what the database says.
//!
//! It may only where nothing can have been missed. Everything else is an accident, and ends in a fresh epoch.

use std::fmt;

use db_core::Lsn;

use crate::position::History;

/// Why commits may have been missed, so that the whole cache gets a fresh epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Accident {
    /// There has been no relay yet.
    FirstStart,
    /// The slot is gone.
    Missing,
    /// The database was failed over or restored, and the slot did not come with it.
    NotCarriedOver,
    /// The slot needed more log than `max_slot_wal_keep_size` keeps, or was invalidated otherwise.
    Lost,
    /// Nobody read the slot for `idle_replication_slot_timeout`.
    TimedOut,
    /// Another database, or another kind of consumer, has a slot of this name.
    Shadowed,
    /// There is a slot of this name, and no relay has ever said that it is its own.
    Leftover,
    /// The database was failed over or restored.
    OtherHistory,
    /// Somebody else has read the slot, or made it anew.
    ReadByOthers,
    /// The relay read a slot before and an outbox now.
    OtherWay,
    /// A transaction said something that this version cannot read.
    Unreadable,
}

impl Accident {
    /// All of them.
    pub const ALL: [Accident; 11] = [
        Accident::FirstStart,
        Accident::Missing,
        Accident::NotCarriedOver,
        Accident::Lost,
        Accident::TimedOut,
        Accident::Shadowed,
        Accident::Leftover,
        Accident::OtherHistory,
        Accident::ReadByOthers,
        Accident::OtherWay,
        Accident::Unreadable,
    ];

    /// The accident as a metric label: lower case, stable.
    pub fn as_str(self) -> &'static str {
        match self {
            Accident::FirstStart => "first_start",
            Accident::Missing => "missing",
            Accident::NotCarriedOver => "not_carried_over",
            Accident::Lost => "lost",
            Accident::TimedOut => "timed_out",
            Accident::Shadowed => "shadowed",
            Accident::Leftover => "leftover",
            Accident::OtherHistory => "other_history",
            Accident::ReadByOthers => "read_by_others",
            Accident::OtherWay => "other_way",
            Accident::Unreadable => "unreadable",
        }
    }
}

impl fmt::Display for Accident {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Accident::FirstStart => "there has been no relay before",
            Accident::Missing => "the slot is gone: let nothing else drop it",
            Accident::NotCarriedOver => {
                "the slot did not come along to the new primary: from PostgreSQL 17 on, set sync_replication_slots on standbys"
            }
            Accident::Lost => "the slot was invalidated: raise max_slot_wal_keep_size",
            Accident::TimedOut => {
                "nobody read the slot for idle_replication_slot_timeout: raise it above the time that services are down"
            }
            Accident::Shadowed => {
                "a slot of this name belongs to another database or another program: give the relay another name, or drop that slot"
            }
            Accident::Leftover => "the slot is a leftover that no relay knows",
            Accident::OtherHistory => "the database was failed over or restored",
            Accident::ReadByOthers => "another program has read the slot or made it anew: let nothing else use it",
            Accident::OtherWay => "wal_level has changed",
            Accident::Unreadable => "a transaction's message is of another version: run one version of the program",
        })
    }
}

/// How the relay is told of commits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Messages in the log, read through a logical slot.
    Slot,
    /// Rows of an outbox, where there is no logical decoding.
    Outbox,
}

impl Way {
    /// As the state's row and metrics have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Way::Slot => "slot",
            Way::Outbox => "outbox",
        }
    }
}

/// The slot of the relay's name, whatever it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SlotSeen {
    pub(crate) name: String,
    /// Whether it is a logical slot of this database with the plugin that the relay reads.
    pub(crate) is_ours: bool,
    /// Whether the log that it needs is gone, and whether that was for want of readers.
    pub(crate) lost: Option<Accident>,
    /// Up to where it was read.
    pub(crate) confirmed: Lsn,
}

/// What the last relay left behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Left {
    pub(crate) way: String,
    pub(crate) history: History,
    /// Up to where it has read the slot at most.
    pub(crate) acknowledged: Option<Lsn>,
}

/// What a relay does first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It goes on.
    GoOn,
    /// It gives the cache a fresh epoch and goes on with the slot.
    Adopt(Accident),
    /// It makes the slot, anew if there is one, gives the cache a fresh epoch and goes on.
    Make(Accident),
}

/// Which of the names a relay uses: that of a slot of its own, else the first that nobody has. None where
/// others have all.
///
/// Answers whether the first name is somebody else's, too.
pub(crate) fn choose(names: &[String], slots: &[SlotSeen]) -> (Option<String>, bool) {
    let of = |name: &String| slots.iter().find(|slot| slot.name == *name);
    let own = names.iter().find(|name| of(name).is_some_and(|slot| slot.is_ours));
    let is_shadowed = names.first().and_then(of).is_some_and(|slot| !slot.is_ours);
    (own.or_else(|| names.iter().find(|name| of(name).is_none())).cloned(), is_shadowed)
}

/// What a relay of this way does first on a server of this history, where the slot of its choice is that.
pub(crate) fn judge(way: Way, history: History, slot: Option<&SlotSeen>, left: Option<&Left>) -> Verdict {
    let other_history = left.is_some_and(|left| left.history != history);
    if way == Way::Outbox {
        return match left {
            None => Verdict::Adopt(Accident::FirstStart),
            Some(_) if other_history => Verdict::Adopt(Accident::OtherHistory),
            Some(left) if left.way != way.as_str() => Verdict::Adopt(Accident::OtherWay),
            Some(_) => Verdict::GoOn,
        };
    }
    let (slot, left) = match (slot, left) {
        (Some(SlotSeen { lost: Some(accident), .. }), _) => return Verdict::Make(*accident),
        (None, None) => return Verdict::Make(Accident::FirstStart),
        (None, Some(_)) if other_history => return Verdict::Make(Accident::NotCarriedOver),
        (None, Some(left)) if left.way != way.as_str() => return Verdict::Make(Accident::OtherWay),
        (None, Some(_)) => return Verdict::Make(Accident::Missing),
        (Some(_), None) => return Verdict::Adopt(Accident::Leftover),
        (Some(slot), Some(left)) => (slot, left),
    };
    if other_history {
        return Verdict::Adopt(Accident::OtherHistory);
    }
    match left.acknowledged {
        Some(acknowledged) if left.way == way.as_str() && slot.confirmed <= acknowledged => Verdict::GoOn,
        Some(_) | None => Verdict::Adopt(Accident::ReadByOthers),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: History = History { system: 7, timeline: 2 };

    fn slot(confirmed: u64) -> SlotSeen {
        SlotSeen { name: "a".to_owned(), is_ours: true, lost: None, confirmed: Lsn(confirmed) }
    }

    fn left(acknowledged: u64) -> Left {
        Left { way: "slot".to_owned(), history: HERE, acknowledged: Some(Lsn(acknowledged)) }
    }

    #[track_caller]
    fn check(slot: Option<SlotSeen>, left: Option<Left>, expected: Verdict) {
        assert_eq!(judge(Way::Slot, HERE, slot.as_ref(), left.as_ref()), expected);
    }

    #[test]
    fn a_slot_goes_on_only_where_nobody_else_has_read_it() {
        check(Some(slot(5)), Some(left(5)), Verdict::GoOn);
        check(Some(slot(4)), Some(left(5)), Verdict::GoOn);
        check(Some(slot(6)), Some(left(5)), Verdict::Adopt(Accident::ReadByOthers));
        let unfinished = Left { acknowledged: None, ..left(0) };
        check(Some(slot(6)), Some(unfinished), Verdict::Adopt(Accident::ReadByOthers));
    }

    #[test]
    fn each_accident_of_a_slot_has_its_name() {
        let earlier = Left { history: History { timeline: 1, ..HERE }, ..left(5) };
        let another = Left { history: History { system: 8, ..HERE }, ..left(5) };
        let outbox = Left { way: "outbox".to_owned(), ..left(5) };
        check(None, None, Verdict::Make(Accident::FirstStart));
        check(None, Some(left(5)), Verdict::Make(Accident::Missing));
        check(None, Some(earlier.clone()), Verdict::Make(Accident::NotCarriedOver));
        check(None, Some(outbox), Verdict::Make(Accident::OtherWay));
        check(Some(slot(5)), None, Verdict::Adopt(Accident::Leftover));
        check(Some(slot(5)), Some(earlier), Verdict::Adopt(Accident::OtherHistory));
        check(Some(slot(5)), Some(another), Verdict::Adopt(Accident::OtherHistory));
        for accident in [Accident::Lost, Accident::TimedOut] {
            let lost = SlotSeen { lost: Some(accident), ..slot(5) };
            check(Some(lost), Some(left(5)), Verdict::Make(accident));
        }
    }

    #[test]
    fn a_name_that_somebody_else_has_is_left_alone() {
        let names = ["a".to_owned(), "b".to_owned()];
        let named = |name: &str, is_ours| SlotSeen { name: name.to_owned(), is_ours, ..slot(5) };
        let check = |slots: &[SlotSeen], expected: (Option<&str>, bool)| {
            assert_eq!(choose(&names, slots), (expected.0.map(str::to_owned), expected.1));
        };
        check(&[], (Some("a"), false));
        check(&[named("a", true)], (Some("a"), false));
        check(&[named("a", false)], (Some("b"), true));
        check(&[named("b", true)], (Some("b"), false));
        check(&[named("b", true), named("a", false)], (Some("b"), true));
        check(&[named("b", false), named("a", false)], (None, true));
    }

    #[test]
    fn an_outbox_goes_on_within_one_history() {
        let judge = |left: Option<Left>| judge(Way::Outbox, HERE, None, left.as_ref());
        let outbox = Left { way: "outbox".to_owned(), acknowledged: None, ..left(0) };
        assert_eq!(judge(Some(outbox.clone())), Verdict::GoOn);
        assert_eq!(judge(None), Verdict::Adopt(Accident::FirstStart));
        assert_eq!(judge(Some(left(5))), Verdict::Adopt(Accident::OtherWay));
        let earlier = Left { history: History { timeline: 1, ..HERE }, ..outbox };
        assert_eq!(judge(Some(earlier)), Verdict::Adopt(Accident::OtherHistory));
    }
}
