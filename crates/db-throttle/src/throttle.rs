//! The size of the next batch and the pause before it: additive increase, multiplicative decrease (Chiu and
//! Jain, 1989).

use std::time::{Duration, Instant};

use crate::lag::{Lag, LogLag};
use crate::probes::Probes;

/// The least share of time that is worked: slower, and the work might never end.
const LEAST_SHARE: f64 = 0.02;

/// By how much the share grows after a batch beside which probes were fast.
const INCREASE: f64 = 0.02;

/// What no probe is called slow for: a busy machine's scheduler takes as long.
const NOISE: Duration = Duration::from_micros(150);

/// Beside others a batch takes so many times less: a processor that runs one is theirs again when it ends.
const BESIDE: u32 = 10;

/// If probes are slow for so long at the least share, the work is not what slows them.
const NOT_OURS: Duration = Duration::from_secs(10);

/// The pause before lag is looked at again.
const LAG_PAUSE: Duration = Duration::from_millis(200);

/// No pause is longer: progress must be seen.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How fast the work may go.
#[derive(Debug, Clone, PartialEq)]
pub struct ThrottleConfig {
    /// How long a batch should take where nobody else works, and a tenth of it beside others, who wait so
    /// long for a row of the batch and for a processor.
    pub batch: Duration,
    /// The fewest rows of a batch.
    pub min_rows: u32,
    /// The most rows of a batch.
    pub max_rows: u32,
    /// The furthest that a standby may be behind; none looks at no standby.
    pub max_lag: Option<Duration>,
    /// How many times slower probes may become than they were before the work began; none looks at no probe.
    ///
    /// It holds for the 95th percentile of the last 64. 150 microseconds more are never called slow.
    pub max_slowdown: Option<f64>,
}

impl Default for ThrottleConfig {
    fn default() -> Self {
        ThrottleConfig {
            batch: Duration::from_millis(20),
            min_rows: 100,
            max_rows: 50_000,
            max_lag: Some(Duration::from_secs(5)),
            max_slowdown: Some(1.5),
        }
    }
}

/// Why the work pauses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// It does not.
    None,
    /// The application's statements would become slow.
    Probes,
    /// A standby is too far behind.
    Lag,
}

/// How long to wait before the next batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pause {
    /// How long.
    pub length: Duration,
    /// Why.
    pub reason: Reason,
}

/// Decides the size of each batch and the pause after it.
#[derive(Debug, Clone)]
pub struct Throttle {
    config: ThrottleConfig,
    rows: u32,
    share: f64,
    probes: Probes,
    /// What probes took before the work began.
    baseline: Option<Duration>,
    slow_since: Option<Instant>,
    /// Nobody else works on the server.
    is_alone: bool,
    lag: LogLag,
}

impl Throttle {
    /// A throttle that has seen nothing yet.
    pub fn new(config: ThrottleConfig) -> Self {
        let rows = 1_000.clamp(config.min_rows.max(1), config.max_rows.max(1).max(config.min_rows));
        Throttle {
            config,
            rows,
            share: 1.0,
            probes: Probes::default(),
            baseline: None,
            slow_since: None,
            is_alone: false,
            lag: LogLag::default(),
        }
    }

    /// Takes in how long a probe took that ended at `now`.
    pub fn probed(&mut self, took: Duration, now: Instant) {
        self.probes.push(took);
        if !self.is_slow() {
            self.slow_since = None;
        } else if self.slow_since.is_none() {
            self.slow_since = Some(now);
        }
    }

    /// Takes in what [`OTHERS_SQL`](crate::OTHERS_SQL) answered. While nobody else works, probes slow nothing
    /// down.
    pub fn others(&mut self, others: bool) {
        self.is_alone = !others;
    }

    /// The work begins: what probes took so far is what they should take.
    pub fn begin(&mut self) {
        self.baseline = self.probes.slow();
        self.probes.clear();
        self.slow_since = None;
    }

    /// How many rows the next batch should have.
    pub fn rows(&self) -> u32 {
        self.rows
    }

    /// What 95 of 100 probes stayed below before the work began, and now.
    pub fn latency(&self) -> (Option<Duration>, Option<Duration>) {
        (self.baseline, self.probes.slow())
    }

    /// Takes in that a batch of `rows` took so long and ended at `now`, and says how long to pause.
    pub fn batch(&mut self, rows: u32, took: Duration, now: Instant) -> Pause {
        if rows > 0 && rows >= self.rows / 2 {
            let wanted = if self.is_alone { self.config.batch } else { self.config.batch / BESIDE };
            let factor = (wanted.as_secs_f64() / took.as_secs_f64().max(1e-6)).clamp(0.5, 2.0);
            let wanted = (f64::from(rows) * factor) as u32;
            self.rows = wanted.clamp(self.config.min_rows.max(1), self.config.max_rows.max(1));
        }
        if !self.is_slow() {
            self.share = (self.share + INCREASE).min(1.0);
        } else {
            let least = self.share <= LEAST_SHARE;
            let long = self.slow_since.is_some_and(|since| now.saturating_duration_since(since) > NOT_OURS);
            if least && long {
                self.baseline = self.probes.slow();
                self.slow_since = None;
            }
            self.share = (self.share / 2.0).max(LEAST_SHARE);
        }
        let pause = took.min(LONGEST_PAUSE).mul_f64(1.0 / self.share - 1.0).min(LONGEST_PAUSE);
        let reason = if pause.is_zero() { Reason::None } else { Reason::Probes };
        Pause { length: pause, reason }
    }

