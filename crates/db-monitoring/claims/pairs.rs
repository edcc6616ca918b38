//! The median of ratios of pairs, with its 95 % interval by order statistics.

/// Of pairs of figures: ours by the peer's.
pub(crate) struct Ratio {
    pub(crate) median: f64,
    pub(crate) interval: (f64, f64),
    pub(crate) ours: f64,
    pub(crate) theirs: f64,
}

pub(crate) fn ratio(pairs: &[(f64, f64)]) -> Ratio {
    let sorted = |of: fn(&(f64, f64)) -> f64| {
        let mut all: Vec<f64> = pairs.iter().map(of).collect();
        all.sort_by(f64::total_cmp);
        all
    };
    let ratios = sorted(|(ours, theirs)| ours / theirs);
    let count = ratios.len();
    // The ranks between which the median lies with 95 %, by the normal approximation.
    let half = (1.96 * (count as f64).sqrt() / 2.0).ceil() as usize;
    let (low, high) = ((count / 2).saturating_sub(half), (count / 2 + half).min(count - 1));
    Ratio {
        median: ratios[count / 2],
        interval: (ratios[low], ratios[high]),
        ours: sorted(|pair| pair.0)[count / 2],
        theirs: sorted(|pair| pair.1)[count / 2],
    }
}
