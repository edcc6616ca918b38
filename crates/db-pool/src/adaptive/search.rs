//! Looks for the smallest limit beyond which throughput hardly grows, by trying limits on the live load.
//!
//! It is a function of the samples alone and has no clock, so that it can be run on a simulated server.

use std::time::Duration;

use super::trial::{Trial, Verdict};

/// A window is this long at least, and as long as it takes to see enough connections come back.
const WINDOW: Duration = Duration::from_millis(200);
const ENOUGH: u64 = 50;
/// After this long fewer do; where not even these come back, nothing can be learnt.
const LONG_WINDOW: Duration = Duration::from_secs(1);
const FEW: u64 = 10;
const LONGEST_WINDOW: Duration = Duration::from_secs(5);
/// How long it may take until a changed limit is in force.
const SETTLES_WITHIN: Duration = Duration::from_secs(3);
/// How far another limit is tried: at first and after a success, and where the last trial changed nothing.
const LONG_STRIDE: f64 = 2.0;
const SHORT_STRIDE: f64 = 1.5;
/// A neighbour that is closer than this is not worth a trial.
const SHORTEST_STRIDE: f64 = 1.1;
/// How long it rests once neither a smaller nor a larger limit was better; the rest doubles while that stays
/// so.
const SHORTEST_REST: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_secs(16);
/// A throughput that differs by this much from what it was (as a logarithm) means that the load is another
/// one.
const ANOTHER_LOAD: f64 = 0.35;

/// What a pool did since the last sample.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sample {
    /// How long that was.
    pub(crate) elapsed: Duration,
    /// Connections that came back.
    pub(crate) releases: u64,
    /// The work that was done with these, in units of what is usual for one.
    pub(crate) work: f64,
    /// How long these had been held, added up.
    pub(crate) held: Duration,
    /// Callers that wait now.
    pub(crate) waiting: usize,
    /// Connections that are in use now.
    pub(crate) in_use: usize,
    /// Connections that are in use or may be used now.
    pub(crate) in_service: usize,
    /// The most that there may be.
    pub(crate) ceiling: usize,
}

/// Finds the limit, one sample at a time.
#[derive(Debug)]
pub(crate) struct Adaptive {
    min: usize,
    /// The best limit so far.
    base: usize,
    /// The limit in force: the base, or the one that is tried.
    limit: usize,
    trial: Option<Trial>,
    /// Time since the limit changed; none once it is in force.
    settling: Option<Duration>,
    /// Whether the limit bounded the callers when the last sample was taken.
    bound: bool,
    window: Window,
    /// The last windows at the base.
    recent: Vec<f64>,
    upwards: bool,
    stride: f64,
    /// Trials in a row that changed nothing.
    stays: u32,
    rest: Duration,
    rested: Duration,
    /// How many connections came back while it rests: usually, and lately; none while it does not rest.
    pace: Option<Pace>,
    noise: f64,
}

/// Connections that came back while nothing was changed.
#[derive(Debug, Clone, Copy, Default)]
struct Window {
    elapsed: Duration,
    releases: u64,
    work: f64,
    held: Duration,
}

impl Window {
    fn add(&mut self, sample: &Sample) {
        self.elapsed += sample.elapsed;
        self.releases += sample.releases;
        self.work += sample.work;
        self.held += sample.held;
    }

    fn mean_hold(&self) -> Duration {
        u32::try_from(self.releases).ok().and_then(|count| self.held.checked_div(count)).unwrap_or_default()
    }

    /// Whether enough was seen. Connections held for long come back seldom: what was begun before the window
    /// must not weigh as much as what was begun in it.
    fn is_full(&self) -> bool {
        let long_enough = self.elapsed >= WINDOW.max(self.mean_hold().min(LONG_WINDOW) * 2);
        long_enough && (self.releases >= ENOUGH || self.elapsed >= LONG_WINDOW && self.releases >= FEW)
    }
}

/// How many connections come back in a second, as a logarithm.
#[derive(Debug, Clone, Copy)]
struct Pace {
    usual: f64,
    lately: f64,
}

impl Pace {
    /// Whether it is no longer what it was.
    fn is_another(&mut self, now: f64) -> bool {
        self.lately += (now - self.lately) * 0.3;
        self.usual += (now - self.usual) * 0.03;
        (self.lately - self.usual).abs() > ANOTHER_LOAD
    }
}

impl Adaptive {
    /// Begins with the limit `start`, and never goes below `min`.
    pub(crate) fn new(min: usize, start: usize) -> Self {
        let start = start.max(min);
        Adaptive {
            min,
            base: start,
            limit: start,
            trial: None,
            settling: Some(Duration::ZERO),
            bound: false,
            window: Window::default(),
            recent: Vec::new(),
            upwards: true,
            stride: LONG_STRIDE,
            stays: 0,
            rest: Duration::ZERO,
            rested: Duration::ZERO,
            pace: None,
            noise: 0.06,
        }
    }

    /// The limit that the search has settled on, or is on its way from.
    pub(crate) fn base(&self) -> usize {
        self.base
    }

