//! What a monitor saw of its node.

use std::time::{Duration, Instant};

use db_core::{Lsn, Role, ServerId};

use crate::moment::Moment;
use crate::token::Token;

/// What a monitor saw of its node last.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) enum Seen {
    /// Nothing yet.
    #[default]
    Nothing,
    /// A read on it failed: out of use until it has been asked.
    Suspect,
    /// The last probe failed.
    Down,
    /// It answered.
    Up(Sighting),
}

/// A node's answer to one probe.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Sighting {
    pub(crate) role: Role,
    /// The cluster's system identifier, where the server tells.
    pub(crate) system: Option<u64>,
    /// When the server was started, in microseconds: two names with the same lead to one server.
    pub(crate) started: Option<i64>,
    /// The timeline that it is on; 0 where the server does not tell.
    pub(crate) timeline: u32,
    /// How far its log is flushed (a primary) or replayed (a standby).
    pub(crate) position: Option<Lsn>,
    /// How far it is behind. Unknown counts as infinite.
    pub(crate) lag: Option<Duration>,
    /// A standby has surely replayed whatever was committed before then.
    pub(crate) covers: Option<Instant>,
    /// When the question was sent.
    pub(crate) asked: Instant,
    /// When the first question was sent that had this answer, of those that had it in a row: role, timeline
    /// and server.
    pub(crate) since: Instant,
}

impl Sighting {
    /// Whether it says the same as the one before: that it is the same server, in the same role on the same
    /// timeline.
    pub(crate) fn repeats(&self, before: &Sighting) -> bool {
        let says =
            |sighting: &Sighting| (sighting.role, sighting.timeline, sighting.system, sighting.started);
        says(self) == says(before)
    }

    /// The moment as of which a standby surely had everything; none where its lag is unknown.
    ///
    /// The writer's positions tell it best. The lag alone is what the standby was behind when it was asked.
    pub(crate) fn current_as_of(&self) -> Option<Moment> {
        let asked = Moment::from(self.asked);
        let lag = self.lag?;
        Some(self.covers.map_or_else(|| asked.before(lag), Moment::from))
    }

    /// Whether it is a standby that has replayed what the token stands for.
    pub(crate) fn has_replayed(&self, token: &Token) -> bool {
        self.role == Role::Standby
            && self.is_of(token)
            && self.position.is_some_and(|position| position >= token.position)
    }

    /// Whether it is a standby that has replayed whatever was committed before this moment.
    pub(crate) fn has_covered(&self, moment: Instant) -> bool {
        self.covers.is_some_and(|covers| covers >= moment)
    }

    /// Whether this is surely what that server told.
    pub(crate) fn is_by(&self, server: ServerId) -> bool {
        let contradicts = server.system.zip(self.system).is_some_and(|(one, other)| one != other);
        server.started.is_some() && server.started == self.started && !contradicts
    }

    /// Whether its log can hold what the token stands for.
    ///
    /// A later timeline holds all of an earlier one up to where it began, and what lies behind that was lost
    /// in the failover: no node has it. So the position decides there, too.
    pub(crate) fn is_of(&self, token: &Token) -> bool {
        self.system == Some(token.system) && self.timeline >= token.timeline
    }
}

impl Seen {
    /// The answer, where it is up.
    pub(crate) fn up(self) -> Option<Sighting> {
        match self {
            Seen::Up(sighting) => Some(sighting),
            _ => None,
        }
    }

    /// As the next in the row, where it repeats what was seen before.
    pub(crate) fn as_repeated(self, before: Seen) -> Seen {
        match (self, before) {
            (Seen::Up(now), Seen::Up(before)) if now.repeats(&before) => {
                Seen::Up(Sighting { since: before.since, ..now })
            }
            (seen, _) => seen,
        }
    }

    /// The answer, where it is up and says that it is a primary.
    pub(crate) fn primary(self) -> Option<Sighting> {
        self.up().filter(|sighting| sighting.role == Role::Primary)
    }
}
