//! What a read promises about writes that were committed before it.

use std::time::Duration;

use crate::position::Position;
use crate::second_tier::Cursor;

/// What a read promises. The front page has a table of what each promises while the
/// second tier is up and down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// A value at most as old as its TTL; invalidations that arrive drop it earlier.
    Ttl,
    /// A value that was current at most this long ago.
    Bounded(Duration),
    /// A value at least as new as the session's own writes.
    Session(SessionToken),
    /// A value that was current when the read began: one round trip a read.
    Strict,
}

/// What a session has written: its later reads are at least that new.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SessionToken {
    /// Where in the feed its last write stands; none where it wrote nothing.
    pub feed: Option<Cursor>,
    /// The primary's position after its last write.
    pub position: Option<Position>,
    /// Whether the second tier has not heard of the write: the session's reads then ask the primary. After a
    /// fenced transaction, or one with [`Unmarked::RollBack`](crate::Unmarked::RollBack), others may read
    /// older than it until the tier has.
    pub untold: bool,
}

impl SessionToken {
    /// What a session has to see that wrote both.
    #[must_use]
    pub fn and(self, later: SessionToken) -> SessionToken {
        let feed = match (self.feed, later.feed) {
            // Of another run nothing is trusted any more.
            (Some(one), Some(two)) if one.run == two.run && one.id > two.id => Some(one),
            (one, two) => two.or(one),
        };
        let position = match (self.position, later.position) {
            (Some(one), Some(two)) if one.covers(two) => Some(one),
            (one, two) => two.or(one),
        };
        SessionToken { feed, position, untold: self.untold || later.untold }
    }
}

impl Default for Mode {
    fn default() -> Self {
        Mode::Bounded(Duration::from_secs(1))
    }
}
