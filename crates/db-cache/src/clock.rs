//! The clock of one process: monotonic, injected, and never compared with another process's.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// A moment by the clock of this process: nanoseconds since some moment that does not change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Moment(pub u64);

/// Tells how long a process has run. Only its rate is trusted, and only within one process.
pub trait Clock: fmt::Debug + Send + Sync {
    /// Now. It may lag behind by at most [`Clock::lag`].
    fn now(&self) -> Moment;

    /// By how much [`Clock::now`] may lag behind: a lease counts as over that much earlier.
    fn lag(&self) -> Duration;
}

/// The clock that a cache reads.
pub type SharedClock = Arc<dyn Clock>;

/// The kernel's coarse monotonic clock: five nanoseconds to read, one timer tick (1 to 10 ms) behind at
/// worst.
///
/// ```
/// use db_cache::{Clock, CoarseClock};
///
/// assert!(CoarseClock.now() <= CoarseClock.now());
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct CoarseClock;

/// The longest timer tick that Linux can be built with is 1/100 s.
const LONGEST_TICK: Duration = Duration::from_millis(10);

impl Clock for CoarseClock {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn now(&self) -> Moment {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::MonotonicCoarse);
        let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
        let nanos = u64::try_from(time.tv_nsec).unwrap_or_default();
        Moment(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
    }

    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    fn now(&self) -> Moment {
        static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
        Moment::default().after(START.get_or_init(std::time::Instant::now).elapsed())
    }

    fn lag(&self) -> Duration {
        LONGEST_TICK
    }
}

/// Tokio's clock, which a test can pause and advance.
#[derive(Debug, Clone, Copy)]
pub struct TokioClock(tokio::time::Instant);

impl TokioClock {
    /// A clock that starts now.
    pub fn start() -> Self {
        TokioClock(tokio::time::Instant::now())
    }
}

impl Clock for TokioClock {
    fn now(&self) -> Moment {
        Moment(1).after(self.0.elapsed())
    }

    fn lag(&self) -> Duration {
        Duration::ZERO
    }
}

impl Moment {
    /// The moment that is `later` after this one; the last one there is, where it would lie beyond.
    #[must_use]
    #[inline]
    pub fn after(self, later: Duration) -> Self {
        Moment(self.0.saturating_add(nanos(later)))
    }

    /// The moment that is `earlier` before this one; the first one, where it would lie before.
    #[must_use]
    pub fn before(self, earlier: Duration) -> Self {
        Moment(self.0.saturating_sub(nanos(earlier)))
    }

    /// How long it is from `earlier` to this moment; zero where `earlier` is not earlier.
    pub fn since(self, earlier: Moment) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// `Duration::as_nanos` counts in 128 bits, which is dear where every hit asks for it.
#[inline]
pub(crate) const fn nanos(duration: Duration) -> u64 {
    duration.as_secs().saturating_mul(1_000_000_000).saturating_add(duration.subsec_nanos() as u64)
}
