//! How long a probe may take: the retransmission timer of TCP (RFC 6298) over the round trips that were
//! measured.
//!
//! A fixed time is too short for another region and too long for the next rack. The time is twice the
//! smoothed round trip with four times its variation, between a floor and a ceiling, and doubles with each
//! probe in a row that came too late. Where a round trip is known it doubles once only at first: a server
//! that is back must not be waited for on a connection that leads nowhere.

use std::time::Duration;

/// Opening a connection with TLS and SCRAM takes about so many round trips.
const ROUND_TRIPS_TO_OPEN: u32 = 10;

/// A time doubled so often is beyond any ceiling.
const MOST_DOUBLINGS: u32 = 16;

/// So many probes in a row that came too late are an outage; after more of them the way there may have become
/// longer.
const OUTAGE: u32 = 8;

#[derive(Debug, Clone)]
pub(crate) struct Deadline {
    floor: Duration,
    ceiling: Duration,
    /// The smoothed round trip and its variation, once one was measured.
    measured: Option<(Duration, Duration)>,
    /// How many probes in a row came too late.
    late: u32,
}

impl Deadline {
    pub(crate) fn new(floor: Duration, ceiling: Duration) -> Self {
        Deadline { floor, ceiling: ceiling.max(floor), measured: None, late: 0 }
    }

    /// How long an answer may take on a connection that is open.
    pub(crate) fn of_answer(&self) -> Duration {
        self.bounded(self.wanted(), 1)
    }

    /// How long it may take to open a connection.
    pub(crate) fn of_opening(&self) -> Duration {
        let (smoothed, _) = self.measured.unwrap_or_default();
        let round_trips = smoothed.saturating_mul(ROUND_TRIPS_TO_OPEN);
        self.bounded(self.wanted().saturating_mul(2).max(round_trips), 2)
    }

    /// An answer took this long.
    pub(crate) fn measured(&mut self, took: Duration) {
        self.late = 0;
        self.measured = Some(match self.measured {
            None => (took, took / 2),
            Some((smoothed, variation)) => {
                let variation = variation.saturating_mul(3).saturating_add(smoothed.abs_diff(took)) / 4;
                (smoothed.saturating_mul(7).saturating_add(took) / 8, variation)
            }
        });
    }

    /// None came in time.
    pub(crate) fn missed(&mut self) {
        self.late = self.late.saturating_add(1).min(MOST_DOUBLINGS);
    }

    /// Twice what RFC 6298 makes of the round trips: a steady one has no variation, and the server works
    /// besides.
    fn wanted(&self) -> Duration {
        let (smoothed, variation) = self.measured.unwrap_or_default();
        smoothed.saturating_add(variation.saturating_mul(4)).saturating_mul(2)
    }

    fn bounded(&self, wanted: Duration, times: u32) -> Duration {
        let is_known = self.measured.is_some() && self.late <= OUTAGE;
        let doublings = if is_known { self.late.min(1) } else { self.late };
        let floor = self.floor.saturating_mul(times);
        wanted.max(floor).saturating_mul(1 << doublings).min(self.ceiling)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLI: Duration = Duration::from_millis(1);

    #[test]
    fn the_time_follows_the_round_trip_between_floor_and_ceiling() {
        let mut deadline = Deadline::new(MILLI * 500, MILLI * 5_000);
        assert_eq!((deadline.of_answer(), deadline.of_opening()), (MILLI * 500, MILLI * 1_000));
        (0..50).for_each(|_| deadline.measured(MILLI));
        assert_eq!(deadline.of_answer(), MILLI * 500, "not below the floor");
        (0..50).for_each(|_| deadline.measured(MILLI * 800));
        let steady = deadline.of_answer();
        assert!(steady >= MILLI * 1_600 && steady < MILLI * 1_700, "{steady:?}");
        assert_eq!(deadline.of_opening(), MILLI * 5_000, "ten round trips, but not above the ceiling");
        deadline.measured(MILLI * 60_000);
        assert_eq!(deadline.of_answer(), MILLI * 5_000, "not above the ceiling");
    }

    #[test]
    fn a_server_that_is_far_away_is_given_more_time_until_it_answers() {
        let mut deadline = Deadline::new(MILLI * 500, MILLI * 5_000);
        let times: Vec<_> = (0..5)
            .map(|_| {
                deadline.missed();
                deadline.of_opening().as_millis()
            })
            .collect();
        assert_eq!(times, [2_000, 4_000, 5_000, 5_000, 5_000]);
        deadline.measured(MILLI * 100);
        assert!(deadline.of_answer() < MILLI * 700);
        let mut known = Deadline::new(MILLI * 500, MILLI * 5_000);
        known.measured(MILLI);
        (0..OUTAGE).for_each(|_| known.missed());
        assert_eq!(known.of_opening(), MILLI * 2_000, "it is near, and gone");
        known.missed();
        assert_eq!(known.of_opening(), MILLI * 5_000, "or far by now");
        let mut endless = Deadline::new(Duration::MAX, Duration::MAX);
        endless.measured(Duration::MAX / 8);
        endless.missed();
        assert_eq!(endless.of_opening(), Duration::MAX);
    }
}
