//! How often a node is asked: as freshness demands, faster while the writer is looked for, slower where
//! nobody answers.
//!
//! Every pause is cut short by a random quarter at most, so that processes that lost the same server do not
//! ask in step.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::config::RouterConfig;
use crate::moment::Moment;

/// The pause before the second look at a standby that a read waits for; each further one is twice as long.
pub(crate) const FIRST_LOOK: Duration = Duration::from_millis(5);

/// Nobody is asked more often than this for the sake of freshness.
const FASTEST: Duration = Duration::from_millis(20);

/// The longest pause while the writer is looked for among nodes that answer.
const SLOWEST_SEARCH: Duration = Duration::from_millis(50);

/// The longest pause for a node that does not answer while another one takes the writes.
const SLOWEST_KNOCK: Duration = Duration::from_secs(1);

/// A search has the pause that its duration has this many times.
const SEARCH_SHARE: u32 = 16;

/// How long a read that asked for a small lag keeps the probes fast.
const DEMAND_LASTS: Duration = Duration::from_secs(10);

/// What decides on the pause between two probes.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Circumstances {
    /// How long the writer has been looked for.
    pub(crate) searching: Option<Duration>,
    /// How many looks there were for the sake of a read that waits.
    pub(crate) looks: Option<u32>,
    /// How many probes in a row failed.
    pub(crate) failures: u32,
    /// The smallest lag that reads asked for lately.
    pub(crate) demand: Option<Duration>,
}

/// The usual pause: a standby's lag is known as of its probe and of the writer's, so that a lag of `max_lag`
/// is seen in time only where nodes are asked several times as often.
pub(crate) fn usual(config: &RouterConfig, demand: Option<Duration>) -> Duration {
    let lag = demand.map_or(config.max_lag, |demand| demand.min(config.max_lag));
    config.probe_interval.min((lag / 4).max(FASTEST))
}

/// The pause between two probes.
pub(crate) fn pause(config: &RouterConfig, now: Circumstances) -> Duration {
    let usual = usual(config, now.demand);
    let pause = match now {
        Circumstances { failures: 1.., searching, .. } => {
            let slowest = if searching.is_some() { usual } else { usual.max(SLOWEST_KNOCK) };
            after_failures(config, now.failures).min(slowest)
        }
        Circumstances { searching: Some(since), .. } => {
            (since / SEARCH_SHARE).max(config.search_interval).min(SLOWEST_SEARCH).min(usual)
        }
        Circumstances { looks: Some(looks), .. } => {
            return FIRST_LOOK.saturating_mul(1 << looks.min(16)).min(config.token_interval);
        }
        _ => usual,
    };
    pause.mul_f64(0.75 + fastrand::f64() / 4.0)
}

/// The shortest pause, where something calls for a probe at once: it may be another node's alarm, and come
/// often.
pub(crate) fn after_alarm(config: &RouterConfig, failures: u32) -> Duration {
    match failures {
        0 => config.search_interval,
        _ => after_failures(config, failures).min(usual(config, None)),
    }
}

fn after_failures(config: &RouterConfig, failures: u32) -> Duration {
    config.search_interval.saturating_mul(1 << failures.min(16))
}

/// The smallest lag that reads asked for lately.
#[derive(Debug, Default)]
pub(crate) struct Demand {
    micros: AtomicU64,
    since: AtomicU64,
}

impl Demand {
    /// A read asks for at most this lag.
    pub(crate) fn ask(&self, lag: Duration) {
        let (micros, now) = (u64::try_from(lag.as_micros()).unwrap_or(u64::MAX), Moment::now());
        if self.at(now).is_none_or(|least| lag <= least) {
            self.micros.store(micros, Ordering::Relaxed);
            self.since.store(now.number(), Ordering::Relaxed);
        }
    }

    pub(crate) fn now(&self) -> Option<Duration> {
        self.at(Moment::now())
    }

    fn at(&self, now: Moment) -> Option<Duration> {
        let since = AtomicU64::load(&self.since, Ordering::Relaxed);
        let holds = since != 0 && since >= now.before(DEMAND_LASTS).number();
        holds.then(|| Duration::from_micros(AtomicU64::load(&self.micros, Ordering::Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLI: Duration = Duration::from_millis(1);
    const CALM: Circumstances = Circumstances { searching: None, looks: None, failures: 0, demand: None };

    /// The pause is at most this, and at least three quarters of it.
    #[track_caller]
    fn check(config: &RouterConfig, now: Circumstances, longest: Duration) {
        for _ in 0..50 {
            let pause = pause(config, now);
            assert!(pause <= longest && pause >= longest * 3 / 4, "{pause:?}, not {longest:?}: {now:?}");
        }
    }

    #[test]
    fn the_interval_is_at_most_a_quarter_of_the_lag_that_is_allowed() {
        let with = |interval, max_lag| RouterConfig {
            probe_interval: MILLI * interval,
            max_lag: MILLI * max_lag,
            ..RouterConfig::default()
        };
        check(&with(250, 10_000), CALM, MILLI * 250);
        check(&with(30_000, 1_000), CALM, MILLI * 250);
        check(&with(250, 1), CALM, MILLI * 20);
        check(&with(250, 10_000), Circumstances { demand: Some(MILLI * 200), ..CALM }, MILLI * 50);
    }

    #[test]
    fn a_search_begins_fast_and_slows_down_and_who_does_not_answer_is_asked_seldom() {
        let config = RouterConfig::default();
        let searching = |millis| Circumstances { searching: Some(MILLI * millis), ..CALM };
        check(&config, searching(0), MILLI * 10);
        check(&config, searching(320), MILLI * 20);
        check(&config, searching(20_000), MILLI * 50);
        let failed = |failures| Circumstances { failures, ..CALM };
        check(&config, failed(1), MILLI * 20);
        check(&config, failed(4), MILLI * 160);
        check(&config, failed(90), MILLI * 1_000);
        check(&config, Circumstances { failures: 90, ..searching(20_000) }, MILLI * 250);
        assert_eq!(after_alarm(&config, 0), MILLI * 10);
        assert_eq!(after_alarm(&config, 90), MILLI * 250);
    }

    #[test]
    fn a_demand_is_forgotten_after_a_while() {
        let demand = Demand::default();
        assert_eq!(demand.now(), None);
        demand.ask(MILLI * 100);
        demand.ask(MILLI * 200);
        assert_eq!(demand.now(), Some(MILLI * 100));
        demand.since.store(Moment::now().before(DEMAND_LASTS * 2).number(), Ordering::Relaxed);
        assert_eq!(demand.now(), None);
        demand.ask(MILLI * 200);
        assert_eq!(demand.now(), Some(MILLI * 200));
    }
}
