//! The states of a breaker and what moves it from one to another. Pure: time is passed in, and nothing waits.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::config::BreakerConfig;
use super::window::{Call, Tally, Window};

/// What a breaker does with callers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BreakerState {
    /// They go through.
    Closed,
    /// They are turned away at once.
    Open,
    /// They are turned away, and one probe is under way.
    HalfOpen,
}

impl BreakerState {
    /// The state as a metric label: lower case, stable.
    pub fn as_str(self) -> &'static str {
        match self {
            BreakerState::Closed => "closed",
            BreakerState::Open => "open",
            BreakerState::HalfOpen => "half_open",
        }
    }
}

impl fmt::Display for BreakerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Lets one caller through. What it reports counts only until the breaker opens next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Admission {
    epoch: u64,
}

/// Turns one caller away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) open_for: Duration,
    pub(super) next_probe_in: Duration,
    pub(super) cause: Arc<str>,
}

/// A breaker without clock, lock or task.
#[derive(Debug)]
pub(super) struct Machine {
    config: BreakerConfig,
    window: Window,
    outage: Option<Outage>,
    /// How often it has opened.
    pub(super) opened: u64,
    pub(super) refused: u64,
    pub(super) probes: u64,
    /// Whether a task is at work that will close it.
    pub(super) probing: bool,
}

#[derive(Debug)]
struct Outage {
    since: Duration,
    cause: Arc<str>,
    /// None while a probe is under way.
    next_probe: Option<Duration>,
}

impl Machine {
    pub(super) fn new(config: BreakerConfig) -> Self {
        let window = Window::new(config.window);
        Machine { config, window, outage: None, opened: 0, refused: 0, probes: 0, probing: false }
    }

    pub(super) fn config(&self) -> &BreakerConfig {
        &self.config
    }

    pub(super) fn state(&self) -> BreakerState {
        match &self.outage {
            None => BreakerState::Closed,
            Some(Outage { next_probe: Some(_), .. }) => BreakerState::Open,
            Some(Outage { next_probe: None, .. }) => BreakerState::HalfOpen,
        }
    }

    pub(super) fn cause(&self) -> Option<&Arc<str>> {
        self.outage.as_ref().map(|outage| &outage.cause)
    }

    pub(super) fn tally(&mut self, now: Duration) -> Tally {
        self.window.tally(now)
    }

    pub(super) fn admit(&mut self, now: Duration) -> Result<Admission, Refusal> {
        let Some(outage) = &self.outage else { return Ok(Admission { epoch: self.opened }) };
        self.refused += 1;
        Err(Refusal {
            open_for: now.saturating_sub(outage.since),
            next_probe_in: outage.next_probe.map_or(Duration::ZERO, |at| at.saturating_sub(now)),
            cause: Arc::clone(&outage.cause),
        })
    }

    /// Counts a call; true where that has opened the breaker.
    pub(super) fn record(
        &mut self,
        now: Duration,
        admission: Admission,
        call: Call,
        cause: impl FnOnce() -> Arc<str>,
    ) -> bool {
        // It was let through before the outage, and says nothing about what came after.
        if self.outage.is_some() || admission.epoch != self.opened {
            return false;
        }
        self.window.record(now, call);
        if call == Call::Good || !self.is_too_much(now) {
            return false;
        }
        self.opened += 1;
        let next_probe = Some(now + self.config.probe_after);
        self.outage = Some(Outage { since: now, cause: cause(), next_probe });
        true
    }

    /// The next probe is at `at`.
    pub(super) fn wait_until(&mut self, at: Duration) {
        if let Some(outage) = &mut self.outage {
            outage.next_probe = Some(at);
        }
    }

    pub(super) fn probe_started(&mut self) {
        self.probes += 1;
        if let Some(outage) = &mut self.outage {
            outage.next_probe = None;
        }
    }

    pub(super) fn probe_failed(&mut self, at: Duration, cause: Arc<str>) {
        if let Some(outage) = &mut self.outage {
            outage.next_probe = Some(at);
            outage.cause = cause;
        }
    }

    /// Callers go through again, and are counted from nothing.
    pub(super) fn probe_succeeded(&mut self) {
        self.outage = None;
        self.window.clear();
    }

