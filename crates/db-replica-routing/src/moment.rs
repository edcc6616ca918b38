//! A moment as one number, so that threads share it without a lock.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// So far behind a process's first moment that nothing it hears of lies before it.
const BEFORE: u64 = 1 << 62;

/// A moment, in microseconds; never 0 or 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(u64);

impl Moment {
    pub(crate) fn now() -> Self {
        Moment::from(Instant::now())
    }

    /// So long before this one.
    pub(crate) fn before(self, duration: Duration) -> Self {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        Moment(self.0.saturating_sub(micros).max(2))
    }

    /// The number that it is kept as.
    pub(crate) fn number(self) -> u64 {
        self.0
    }
}

impl From<Instant> for Moment {
    fn from(at: Instant) -> Self {
        static FIRST: OnceLock<Instant> = OnceLock::new();
        let first = *FIRST.get_or_init(Instant::now);
        let micros = |duration: Duration| {
            duration.as_secs().saturating_mul(1_000_000).saturating_add(duration.subsec_micros().into())
        };
        match at.checked_duration_since(first) {
            Some(since) => Moment(BEFORE.saturating_add(micros(since))),
            None => Moment(BEFORE.saturating_sub(micros(first.saturating_duration_since(at))).max(2)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_keep_their_order_and_their_distance() {
        let (now, second) = (Instant::now(), Duration::from_secs(1));
        let moment = Moment::from(now);
        // Each is rounded down to a microsecond.
        let check = |one: Moment, other: Moment| assert!(one.number().abs_diff(other.number()) <= 1);
        check(Moment::from(now + second).before(second), moment);
        if let Some(earlier) = now.checked_sub(second) {
            check(Moment::from(earlier), moment.before(second));
        }
        assert!(moment.before(Duration::MAX).number() > 1);
    }
}
