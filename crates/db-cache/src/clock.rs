//! The clock of one process: monotonic, injected, and never compared with another process's.

use std::sync::Arc;
use std::time::Duration;

/// Tells how long a process has run. Only its rate is trusted, and only within one process.
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// The time since some moment that does not change. It may lag behind by at most [`Clock::lag`].
    fn now(&self) -> Duration;

    /// By how much [`Clock::now`] may lag behind: a lease counts as over that much earlier.
    fn lag(&self) -> Duration;
}

/// The clock that a cache reads.
pub type SharedClock = Arc<dyn Clock>;

/// The kernel's coarse monotonic clock: five nanoseconds to read, one timer tick (1 to 10 ms) behind at worst.
#[derive(Debug, Clone, Copy, Default)]
pub struct CoarseClock;

/// The longest timer tick that Linux can be built with is 1/100 s.
const LONGEST_TICK: Duration = Duration::from_millis(10);

impl Clock for CoarseClock {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn now(&self) -> Duration {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::MonotonicCoarse);
        let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
        Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or_default())
    }

    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    fn now(&self) -> Duration {
        static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
        START.get_or_init(std::time::Instant::now).elapsed()
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
    fn now(&self) -> Duration {
        self.0.elapsed()
    }

    fn lag(&self) -> Duration {
        Duration::ZERO
    }
}
