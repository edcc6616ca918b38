//! How one node is doing, as told by its connections and its probes: a few numbers that anyone may read at
//! any time.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::moment::Moment;

/// An answer counts for less the older it is: after this time for about a third.
const MEMORY: Duration = Duration::from_secs(2);

/// What is known of a node's answers to statements is forgotten after this time without one. So a node that
/// was slow once is asked again.
const STALE: Duration = Duration::from_secs(1);

/// How one node is doing.
#[derive(Debug, Default)]
pub(crate) struct Vitals {
    /// Of statements: what tells how loaded it is.
    statements: Latency,
    /// Of probes, which every node answers alike whether it gets statements or not: what nodes are compared
    /// by.
    probes: Latency,
    answered: Stamp,
    doubted: Stamp,
    /// Failures in a row.
    failures: AtomicU32,
}

impl Vitals {
    /// It answered; quickly or not, where that says something.
    pub(crate) fn answered(&self, at: Instant, elapsed: Option<Duration>) {
        let at = micros(at);
        self.answered.set(at);
        if let Some(elapsed) = elapsed {
            self.statements.measured(at, elapsed);
        }
    }

    /// Whether it has answered anything since then.
    pub(crate) fn has_answered_since(&self, since: Instant) -> bool {
        self.answered.is_at_least(since)
    }

    /// A connection was lost: whoever depends on what was known of it must wait until it has been asked
    /// again.
    pub(crate) fn doubt(&self, at: Instant) {
        self.doubted.set(micros(at));
    }

    /// Whether it must be asked again.
    pub(crate) fn is_doubted(&self) -> bool {
        self.doubted.is_set()
    }

    /// A question that was asked then was answered. True where that ended a doubt.
    pub(crate) fn reassure(&self, asked: Instant) -> bool {
        self.doubted.clear_before(asked)
    }

    /// Counts a failure, and returns how many there were in a row.
    pub(crate) fn failed(&self) -> u32 {
        self.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1)
    }

    /// Ends a row of failures.
    pub(crate) fn succeeded(&self) {
        // Read first: most often there is nothing to change, and writing would take the cache line from
        // everyone.
        if AtomicU32::load(&self.failures, Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
        }
    }

    /// A probe took this long.
    pub(crate) fn probed(&self, at: Instant, elapsed: Duration) {
        self.probes.measured(micros(at), elapsed);
        self.statements.forget_before(at, STALE);
    }

    /// The mean latency of recent statements in microseconds; 0 where there was none.
    pub(crate) fn latency_micros(&self) -> f32 {
        self.statements.mean_micros()
    }

    /// The mean latency of recent probes in microseconds; 0 where there was none.
    pub(crate) fn probe_micros(&self) -> f32 {
        self.probes.mean_micros()
    }

    /// Forgets how fast it was.
    pub(crate) fn forget_latency(&self) {
        self.statements.forget();
        self.probes.forget();
    }
}

/// The mean of recent latencies.
#[derive(Debug, Default)]
struct Latency {
    /// The mean in microseconds as an `f32`, in the upper half, and when it was last changed, in the lower.
    packed: AtomicU64,
}

impl Latency {
    fn mean_micros(&self) -> f32 {
        mean(AtomicU64::load(&self.packed, Ordering::Relaxed))
    }

    fn forget(&self) {
        self.packed.store(0, Ordering::Relaxed);
    }

    /// Forgets it where it has not changed for that long.
    fn forget_before(&self, now: Instant, age: Duration) {
        let now = low_half(micros(now));
        let is_old = |packed| u128::from(now.wrapping_sub(low_half(packed))) > age.as_micros();
        let _ = self.packed.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |packed| {
            (packed != 0 && is_old(packed)).then_some(0)
        });
    }

    /// An answer at this moment, in microseconds, took so long.
    fn measured(&self, at: u64, elapsed: Duration) {
        // The lower half wraps after 71 minutes: probes come more often.
        let now = low_half(at);
        let sample = elapsed.as_secs_f32() * 1e6;
        let _ = self.packed.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |packed| {
            let since = now.wrapping_sub(low_half(packed));
            let keep = if packed == 0 { 0.0 } else { (-(since as f32) / 1e6 / MEMORY.as_secs_f32()).exp() };
            let mean = mean(packed) * keep + sample * (1.0 - keep);
            Some(u64::from(mean.to_bits()) << 32 | u64::from(now))
        });
    }
}

fn mean(packed: u64) -> f32 {
    f32::from_bits(low_half(packed >> 32))
}

fn low_half(number: u64) -> u32 {
    (number & u64::from(u32::MAX)) as u32
}

/// A moment, or none.
#[derive(Debug, Default)]
struct Stamp(AtomicU64);

impl Stamp {
    fn set(&self, at: u64) {
        self.0.fetch_max(at, Ordering::AcqRel);
    }

    fn is_set(&self) -> bool {
        AtomicU64::load(&self.0, Ordering::Acquire) != 0
    }

    fn is_at_least(&self, since: Instant) -> bool {
        AtomicU64::load(&self.0, Ordering::Acquire) >= micros(since)
    }

    fn clear_before(&self, asked: Instant) -> bool {
        let asked = micros(asked);
        let clear = |at: u64| (at != 0 && at <= asked).then_some(0);
        self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, clear).is_ok()
    }
}

fn micros(at: Instant) -> u64 {
    Moment::from(at).number()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_mean_follows_recent_answers_however_many_there_were_before() {
        let (latency, start) = (Latency::default(), Instant::now());
        let add = |at: Duration, millis| latency.measured(micros(start + at), Duration::from_millis(millis));
        for n in 0..1_000 {
            add(SECOND * n / 1_000, 2);
        }
        assert!((latency.mean_micros() - 2_000.0).abs() < 1.0, "{}", latency.mean_micros());
        for n in 1_000..7_000 {
            add(SECOND * n / 1_000, 50);
        }
        assert!(latency.mean_micros() > 45_000.0, "{}", latency.mean_micros());
        add(SECOND * 60, 2);
        assert!((latency.mean_micros() - 2_000.0).abs() < 1.0, "{}", latency.mean_micros());
    }

    #[test]
    fn a_node_that_answers_no_statements_is_not_judged_by_old_ones() {
        let (vitals, start) = (Vitals::default(), Instant::now());
        vitals.answered(start, Some(SECOND));
        vitals.probed(start + SECOND / 2, SECOND / 500);
        assert!(vitals.latency_micros() > 900_000.0);
        vitals.probed(start + SECOND * 2, SECOND / 500);
        assert_eq!(vitals.latency_micros(), 0.0);
        assert!((vitals.probe_micros() - 2_000.0).abs() < 1.0);
    }

    #[test]
    fn only_an_answer_to_a_question_asked_since_ends_a_doubt() {
        let (vitals, start) = (Vitals::default(), Instant::now());
        vitals.doubt(start + SECOND);
        assert!(!vitals.reassure(start));
        assert!(vitals.is_doubted());
        assert!(vitals.reassure(start + SECOND * 2));
        assert!(!vitals.is_doubted());
    }

    #[test]
    fn failures_count_while_they_come_in_a_row() {
        let vitals = Vitals::default();
        assert_eq!((vitals.failed(), vitals.failed()), (1, 2));
        vitals.succeeded();
        assert_eq!(vitals.failed(), 1);
    }
}