    /// A batch failed, or met locks: the next one is half as large.
    pub fn smaller(&mut self) {
        self.rows = (self.rows / 2).max(self.config.min_rows.max(1));
    }

    /// Takes in what [`STANDBYS_SQL`](crate::STANDBYS_SQL) answered at `now`; a pause means: wait, and ask
    /// again.
    pub fn standbys(&mut self, written: i64, replayed: Option<i64>, hidden: i64, now: Instant) -> Pause {
        let lag = self.lag.seen(written, replayed, hidden, now);
        let too_far = self.config.max_lag.is_some_and(|most| lag > Lag::Behind(most));
        if too_far {
            Pause { length: LAG_PAUSE, reason: Reason::Lag }
        } else {
            Pause { length: Duration::ZERO, reason: Reason::None }
        }
    }

    fn is_slow(&self) -> bool {
        let Some(((baseline, now), most)) =
            self.baseline.zip(self.probes.slow()).zip(self.config.max_slowdown)
        else {
            return false;
        };
        !self.is_alone
            && now.as_secs_f64()
                > (baseline.as_secs_f64() * most.max(1.0)).max(baseline.saturating_add(NOISE).as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAST: Duration = Duration::from_millis(1);

    fn after_baseline(config: ThrottleConfig) -> Throttle {
        let mut throttle = Throttle::new(config);
        for _ in 0..64 {
            throttle.probed(FAST, Instant::now());
        }
        throttle.begin();
        throttle
    }

    #[test]
    fn batches_grow_until_they_take_as_long_as_they_should() {
        let mut throttle = Throttle::new(ThrottleConfig::default());
        for (others, rows) in [(false, 4_000), (true, 400), (false, 4_000)] {
            throttle.others(others);
            for _ in 0..50 {
                // 5 microseconds a row.
                let rows = throttle.rows();
                throttle.batch(rows, Duration::from_micros(5) * rows, Instant::now());
            }
            assert!(throttle.rows().abs_diff(rows) < rows / 20, "{}", throttle.rows());
        }
    }

    #[test]
    fn a_short_last_batch_says_nothing_about_size() {
        let mut throttle = Throttle::new(ThrottleConfig::default());
        throttle.batch(3, Duration::from_millis(40), Instant::now());
        assert_eq!(throttle.rows(), 1_000);
    }

    #[test]
    fn slow_probes_make_pauses_and_fast_ones_take_them_back() {
        let mut throttle = after_baseline(ThrottleConfig::default());
        let took = Duration::from_millis(50);
        for _ in 0..64 {
            throttle.probed(FAST * 4, Instant::now());
        }
        let first = throttle.batch(1_000, took, Instant::now());
        let second = throttle.batch(1_000, took, Instant::now());
        assert_eq!((first.length, first.reason), (took, Reason::Probes));
        assert_eq!(second.length, took * 3);
        for _ in 0..64 {
            throttle.probed(FAST, Instant::now());
        }
        for _ in 0..60 {
            throttle.batch(1_000, took, Instant::now());
        }
        assert_eq!(throttle.batch(1_000, took, Instant::now()).length, Duration::ZERO);
    }

    #[test]
    fn where_nobody_else_works_slow_probes_make_no_pause_until_somebody_comes() {
        let mut throttle = after_baseline(ThrottleConfig::default());
        let took = Duration::from_millis(50);
        throttle.others(false);
        for _ in 0..64 {
            throttle.probed(FAST * 4, Instant::now());
        }
        assert_eq!(throttle.batch(1_000, took, Instant::now()).length, Duration::ZERO);
        throttle.others(true);
        assert_eq!(throttle.batch(1_000, took, Instant::now()).length, took);
    }

    #[test]
    fn slowness_that_stays_without_the_work_is_the_new_measure() {
        let (mut throttle, start) = (after_baseline(ThrottleConfig::default()), Instant::now());
        for second in 0..40 {
            let now = start + Duration::from_secs(second);
            for _ in 0..64 {
                throttle.probed(FAST * 4, now);
            }
            throttle.batch(1_000, Duration::from_millis(50), now);
        }
        assert_eq!(throttle.latency().0, Some(FAST * 4));
        for _ in 0..60 {
            throttle.batch(1_000, Duration::from_millis(50), start + Duration::from_secs(41));
        }
        assert_eq!(throttle.batch(1_000, Duration::from_millis(50), start).length, Duration::ZERO);
    }

    #[test]
    fn a_standby_too_far_behind_stops_the_work() {
        let (mut throttle, start) = (Throttle::new(ThrottleConfig::default()), Instant::now());
        assert_eq!(throttle.standbys(10, Some(10), 0, start).reason, Reason::None);
        let late = start + Duration::from_secs(6);
        assert_eq!(throttle.standbys(20, Some(10), 0, late).reason, Reason::Lag);
        assert_eq!(throttle.standbys(20, Some(20), 0, late).reason, Reason::None);
        assert_eq!(throttle.standbys(20, Some(20), 1, late).reason, Reason::Lag);
    }

    #[test]
    fn absurd_settings_do_not_stop_it() {
        let config = ThrottleConfig {
            batch: Duration::MAX,
            min_rows: 0,
            max_rows: 0,
            max_lag: Some(Duration::MAX),
            max_slowdown: Some(f64::NAN),
        };
        let mut throttle = after_baseline(config);
        for _ in 0..200 {
            throttle.probed(Duration::MAX, Instant::now());
            throttle.batch(throttle.rows(), Duration::MAX, Instant::now());
        }
        assert!(throttle.rows() >= 1);
        throttle.begin();
        throttle.batch(1, Duration::ZERO, Instant::now());
    }
}
