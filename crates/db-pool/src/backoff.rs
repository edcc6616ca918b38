//! When the next attempt to connect may be made after one that failed.
//!
//! The whole process makes at most ten attempts a second at servers that are down, however many pools it has:
//! a server that comes back is met by few, and by each soon.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Between any two attempts of the process after a failure.
const APART: Duration = Duration::from_millis(100);
/// Between two attempts of one pool: from the first to the longest, so that a server that is back is found
/// soon.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_millis(160);

static LAST: Mutex<Option<Instant>> = Mutex::new(None);

/// When a pool may try again that has failed `failures` times in a row.
pub(crate) fn next_attempt(failures: u32) -> Instant {
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    let at = place(*last, Instant::now() + pause(failures));
    *last = Some(at);
    at
}

/// The first moment from `wanted` on that is far enough from the last one that was given away.
fn place(last: Option<Instant>, wanted: Instant) -> Instant {
    last.map_or(wanted, |last| wanted.max(last + APART))
}

/// Spread by up to a fourth, so that processes do not march in step.
fn pause(failures: u32) -> Duration {
    let grown = FIRST_PAUSE.saturating_mul(failures.clamp(1, 8)).min(LONGEST_PAUSE);
    grown.mul_f64(rand::random_range(1.0..=1.25))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_tries_again_soon_and_not_at_once() {
        for failures in 1..100 {
            let pause = pause(failures);
            assert!(pause >= FIRST_PAUSE && pause <= LONGEST_PAUSE.mul_f64(1.25), "{failures}: {pause:?}");
        }
    }

    #[test]
    fn many_pools_share_ten_attempts_a_second() {
        let now = Instant::now();
        let mut last = None;
        for number in 1..=30_u32 {
            // All of them fail at the same moment and want to try again at the same moment.
            last = Some(place(last, now + FIRST_PAUSE));
            assert_eq!(last, Some(now + APART * number));
        }
    }
}
