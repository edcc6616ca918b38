//! Compares the throughput at two limits, measured in turns, until the difference is clear.
//!
//! Only the difference between neighbouring windows counts. Whatever changes the throughput at both limits
//! alike (another mix of statements, locks, a busy neighbour on the machine) cancels out.

/// The larger limit wins where it brings more than this share of what it would bring if throughput grew with
/// it: the exponent in `throughput ~ limit ^ exponent`.
///
/// Below it another connection does next to nothing but make everybody else's statement slower.
const WORTH: f64 = 0.05;
/// Windows at one limit before it is the other one's turn.
const TURN: usize = 2;
/// Windows at each limit after which the trial ends.
const ENOUGH: usize = 6;
/// How sure to be, in standard errors: before both limits were measured twice at least, after that, and in
/// the end.
const AT_FIRST: f64 = 3.5;
const LATER: f64 = 2.0;
const IN_THE_END: f64 = 1.0;
/// How many windows the noise seen in earlier trials is worth.
const PRIOR: f64 = 4.0;

/// How a trial stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Measure on, at this limit.
    Open { next: usize },
    /// This limit is the better one.
    Won { by: usize },
}

/// One limit, and the logarithms of the throughput in the windows measured at it.
#[derive(Debug, Clone)]
struct Side {
    limit: usize,
    rates: Vec<f64>,
}

/// Two limits, and what was measured at each.
#[derive(Debug, Clone)]
pub(super) struct Trial {
    /// The limit that stays where neither is clearly the better one.
    base: usize,
    smaller: Side,
    larger: Side,
    turn: usize,
}

impl Trial {
    /// A trial of another limit against one where `rates` were just measured.
    pub(super) fn new(base: usize, rates: Vec<f64>, other: usize) -> Self {
        let (ours, other) = (Side { limit: base, rates }, Side { limit: other, rates: Vec::new() });
        let (smaller, larger) = if ours.limit < other.limit { (ours, other) } else { (other, ours) };
        Trial { base, smaller, larger, turn: 0 }
    }

    /// Takes a window measured at one of the limits; `noise` is how much windows at one limit differed in
    /// earlier trials.
    pub(super) fn record(&mut self, limit: usize, rate: f64, noise: f64) -> Verdict {
        let other = self.other(limit);
        self.side(limit).rates.push(rate);
        self.turn += 1;
        if let Some(winner) = self.winner(noise) {
            return Verdict::Won { by: winner };
        }
        if self.turn < TURN {
            return Verdict::Open { next: limit };
        }
        self.turn = 0;
        Verdict::Open { next: other }
    }

    pub(super) fn smaller(&self) -> usize {
        self.smaller.limit
    }

    pub(super) fn larger(&self) -> usize {
        self.larger.limit
    }

    /// The last windows measured at a limit.
    pub(super) fn last(&mut self, limit: usize) -> Vec<f64> {
        let rates = &self.side(limit).rates;
        rates[rates.len().saturating_sub(TURN)..].to_vec()
    }

    /// How much windows at the same limit differed: the standard deviation, where there were enough of them.
    pub(super) fn noise(&self) -> Option<f64> {
        let (squares, freedom) = self.spread();
        (freedom >= 3.0).then(|| (squares / freedom).sqrt())
    }

    fn other(&self, limit: usize) -> usize {
        if limit == self.smaller.limit { self.larger.limit } else { self.smaller.limit }
    }

    fn side(&mut self, limit: usize) -> &mut Side {
        if limit == self.smaller.limit { &mut self.smaller } else { &mut self.larger }
    }

    /// How much the windows of one turn differ, as a sum of squares with its degrees of freedom. Windows of
    /// different turns may differ for another reason: something that changes slowly, at both limits alike.
    fn spread(&self) -> (f64, f64) {
        let turns = [&self.smaller, &self.larger].into_iter().flat_map(|side| side.rates.chunks_exact(TURN));
        turns.fold((0.0, 0.0), |(squares, freedom), turn| {
            let mean = mean(turn);
            let more = turn.iter().map(|rate| (rate - mean).powi(2)).sum::<f64>();
            (squares + more, freedom + (TURN - 1) as f64)
        })
    }

    fn winner(&self, noise: f64) -> Option<usize> {
        let counts = [&self.smaller, &self.larger].map(|side| side.rates.len());
        let [fewer, more] = [counts[0].min(counts[1]), counts[0].max(counts[1])];
        if fewer == 0 || more < 2 {
            return None;
        }
        let worth = WORTH * (self.larger.limit as f64 / self.smaller.limit as f64).ln();
        let gain = mean(&self.larger.rates) - mean(&self.smaller.rates) - worth;
        let (squares, freedom) = self.spread();
        let variance = (squares + PRIOR * noise * noise) / (freedom + PRIOR);
        let error = (variance * counts.iter().map(|count| 1.0 / *count as f64).sum::<f64>()).sqrt();
        let sure = match fewer {
            1 => AT_FIRST,
            ENOUGH.. => IN_THE_END,
            _ => LATER,
        };
        if gain.abs() > sure * error {
            return Some(if gain > 0.0 { self.larger.limit } else { self.smaller.limit });
        }
        (fewer >= ENOUGH).then_some(self.base)
    }
}

fn mean(rates: &[f64]) -> f64 {
    rates.iter().sum::<f64>() / (rates.len().max(1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOISE: f64 = 0.05;

    /// Runs a trial to its end; `rate` is the throughput at a limit, in the given window.
    fn run(base: usize, other: usize, rate: impl Fn(usize, usize) -> f64) -> (usize, usize) {
        let mut trial = Trial::new(base, vec![rate(base, 0).ln(), rate(base, 1).ln()], other);
        let mut limit = other;
        for window in 2..100 {
            match trial.record(limit, rate(limit, window).ln(), NOISE) {
                Verdict::Open { next } => limit = next,
                Verdict::Won { by } => return (by, window - 1),
            }
        }
        panic!("it has no end");
    }

    #[test]
    fn twice_the_throughput_is_clear_at_once() {
        assert_eq!(run(8, 16, |limit, _| limit as f64), (16, 1));
        assert_eq!(run(16, 8, |limit, _| limit as f64), (16, 1));
    }

    #[test]
    fn where_both_are_as_good_the_smaller_one_wins() {
        assert_eq!(run(8, 16, |_, _| 100.0).0, 8);
        assert_eq!(run(16, 8, |_, _| 100.0).0, 8);
    }

    #[test]
    fn a_gain_that_is_hardly_worth_it_is_left() {
        assert_eq!(run(8, 16, |limit, _| if limit == 16 { 102.0 } else { 100.0 }).0, 8);
        assert_eq!(run(8, 16, |limit, _| if limit == 16 { 110.0 } else { 100.0 }).0, 16);
    }

    #[test]
    fn where_nothing_is_clear_all_stays_as_it_is() {
        let unclear = |limit, _| if limit == 16 { 105.0 } else { 100.0 };
        assert_eq!((run(8, 16, unclear).0, run(16, 8, unclear).0), (8, 16));
    }

    #[test]
    fn what_changes_at_both_alike_does_not_count() {
        // Falls by half while the trial runs; the larger limit gives a fifth more all along.
        let falling = |window: usize| 0.94_f64.powi(window as i32);
        let (winner, windows) =
            run(8, 16, |limit, window| falling(window) * if limit == 16 { 1.2 } else { 1.0 });
        assert_eq!(winner, 16, "after {windows} windows");
        let (winner, _) = run(8, 16, |limit, window| if limit == 16 { 0.85 } else { 1.0 } / falling(window));
        assert_eq!(winner, 8);
    }
}
