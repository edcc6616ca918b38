//! How consistent a cache is at least, by the exact binomial bound of Clopper and Pearson.
//!
//! Source: Clopper and Pearson, "The Use of Confidence or Fiducial Limits Illustrated in the Case of the
//! Binomial", 1934. Where nothing was found it is the rule of three: at most about 3 of as many as were
//! looked at.

use std::fmt;

/// What samples say of all reads, with a confidence of 95 %.
///
/// ```
/// use db_cache::Consistency;
///
/// let clean = Consistency::of(10_000, 0);
/// assert!((clean.nines() - 3.52).abs() < 0.01);
/// assert_eq!(clean.to_string(), "at least 99.97004 % (3.5 nines) with 95 % confidence: 0 of 10000 samples were wrong");
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Consistency {
    /// How many were looked at.
    pub samples: u64,
    /// How many of them were wrong.
    pub wrong: u64,
    /// The part of all reads that is right at least, from 0 to 1.
    pub at_least: f64,
}

/// The part of series of samples whose bound may be too good.
const DOUBT: f64 = 0.05;

impl Consistency {
    /// What follows from so many samples of which so many were wrong.
    pub fn of(samples: u64, wrong: u64) -> Self {
        let wrong = wrong.min(samples);
        Consistency { samples, wrong, at_least: 1.0 - most_wrong(samples, wrong) }
    }

    /// The same as a number of nines: three are 99.9 %.
    pub fn nines(&self) -> f64 {
        let wrong = 1.0 - self.at_least;
        if wrong > 0.0 { -wrong.log10() } else { f64::INFINITY }
    }
}

impl fmt::Display for Consistency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Rounded down: it is a lower bound.
        let percent = (self.at_least * 1e7).floor() / 1e5;
        let nines = (self.nines().min(99.0) * 10.0).floor() / 10.0;
        let Consistency { samples, wrong, .. } = self;
        write!(
            f,
            "at least {percent:.5} % ({nines:.1} nines) with 95 % confidence: {wrong} of {samples} samples were wrong"
        )
    }
}

/// The largest part of wrong reads under which so few wrong samples would still come up in one series of 20.
fn most_wrong(samples: u64, wrong: u64) -> f64 {
    if wrong >= samples {
        return 1.0;
    }
    let (mut low, mut high) = (0.0, 1.0);
    // Each step halves the interval; 200 reach the smallest number there is.
    for _ in 0..200 {
        let middle = f64::midpoint(low, high);
        if at_most(samples, wrong, middle) > DOUBT { low = middle } else { high = middle }
    }
    high
}

/// How likely at most so many of the samples are wrong, where each is with that probability.
fn at_most(samples: u64, wrong: u64, probability: f64) -> f64 {
    let (n, hit, miss) = (samples as f64, probability.ln(), (-probability).ln_1p());
    let (mut ways, mut sum) = (0.0, 0.0);
    for k in 0..=wrong {
        if k > 0 {
            ways += ((n - k as f64 + 1.0) / k as f64).ln();
        }
        let term: f64 = ways + k as f64 * hit + (n - k as f64) * miss;
        sum += if k == 0 { (n * miss).exp() } else { term.exp() };
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The expected bounds come from the logarithms of factorials, summed in another program.
    #[test]
    fn the_bound_is_clopper_and_pearsons() {
        let check = |samples, wrong, expected: f64| {
            let bound = 1.0 - Consistency::of(samples, wrong).at_least;
            assert!((bound / expected - 1.0).abs() < 1e-3, "{wrong} of {samples}: {bound}");
        };
        check(100, 0, 0.029_513);
        check(1_000_000, 0, 2.995_73e-6);
        check(100, 1, 0.046_560);
        check(10, 3, 0.606_624);
        check(10_000, 100, 0.011_797);
    }

    #[test]
    fn nothing_is_known_of_what_nobody_looked_at() {
        for (samples, wrong) in [(0, 0), (1, 1), (5, 9)] {
            assert_eq!(Consistency::of(samples, wrong).at_least, 0.0);
        }
        assert_eq!(Consistency::of(0, 0).nines(), 0.0);
    }
}
