//! How many bytes a row takes on a page: alignment padding, null bitmap and varying widths, column by column.
//!
//! The server lays columns out in their order, each at a multiple of its alignment. Where a column's width
//! varies, so does the padding behind it: all offsets are followed with their probabilities.

use std::collections::BTreeMap;

/// Everything starts at a multiple of this on the platforms that PostgreSQL runs on.
const MAXALIGN: usize = 8;
/// Offsets further than this are taken together: one byte of padding no longer counts.
const FURTHEST: usize = 4_096;

/// One column, as statistics describe it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Column {
    /// Its fixed length, or none where it varies.
    pub(crate) fixed: Option<usize>,
    /// Where it must start: a multiple of 1, 2, 4 or 8.
    pub(crate) align: usize,
    /// Whether a short value does without its alignment, as all but `STORAGE PLAIN` do.
    pub(crate) packs: bool,
    /// The share of rows in which it is null.
    pub(crate) null_share: f64,
    /// Stored widths with their weights; none where they are not known one by one.
    pub(crate) widths: Vec<(usize, f64)>,
    /// The mean stored width of what is not null.
    pub(crate) mean_width: f64,
}

impl Column {
    /// The widths that it takes, with weights whose sum is 1.
    fn spread(&self) -> Vec<(usize, f64)> {
        if let Some(length) = self.fixed {
            return vec![(length, 1.0)];
        }
        let total: f64 = self.widths.iter().map(|(_, weight)| weight).sum();
        let mean = self.widths.iter().map(|(width, weight)| *width as f64 * weight).sum::<f64>() / total;
        // Sampled texts say nothing about values that were compressed or moved out of line.
        if total > 0.0 && (mean - self.mean_width).abs() <= 2.0 + self.mean_width * 0.2 {
            return self.widths.iter().map(|(width, weight)| (*width, weight / total)).collect();
        }
        let mean = self.mean_width.max(1.0) as usize;
        if mean < 4 { vec![(mean, 1.0)] } else { (mean - 3..mean + 5).map(|width| (width, 0.125)).collect() }
    }
}

/// The mean size of a tuple: its header of `header` bytes, the bitmap of `bitmap` bytes where something is
/// null, and its columns.
pub(crate) fn tuple_size(columns: &[Column], header: usize, bitmap: usize) -> f64 {
    let data = mean_data_size(columns);
    let without_nulls: f64 = columns.iter().map(|column| 1.0 - column.null_share).product();
    let (plain, with_bitmap) = (aligned(header, MAXALIGN), aligned(header + bitmap, MAXALIGN));
    data + plain as f64 * without_nulls + with_bitmap as f64 * (1.0 - without_nulls)
}

/// The mean size of the columns, with what is lost to alignment behind them.
fn mean_data_size(columns: &[Column]) -> f64 {
    let mut offsets = BTreeMap::from([(0_usize, 1.0_f64)]);
    for column in columns {
        let spread = column.spread();
        let mut next = BTreeMap::new();
        for (&offset, &probability) in &offsets {
            if column.null_share > 0.0 {
                *next.entry(offset).or_insert(0.0) += probability * column.null_share;
            }
            for &(width, weight) in &spread {
                let short = column.fixed.is_none() && column.packs && width <= 127;
                let start = if short { offset } else { aligned(offset, column.align) };
                let end = coarse(start.saturating_add(width));
                *next.entry(end).or_insert(0.0) += probability * weight * (1.0 - column.null_share);
            }
        }
        offsets = next;
    }
    offsets.iter().map(|(offset, probability)| aligned(*offset, MAXALIGN) as f64 * probability).sum()
}

fn coarse(offset: usize) -> usize {
    if offset <= FURTHEST { offset } else { aligned(offset, 64) }
}

pub(crate) fn aligned(offset: usize, to: usize) -> usize {
    offset.div_ceil(to.max(1)).saturating_mul(to.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixed(length: usize) -> Column {
        let align = if length > 8 { 1 } else { length };
        Column { fixed: Some(length), align, packs: false, null_share: 0.0, widths: vec![], mean_width: 0.0 }
    }

    fn text(mean: f64, widths: Vec<(usize, f64)>) -> Column {
        Column { fixed: None, align: 4, packs: true, null_share: 0.0, widths, mean_width: mean }
    }

    fn check(columns: &[Column], expected: f64) {
        let size = tuple_size(columns, 23, columns.len().div_ceil(8));
        assert!((size - expected).abs() < 0.01, "{size}, not {expected}: {columns:?}");
    }

    #[test]
    fn padding_follows_the_order_of_columns() {
        check(&[fixed(8), fixed(8), fixed(1), fixed(1)], 24.0 + 24.0);
        check(&[fixed(1), fixed(8), fixed(1), fixed(8)], 24.0 + 32.0);
        check(&[fixed(4)], 24.0 + 8.0);
    }

    #[test]
    fn a_short_text_is_not_aligned_and_a_long_one_is() {
        check(&[fixed(1), text(7.0, vec![(7, 1.0)])], 24.0 + 8.0);
        check(&[fixed(1), text(204.0, vec![(204, 1.0)])], 24.0 + 208.0);
    }

    #[test]
    fn the_padding_behind_a_text_is_that_of_its_widths() {
        check(&[text(33.0, vec![(33, 1.0)]), fixed(8)], 24.0 + 48.0);
        check(&[text(20.0, vec![(16, 0.5), (24, 0.5)]), fixed(8)], 24.0 + 28.0);
    }

    #[test]
    fn a_null_takes_no_room_but_its_bit() {
        let null = Column { null_share: 1.0, ..fixed(8) };
        check(&[null.clone(), fixed(8)], 24.0 + 8.0);
        let nine = [vec![null], vec![fixed(8); 8]].concat();
        check(&nine, 32.0 + 64.0);
    }
}
