//! Measures two sides in turn, so that whatever else the machine does falls on both.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// What one side of one pair took.
#[derive(Debug, Clone, Copy)]
pub struct Took {
    /// The time that passed, in nanoseconds for each operation.
    pub nanos: f64,
    /// The CPU time of this process meanwhile, in nanoseconds for each operation.
    pub cpu_nanos: f64,
}

impl Took {
    /// Runs `work`, which is `operations` operations.
    pub async fn of(operations: u32, work: impl Future<Output = ()>) -> Took {
        let (started, cpu) = (Instant::now(), cpu_time());
        work.await;
        let (elapsed, cpu) = (started.elapsed(), cpu_time().saturating_sub(cpu));
        let each = |time: Duration| time.as_secs_f64() * 1e9 / f64::from(operations);
        Took { nanos: each(elapsed), cpu_nanos: each(cpu) }
    }
}

fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::try_from(time).unwrap()
}

/// Ours against a peer's.
#[derive(Debug, Clone)]
pub struct Compared {
    /// The median of ours, in nanoseconds.
    pub ours: f64,
    /// The median of the peer's, in nanoseconds.
    pub peer: f64,
    /// The median of the pairs' ratios, ours to the peer's.
    pub ratio: f64,
    /// Its 95 % interval.
    pub interval: [f64; 2],
    /// The median of the pairs' differences, ours less the peer's, in nanoseconds.
    pub on_top: f64,
    /// Its 95 % interval.
    pub on_top_interval: [f64; 2],
    /// The median of the pairs' ratios of CPU time.
    pub cpu_ratio: f64,
    /// How many pairs there were.
    pub pairs: usize,
}

/// Measures so many pairs, after a tenth of them to warm up.
///
/// Whoever comes second finds warmer caches: they take turns.
pub async fn compare(
    pairs: usize,
    mut ours: impl AsyncFnMut() -> Took,
    mut peer: impl AsyncFnMut() -> Took,
) -> Compared {
    let warm_up = pairs.div_ceil(10);
    let mut seen = Vec::with_capacity(pairs);
    for pair in 0..warm_up + pairs {
        let both = if pair % 2 == 0 {
            let first = ours().await;
            (first, peer().await)
        } else {
            let first = peer().await;
            (ours().await, first)
        };
        if pair >= warm_up {
            seen.push(both);
        }
    }
    let of = |figure: fn(&(Took, Took)) -> f64| seen.iter().map(figure).collect::<Vec<f64>>();
    let nanos: Vec<_> = seen.iter().map(|(ours, peer)| (ours.nanos, peer.nanos)).collect();
    let Medians { ours, peer, ratio, interval, pairs } = Medians::of(&nanos);
    let (on_top, on_top_interval) = median(of(|(ours, peer)| ours.nanos - peer.nanos));
    Compared {
        ours,
        peer,
        ratio,
        interval,
        on_top,
        on_top_interval,
        cpu_ratio: median(of(|(ours, peer)| ours.cpu_nanos / peer.cpu_nanos)).0,
        pairs,
    }
}

/// Pairs of figures, ours and a peer's, in whatever unit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Medians {
    /// The median of ours.
    pub ours: f64,
    /// The median of the peer's.
    pub peer: f64,
    /// The median of the pairs' ratios, ours to the peer's.
    pub ratio: f64,
    /// Its 95 % interval.
    pub interval: [f64; 2],
    /// How many pairs there were.
    pub pairs: usize,
}

impl Medians {
    /// # Panics
    /// Without pairs.
    pub fn of(pairs: &[(f64, f64)]) -> Self {
        let over = |figure: fn(&(f64, f64)) -> f64| median(pairs.iter().map(figure).collect());
        let (ratio, interval) = over(|(ours, peer)| ours / peer);
        Medians {
            ours: over(|pair| pair.0).0,
            peer: over(|pair| pair.1).0,
            ratio,
            interval,
            pairs: pairs.len(),
        }
    }
}

/// The median and its 95 % interval, from order statistics.
///
/// # Panics
/// Without values.
pub fn median(mut values: Vec<f64>) -> (f64, [f64; 2]) {
    values.sort_by(f64::total_cmp);
    let (count, middle) = (values.len(), values.len() / 2);
    let median = if count % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 };
    let reach = 0.98 * (count as f64).sqrt();
    let low = (count as f64 / 2.0 - reach).floor().max(0.0) as usize;
    let high = ((count as f64 / 2.0 + reach).ceil() as usize).min(count - 1);
    (median, [values[low], values[high]])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_is_that_of_the_binomial_distribution() {
        let values = (1..=40).rev().map(f64::from).collect();
        assert_eq!(median(values), (20.5, [14.0, 28.0]));
        assert_eq!(median(vec![2.0, 1.0, 9.0]), (2.0, [1.0, 9.0]));
    }

    #[test]
    fn the_ratio_is_that_of_pairs_and_not_of_medians() {
        let medians = Medians::of(&[(2.0, 1.0), (1.0, 10.0), (30.0, 10.0)]);
        assert_eq!((medians.ours, medians.peer, medians.ratio), (2.0, 10.0, 2.0));
    }
}
