//! Keeps rows out of each other's way where an exclusion constraint wants that: rows that are equal in some
//! columns have ranges that do not overlap.

use std::collections::{BTreeMap, HashMap};

use super::expression::Expression;
use super::repair::Row;
use super::worth::{self, Worth};
use crate::draw::Draw;

/// An exclusion constraint by equality and one range.
#[derive(Debug, Clone)]
pub(crate) struct Apart {
    pub(crate) equal: Vec<Expression>,
    pub(crate) lower: Option<Expression>,
    pub(crate) upper: Option<Expression>,
    pub(crate) when: Option<Expression>,
    /// The ranges that are taken, by what is equal: where each begins, and where it ends.
    taken: HashMap<Vec<String>, BTreeMap<i64, i64>>,
    /// Where each of them ends that has an end.
    ends: Vec<f64>,
}

/// What a row would take.
pub(crate) struct Place {
    key: Vec<String>,
    from: f64,
    to: f64,
}

impl Apart {
    pub(crate) fn new(
        equal: Vec<Expression>,
        (lower, upper): (Option<Expression>, Option<Expression>),
        when: Option<Expression>,
    ) -> Self {
        Apart { equal, lower, upper, when, taken: HashMap::new(), ends: Vec::new() }
    }

    /// Where one of the ranges ends that are taken.
    pub(crate) fn an_end(&self, draw: &mut Draw) -> Option<f64> {
        self.ends.get(draw.below(self.ends.len() as u64) as usize).copied()
    }

    /// The place of a row; `None` where it needs none, or only the server can tell.
    pub(crate) fn place(&self, row: &Row<'_>) -> Option<Place> {
        if self.when.as_ref().is_some_and(|when| when.worth(row) != Worth::Boolean(true)) {
            return None;
        }
        let key = self.equal.iter().map(|part| match part.worth(row) {
            Worth::Null | Worth::Unknown => None,
            known => worth::text_of(&known).or_else(|| Some(format!("{known:?}"))),
        });
        let end = |end: &Option<Expression>, none: f64| match end.as_ref().map(|end| end.worth(row)) {
            None | Some(Worth::Null) => Some(none),
            Some(known) => worth::number(&known),
        };
        let (from, to) = (end(&self.lower, f64::NEG_INFINITY)?, end(&self.upper, f64::INFINITY)?);
        Some(Place { key: key.collect::<Option<_>>()?, from, to })
    }

    pub(crate) fn is_free(&self, place: &Place) -> bool {
        let Some(taken) = self.taken.get(&place.key) else { return true };
        // Those that are there do not overlap: of those that begin before its end the last one ends last.
        taken.range(..ordered(place.to)).next_back().is_none_or(|(_, to)| *to <= ordered(place.from))
    }

    pub(crate) fn take(&mut self, place: Place) {
        if place.to.is_finite() {
            self.ends.push(place.to);
        }
        self.taken.entry(place.key).or_default().insert(ordered(place.from), ordered(place.to));
    }
}

/// A whole number that is ordered as the number is.
fn ordered(number: f64) -> i64 {
    let bits = number.to_bits() as i64;
    bits ^ (((bits >> 63) as u64) >> 1) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_overlaps_a_taken_one_is_not_free() {
        let mut apart = Apart::new(Vec::new(), (None, None), None);
        let place = |from, to| Place { key: vec!["a".to_owned()], from, to };
        apart.take(place(10.0, 20.0));
        apart.take(place(-5.0, 0.5));
        for (from, to, is) in [
            (20.0, 30.0, true),
            (0.5, 10.0, true),
            (19.0, 21.0, false),
            (12.0, 13.0, false),
            (0.0, 100.0, false),
            (-9.0, f64::INFINITY, false),
            (f64::NEG_INFINITY, -5.0, true),
        ] {
            assert_eq!(apart.is_free(&place(from, to)), is, "{from} to {to}");
        }
        assert!([20.0, 0.5].map(Some).contains(&apart.an_end(&mut Draw::new(1, 1))));
        assert!(apart.is_free(&Place { key: vec!["b".to_owned()], from: 0.0, to: 99.0 }));
    }
}
