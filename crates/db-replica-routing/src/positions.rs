//! How far the writer's log was, and when: what makes a standby's position a lag in time.
//!
//! A standby's own clocks cannot tell: one that is cut off from an active primary has replayed all that it
//! received, and one of an idle primary replayed its last transaction long ago. Compared with the primary's
//! positions, the first is as far behind as the oldest position that it has not reached, and the second is
//! not behind at all.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use db_core::Lsn;

/// Enough for minutes at the usual pauses between probes.
const MOST: usize = 600;

/// The writer's recent positions, oldest first; none while there is no writer.
#[derive(Debug)]
pub(crate) struct Positions {
    /// The writer is asked at least this often: where it was not, it may have gone on unseen.
    pace: Duration,
    samples: Mutex<VecDeque<(Lsn, Instant)>>,
}

/// What the primary's positions say of a standby's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Behind {
    /// By this much time; nothing where it has all.
    By(Duration),
    /// By more than the positions reach back.
    Beyond,
    /// The primary's positions are not known.
    #[default]
    Unknown,
}

impl Positions {
    pub(crate) fn new(pace: Duration) -> Self {
        Positions { pace, samples: Mutex::default() }
    }

    /// The writer, asked then, told this position.
    pub(crate) fn record(&self, position: Lsn, asked: Instant) {
        let mut samples = self.samples();
        if samples.back().is_some_and(|(_, last)| *last >= asked) {
            return;
        }
        if samples.len() == MOST {
            samples.pop_front();
        }
        samples.push_back((position, asked));
    }

    /// The latest.
    pub(crate) fn last(&self) -> Option<Lsn> {
        self.samples().back().map(|(position, _)| *position)
    }

    /// The writer is gone: nothing is known of it from now on.
    pub(crate) fn forget(&self) {
        self.samples().clear();
    }

    pub(crate) fn behind(&self, replayed: Lsn, now: Instant) -> Behind {
        let samples = self.samples();
        let (Some((first, _)), Some((_, last))) = (samples.front(), samples.back()) else {
            return Behind::Unknown;
        };
        let since = |at: &Instant| now.saturating_duration_since(*at);
        match samples.iter().find(|(position, _)| *position > replayed) {
            None if since(last) <= self.pace => Behind::By(Duration::ZERO),
            None => Behind::By(since(last)),
            Some(_) if *first > replayed => Behind::Beyond,
            Some((_, at)) => Behind::By(since(at)),
        }
    }

    /// Whoever has replayed this much has replayed all that was committed before then.
    pub(crate) fn covered(&self, replayed: Lsn) -> Option<Instant> {
        let samples = self.samples();
        samples.iter().rev().find(|(position, _)| *position <= replayed).map(|(_, asked)| *asked)
    }

    fn samples(&self) -> MutexGuard<'_, VecDeque<(Lsn, Instant)>> {
        self.samples.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_standby_is_as_far_behind_as_the_oldest_position_that_it_has_not_reached() {
        let second = Duration::from_secs(1);
        let (positions, start) = (Positions::new(second), Instant::now());
        assert_eq!(positions.behind(Lsn(5), start), Behind::Unknown);
        for (n, position) in [10, 10, 20, 30].into_iter().enumerate() {
            positions.record(Lsn(position), start + second * u32::try_from(n).unwrap());
        }
        let now = start + second * 3;
        assert_eq!(positions.behind(Lsn(30), now), Behind::By(Duration::ZERO));
        assert_eq!(positions.behind(Lsn(10), now), Behind::By(second));
        assert_eq!(positions.behind(Lsn(25), now), Behind::By(Duration::ZERO));
        assert_eq!(positions.behind(Lsn(9), now), Behind::Beyond);
        assert_eq!(positions.covered(Lsn(9)), None);
        assert_eq!(positions.covered(Lsn(10)), Some(start + second));
        assert_eq!(positions.covered(Lsn(30)), Some(now));
        let later = now + second * 5;
        assert_eq!(positions.behind(Lsn(30), later), Behind::By(second * 5), "it may have gone on unseen");
        positions.forget();
        assert_eq!(positions.behind(Lsn(30), now), Behind::Unknown);
        assert_eq!(positions.covered(Lsn(30)), None);
    }
}