    /// Whether the limit stays for now as it is, so that what is seen is usual.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.trial.is_none() && self.settling.is_none()
    }

    /// The largest limit that it may want before long.
    pub(crate) fn reach(&self) -> usize {
        let tried = self.trial.as_ref().map_or(0, Trial::larger);
        tried.max(above(self.base, self.stride))
    }

    /// Takes a sample and returns the limit from now on.
    pub(crate) fn sample(&mut self, sample: &Sample) -> usize {
        let ceiling = sample.ceiling.max(1);
        if self.base.max(self.limit) > ceiling {
            // What it got on the way to a larger limit it keeps, until a trial shows that it is not worth it.
            self.base = self.base.max(self.limit).min(ceiling);
            self.give_up();
        }
        if self.is_settled(sample) {
            self.measure(sample, ceiling);
        }
        self.limit
    }

    fn measure(&mut self, sample: &Sample, ceiling: usize) {
        // With nobody waiting the limit bounds nothing, and the throughput is the callers' doing. At the
        // larger limit of a trial that is an answer too where it serves everybody, and more than the smaller
        // one could at once.
        let serves_all = |trial: &Trial| trial.larger() == self.limit && sample.in_use >= trial.smaller();
        let bound = sample.waiting > 0 || self.trial.as_ref().is_some_and(serves_all);
        let was_bound = std::mem::replace(&mut self.bound, bound);
        if !bound {
            return self.give_up();
        }
        if !was_bound {
            // The callers came while the sample was taken.
            return;
        }
        // Time in which nobody waited is no rest: nothing could have been tried.
        self.rested += sample.elapsed;
        self.window.add(sample);
        if !self.window.is_full() {
            if self.window.elapsed >= LONGEST_WINDOW {
                self.give_up();
            }
            return;
        }
        let window = std::mem::take(&mut self.window);
        let rate = per_second(window.work, window.elapsed);
        let Some(trial) = &mut self.trial else {
            self.at_rest(rate, per_second(window.releases as f64, window.elapsed));
            return self.try_another(ceiling);
        };
        match trial.record(self.limit, rate, self.noise) {
            Verdict::Open { next } => self.change_to(next),
            Verdict::Won { by } => self.conclude(by),
        }
        if self.is_at_rest() {
            self.try_another(ceiling);
        }
    }

    /// Whether the limit is in force: connections above it have come back, those up to it are open if anyone
    /// wants them.
    fn is_settled(&mut self, sample: &Sample) -> bool {
        let Some(since) = &mut self.settling else { return true };
        *since += sample.elapsed;
        let since = *since;
        self.window.add(sample);
        let full = sample.in_service >= self.limit || sample.waiting == 0;
        // What comes back now was begun under the limit before.
        let old = self.window.mean_hold().min(LONG_WINDOW);
        if sample.in_service <= self.limit && full && since > old {
            self.settling = None;
            self.window = Window::default();
        } else if since > SETTLES_WITHIN {
            self.settling = None;
            self.give_up();
        }
        // The sample in which it settled is a mixture.
        self.bound = sample.waiting > 0;
        false
    }

    fn at_rest(&mut self, rate: f64, releases: f64) {
        if self.recent.len() >= 2 {
            self.recent.remove(0);
        }
        self.recent.push(rate);
        // Not the work: what is usual for a kind that was never seen is what it does now.
        if self.pace.get_or_insert(Pace { usual: releases, lately: releases }).is_another(releases) {
            self.pace = None;
            self.rest = Duration::ZERO;
            self.stays = 0;
            self.stride = LONG_STRIDE;
        }
    }

    fn try_another(&mut self, ceiling: usize) {
        if self.rested < self.rest || self.recent.len() < 2 {
            return;
        }
        let neighbour = |upwards| {
            let limit = if upwards {
                above(self.base, self.stride).min(ceiling)
            } else {
                below(self.base, self.stride).max(self.min.min(ceiling))
            };
            let ratio = limit.max(self.base) as f64 / limit.min(self.base).max(1) as f64;
            (ratio >= SHORTEST_STRIDE).then_some(limit)
        };
        let found = neighbour(self.upwards).or_else(|| {
            self.upwards = !self.upwards;
            self.stays += 1;
            neighbour(self.upwards)
        });
        let Some(limit) = found else { return };
        self.rested = Duration::ZERO;
        self.trial = Some(Trial::new(self.base, std::mem::take(&mut self.recent), limit));
        self.change_to(limit);
    }

    fn conclude(&mut self, winner: usize) {
        let Some(mut trial) = self.trial.take() else { return };
        if let Some(noise) = trial.noise() {
            self.noise = (self.noise + (noise - self.noise) * 0.3).clamp(0.02, 0.3);
        }
        self.recent = trial.last(winner);
        if winner == self.base {
            self.upwards = !self.upwards;
            self.stride = SHORT_STRIDE;
            self.stays += 1;
            if self.stays >= 2 {
                self.stays = 0;
                self.rest = (self.rest * 2).clamp(SHORTEST_REST, LONGEST_REST);
                self.recent.clear();
            }
        } else {
            self.base = winner;
            self.stride = LONG_STRIDE;
            self.stays = 0;
            self.rest = Duration::ZERO;
        }
        self.rested = Duration::ZERO;
        self.pace = None;
        self.change_to(winner);
    }

    /// Nothing can be learnt now.
    fn give_up(&mut self) {
        self.trial = None;
        self.window = Window::default();
        self.recent.clear();
        self.change_to(self.base);
    }

    fn change_to(&mut self, limit: usize) {
        if limit != self.limit {
            self.limit = limit;
            self.settling = Some(Duration::ZERO);
            self.window = Window::default();
        }
    }
}

/// As a logarithm.
fn per_second(amount: f64, elapsed: Duration) -> f64 {
    (amount.max(1e-3) / elapsed.as_secs_f64().max(1e-3)).ln()
}

fn above(limit: usize, stride: f64) -> usize {
    ((limit as f64 * stride).ceil() as usize).max(limit + 1)
}

fn below(limit: usize, stride: f64) -> usize {
    ((limit as f64 / stride).floor() as usize).min(limit.saturating_sub(1))
}
