//! How far the slowest standby is behind, by log positions of the primary whose times are known.
//!
//! A standby whose position the role may not see is infinitely far behind.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Asks the primary for `written`, its own position, `replayed`, that of the standby that is furthest behind,
/// and `hidden`, how many standbys there are whose position the role may not see. Positions are bigints.
///
/// A base backup that runs is no standby. What only receives the log, and replays nothing, counts by what it
/// has stored.
pub const STANDBYS_SQL: &str = "SELECT \
    pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_lsn(), '0/0')::pg_catalog.int8 AS written, \
    pg_catalog.min(pg_catalog.pg_wal_lsn_diff(COALESCE(replay_lsn, flush_lsn, write_lsn), '0/0'))\
    ::pg_catalog.int8 AS replayed, \
    pg_catalog.count(*) FILTER (WHERE COALESCE(replay_lsn, flush_lsn, write_lsn) IS NULL) AS hidden \
    FROM pg_catalog.pg_stat_replication WHERE state IS NULL OR state OPERATOR(pg_catalog.<>) 'backup'";

/// As many positions are remembered; with one look at each batch they reach back for minutes.
const REMEMBERED: usize = 4_096;

/// How far behind the slowest standby is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lag {
    /// There is no standby, or none is behind.
    None,
    /// It lacks what was written so long ago.
    Behind(Duration),
    /// There are standbys, and the role may not see where they are.
    Unknown,
}

/// The primary's log positions with their times.
///
/// ```
/// use std::time::{Duration, Instant};
/// use db_throttle::{Lag, LogLag};
///
/// let (mut lag, start) = (LogLag::default(), Instant::now());
/// assert_eq!(lag.seen(1_000, Some(1_000), 0, start), Lag::None);
/// let later = start + Duration::from_secs(3);
/// assert_eq!(lag.seen(9_000, Some(1_000), 0, later), Lag::Behind(Duration::from_secs(3)));
/// ```
#[derive(Debug, Clone, Default)]
pub struct LogLag {
    positions: VecDeque<(i64, Instant)>,
}

impl LogLag {
    /// Takes in what [`STANDBYS_SQL`] answered at `now`, and says how far behind the slowest standby is.
    pub fn seen(&mut self, written: i64, replayed: Option<i64>, hidden: i64, now: Instant) -> Lag {
        let Some(replayed) = replayed.filter(|_| hidden == 0) else {
            return if hidden > 0 { Lag::Unknown } else { Lag::None };
        };
        // What was replayed is of no use any more, but for the last: what came after it was written since
        // then.
        while self.positions.get(1).is_some_and(|(position, _)| *position <= replayed) {
            self.positions.pop_front();
        }
        if self.positions.back().is_none_or(|(position, _)| *position < written) {
            if self.positions.len() >= REMEMBERED {
                // Every other one goes: old positions need less precision.
                let mut keep = false;
                self.positions.retain(|_| {
                    keep = !keep;
                    keep
                });
            }
            self.positions.push_back((written, now));
        }
        if replayed >= written {
            return Lag::None;
        }
        // Written at the latest when the newest position that was replayed was seen, or before anyone looked.
        let since = self.positions.front().map_or(now, |(_, at)| *at);
        Lag::Behind(now.saturating_duration_since(since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn a_standby_that_stopped_falls_ever_further_behind() {
        let (mut lag, start) = (LogLag::default(), Instant::now());
        lag.seen(100, Some(100), 0, start);
        for second in 1..100 {
            let seen = lag.seen(100 + second as i64, Some(100), 0, after(start, second));
            assert_eq!(seen, Lag::Behind(Duration::from_secs(second)));
        }
    }

    #[test]
    fn a_standby_that_follows_at_a_distance_is_as_far_behind_as_that() {
        let (mut lag, start) = (LogLag::default(), Instant::now());
        for second in 0..10_000_u64 {
            let seen = lag.seen(second as i64, Some(second as i64 - 2), 0, after(start, second));
            if second > 10 {
                assert_eq!(seen, Lag::Behind(Duration::from_secs(2)));
            }
        }
    }

    #[test]
    fn a_standby_that_nobody_may_see_is_infinitely_far_behind() {
        let mut lag = LogLag::default();
        assert_eq!(lag.seen(5, Some(5), 1, Instant::now()), Lag::Unknown);
        assert!(Lag::Unknown > Lag::Behind(Duration::MAX) && Lag::Behind(Duration::ZERO) > Lag::None);
    }

    #[test]
    fn without_standbys_nothing_is_behind() {
        assert_eq!(LogLag::default().seen(5, None, 0, Instant::now()), Lag::None);
    }
}
