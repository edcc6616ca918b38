//! Which key a read asks for: by Zipf's law, as in the YCSB benchmark (Cooper et al., 2010).

use crate::random::below;

/// How uneven it is: YCSB's constant.
const EXPONENT: f64 = 0.99;

/// All keys of a query that binds an id and a day: of 200 values and 58 days, counted around together.
pub(crate) const PLACES: usize = 5_800;

/// The places in the lists of samples, from the most popular one on.
#[derive(Debug)]
pub(crate) struct Popularity {
    /// How many of all reads ask for this place or a more popular one.
    sums: Vec<f64>,
}

impl Popularity {
    pub(crate) fn new() -> Self {
        let mut sum = 0.0;
        let weigh = |place: usize| {
            sum += (place as f64).powf(-EXPONENT);
            sum
        };
        Popularity { sums: (1..=PLACES).map(weigh).collect() }
    }

    /// The place of one read.
    pub(crate) fn draw(&self) -> usize {
        const STEPS: usize = 1 << 32;
        let all = self.sums.last().copied().unwrap_or_default();
        let drawn = below(STEPS) as f64 / STEPS as f64 * all;
        self.sums.partition_point(|sum| *sum <= drawn)
    }
}
