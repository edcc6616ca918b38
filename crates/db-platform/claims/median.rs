//! The median of what was measured in pairs, and how sure it is.

/// The median and its 95 % interval, by ranks.
pub(crate) fn median(values: &mut [f64]) -> (f64, [f64; 2]) {
    values.sort_by(f64::total_cmp);
    let (count, half) = (values.len() as f64, 0.98 * (values.len() as f64).sqrt());
    let at = |rank: f64| values[(rank.max(0.0) as usize).min(values.len() - 1)];
    (at(count / 2.0), [at(count / 2.0 - half), at(count / 2.0 + half)])
}