    fn is_too_much(&mut self, now: Duration) -> bool {
        let Tally { calls, failed, slow } = self.window.tally(now);
        let share = |part: u32, rate: f64| part > 0 && f64::from(part) >= rate * f64::from(calls);
        calls >= self.config.min_calls.get()
            && (share(failed, self.config.failure_rate) || share(slow, self.config.slow_rate))
    }
}

#[cfg(test)]
mod tests {
    use super::super::window::SLOTS;
    use super::*;
    use proptest::prelude::*;

    /// The same, remembering every call.
    #[derive(Default)]
    struct Model {
        calls: Vec<(u64, Call)>,
        open: bool,
    }

    const WINDOW: u64 = 1_000;

    impl Model {
        fn opens(&mut self, now: u64, call: Call, config: &BreakerConfig) -> bool {
            let slot = |at: u64| at / (WINDOW / SLOTS as u64);
            self.calls.push((now, call));
            let recent: Vec<Call> = self
                .calls
                .iter()
                .filter(|(at, _)| slot(*at) + SLOTS as u64 > slot(now))
                .map(|(_, call)| *call)
                .collect();
            let share =
                |kind: Call| recent.iter().filter(|call| **call == kind).count() as f64 / recent.len() as f64;
            self.open = call != Call::Good
                && recent.len() >= config.min_calls.get() as usize
                && (share(Call::Failed) >= config.failure_rate || share(Call::Slow) >= config.slow_rate);
            self.open
        }
    }

    #[derive(Debug, Clone)]
    enum Step {
        Wait(u64),
        Call(Call),
        /// A call that was let through long ago ends only now.
        Late(Call),
        Probe(bool),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let call = prop_oneof![3 => Just(Call::Good), 2 => Just(Call::Failed), 1 => Just(Call::Slow)];
        let step = prop_oneof![
            2 => (0_u64..400).prop_map(Step::Wait),
            8 => call.clone().prop_map(Step::Call),
            1 => call.prop_map(Step::Late),
            2 => any::<bool>().prop_map(Step::Probe),
        ];
        prop::collection::vec(step, 0..200)
    }

    fn cause() -> Arc<str> {
        Arc::from("planted")
    }

    proptest! {
        #[test]
        fn it_opens_and_closes_as_one_that_remembers_every_call(
            steps in steps(), min_calls in 1_u32..8, failure_rate in 0.1..1.0_f64, slow_rate in 0.1..1.0_f64,
        ) {
            let config = BreakerConfig {
                window: Duration::from_millis(WINDOW),
                min_calls: min_calls.try_into().unwrap(),
                failure_rate,
                slow_rate,
                ..BreakerConfig::default()
            };
            let (mut machine, mut model) = (Machine::new(config.clone()), Model::default());
            let (mut now, mut refused, mut opened) = (0, 0, 0);
            let first = machine.admit(Duration::ZERO).unwrap();
            for step in steps {
                let time = Duration::from_millis(now);
                match step {
                    Step::Wait(ms) => now += ms,
                    Step::Call(call) => match machine.admit(time) {
                        Ok(admission) => {
                            prop_assert!(!model.open);
                            let opens = machine.record(time, admission, call, cause);
                            prop_assert_eq!(opens, model.opens(now, call, &config));
                            opened += u64::from(opens);
                        }
                        Err(_) => {
                            prop_assert!(model.open);
                            refused += 1;
                        }
                    },
                    Step::Late(call) => {
                        let opens = machine.record(time, first, call, cause);
                        // Before the first outage it is a call like any other.
                        if opened == 0 {
                            prop_assert_eq!(opens, model.opens(now, call, &config));
                            opened += u64::from(opens);
                        } else {
                            prop_assert!(!opens);
                        }
                    }
                    Step::Probe(answered) if model.open => {
                        machine.probe_started();
                        prop_assert_eq!(machine.state(), BreakerState::HalfOpen);
                        prop_assert!(machine.admit(time).is_err(), "no user's call is a probe");
                        refused += 1;
                        if answered {
                            machine.probe_succeeded();
                            model = Model::default();
                        } else {
                            machine.probe_failed(time, cause());
                        }
                    }
                    Step::Probe(_) => {}
                }
                prop_assert_eq!(machine.state() == BreakerState::Closed, !model.open);
                prop_assert_eq!((machine.opened, machine.refused), (opened, refused));
            }
        }
    }
}
