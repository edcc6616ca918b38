//! Which ranges are missing between now and the horizon, and which have outlived their rows: pure functions
//! of the bounds.
//!
//! A new range begins exactly where the last one ends, whatever grid that was made by. So there is neither a
//! gap nor an overlap when the time zone of a policy changed, or when somebody else made the ranges before.

use std::cmp::Ordering;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;

use super::calendar::{Every, Span};
use super::key::Key;

/// One end of a range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Edge {
    Lowest,
    At(Point),
    Highest,
}

/// A value of the key: as a time, and as the catalog has it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Point {
    pub(crate) at: DateTime<Utc>,
    pub(crate) text: String,
}

/// A range, its upper end excluded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) from: Edge,
    pub(crate) to: Edge,
}

impl Edge {
    fn rank(&self) -> u8 {
        match self {
            Edge::Lowest => 0,
            Edge::At(_) => 1,
            Edge::Highest => 2,
        }
    }

    pub(crate) fn time(&self) -> DateTime<Utc> {
        match self {
            Edge::Lowest => DateTime::<Utc>::MIN_UTC,
            Edge::At(point) => point.at,
            Edge::Highest => DateTime::<Utc>::MAX_UTC,
        }
    }
}

impl PartialOrd for Edge {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Edge {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Edge::At(one), Edge::At(other)) => one.cmp(other),
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

/// How a set by time is to be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Grid {
    pub(crate) every: Every,
    pub(crate) ahead: Span,
    pub(crate) zone: Tz,
    pub(crate) key: Key,
    pub(crate) most_new: usize,
}

/// What is missing.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Missing {
    /// The ranges to make, in their order.
    pub(crate) new: Vec<(Point, Point)>,
    /// What a person should know.
    pub(crate) notes: Vec<String>,
}

/// Up to where rows have a place, beginning with `now`; none where a row of now has none.
pub(crate) fn covered_until(ranges: &[Range], now: DateTime<Utc>) -> Option<Edge> {
    let mut end = ranges.iter().find(|range| holds(range, now))?.to.clone();
    while let Some(next) = ranges.iter().find(|range| range.from <= end && range.to > end) {
        end = next.to.clone();
    }
    Some(end)
}

/// The gaps between ranges.
pub(crate) fn holes(ranges: &[Range]) -> Vec<(Edge, Edge)> {
    let pairs = ranges.iter().zip(ranges.iter().skip(1));
    pairs
        .filter(|(one, next)| one.to < next.from)
        .map(|(one, next)| (one.to.clone(), next.from.clone()))
        .collect()
}

fn holds(range: &Range, at: DateTime<Utc>) -> bool {
    range.from.time() <= at && (at < range.to.time() || range.to == Edge::Highest)
}

impl Grid {
    fn point(&self, at: DateTime<Utc>) -> Point {
        Point { at, text: self.key.text(at, self.zone) }
    }

    /// What is missing of ranges, which are sorted, so that rows have a place from now on until the horizon.
    pub(crate) fn missing(&self, ranges: &[Range], now: DateTime<Utc>) -> Missing {
        let mut missing = Missing::default();
        let (Some(floor), Some(next)) = (self.every.floor(now, self.zone), self.every.next(now, self.zone))
        else {
            missing.notes.push(format!("the clock says {now}, which no calendar holds: nothing is made"));
            return missing;
        };
        let horizon = self.ahead.ahead_of(now, self.zone).unwrap_or(next).max(next);
        let start = match covered_until(ranges, now) {
            Some(end) => end,
            None => {
                let behind = ranges.iter().rev().map(|range| &range.to).find(|to| to.time() <= now);
                match (behind, ranges.first()) {
                    (Some(end), _) => end.clone(),
                    // Those that are there begin soon, and rows of now need a place until then.
                    (None, Some(first)) if first.from.time() <= horizon => Edge::At(self.point(floor)),
                    (None, Some(first)) => {
                        let first = &first.to;
                        missing.notes.push(format!(
                            "now is {}, before the first partition: is the clock right? Nothing is made \
                             before it",
                            now.format("%F %T")
                        ));
                        first.clone()
                    }
                    (None, None) => Edge::At(self.point(floor)),
                }
            }
        };
        let (mut new, mut more) = self.tile(ranges, start.clone(), horizon);
        if more && start.time() < floor {
            missing.notes.push(format!(
                "the last partition before now ends at {}, more than {} partitions ago: they are made \
                 from {} on, and rows \
                 in between have no partition",
                shown(&start),
                self.most_new,
                floor.format("%F %T")
            ));
            (new, more) = self.tile(ranges, Edge::At(self.point(floor)), horizon);
        }
        if more {
            missing.notes.push(format!("only {} are made in this run: the next goes on", self.most_new));
        }
        missing.new = new;
        missing
    }

    /// New ranges from `cursor` to the horizon, around those that are there; and whether there would be more.
    fn tile(
        &self,
        ranges: &[Range],
        mut cursor: Edge,
        horizon: DateTime<Utc>,
    ) -> (Vec<(Point, Point)>, bool) {
        let mut new: Vec<(Point, Point)> = Vec::new();
        while cursor.time() < horizon {
            let Edge::At(from) = cursor.clone() else { break };
            if let Some(range) = ranges.iter().find(|range| range.from <= cursor && cursor < range.to) {
                cursor = range.to.clone();
                continue;
            }
            if new.len() >= self.most_new {
                return (new, true);
            }
            let Some(to) = self.end_of(&from, ranges) else { break };
            cursor = Edge::At(to.clone());
            new.push((from, to));
        }
        (new, false)
    }

    /// Where the range that begins here ends: on the grid, or where the next one that is there begins.
    fn end_of(&self, from: &Point, ranges: &[Range]) -> Option<Point> {
        let first = self.every.next(from.at, self.zone)?;
        let second = self.every.next(first, self.zone)?;
        // A sliver, where the grid moved by an hour, becomes part of the next interval.
        let sliver = (second - first) / 10;
        let mut end = self.point(if first - from.at < sliver { second } else { first });
        if end <= *from {
            end = self.point(second);
        }
        let here = Edge::At(from.clone());
        let next = ranges.iter().map(|range| &range.from).find(|begin| **begin > here);
        match next {
            Some(Edge::At(next)) if *next <= end => Some(next.clone()),
            _ => Some(end),
        }
    }
}

/// Which ranges, which are sorted, have an upper bound at or before `cutoff`; never all of them.
pub(crate) fn outlived(ranges: &[Range], cutoff: DateTime<Utc>) -> Vec<usize> {
    let is_old = |range: &Range| matches!(&range.to, Edge::At(to) if to.at <= cutoff);
    let mut old: Vec<usize> = (0..ranges.len()).filter(|index| is_old(&ranges[*index])).collect();
    if old.len() == ranges.len() {
        old.pop();
    }
    old
}

/// An end as people read it.
pub(crate) fn shown(edge: &Edge) -> String {
    match edge {
        Edge::Lowest => "the beginning".to_owned(),
        Edge::At(point) => point.text.clone(),
        Edge::Highest => "the end of time".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::key::Epoch;
    use super::*;

    use chrono::TimeDelta;
    use proptest::prelude::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn zone(name: &str) -> Tz {
        name.parse().unwrap()
    }

    fn grid(every: Every, zone: Tz, key: Key) -> Grid {
        Grid { every, ahead: Span { count: 3, unit: every }, zone, key, most_new: 100 }
    }

    fn apply(ranges: &mut Vec<Range>, missing: Missing) {
        let new = missing.new.into_iter();
        ranges.extend(new.map(|(from, to)| Range { from: Edge::At(from), to: Edge::At(to) }));
        ranges.sort_by(|one, other| one.from.cmp(&other.from));
    }

    /// What the server would refuse.
    fn overlaps(ranges: &[Range]) -> bool {
        ranges.iter().any(|range| range.from >= range.to)
            || ranges.iter().zip(ranges.iter().skip(1)).any(|(one, next)| one.to > next.from)
    }

    #[test]
    fn an_absurd_partition_hides_no_gap_before_it() {
        let months = grid(Every::Month, Tz::UTC, Key::Instant);
        let range = |from: &str, to: &str| Range {
            from: Edge::At(months.point(at(from))),
            to: Edge::At(months.point(at(to))),
        };
        let ranges = [
            range("2026-10-01T00:00:00Z", "2026-12-01T00:00:00Z"),
            range("9999-01-01T00:00:00Z", "9999-02-01T00:00:00Z"),
        ];
        let missing = months.missing(&ranges, at("2026-11-28T00:00:00Z"));
        let begins: Vec<&str> = missing.new.iter().map(|(from, _)| &from.text[..10]).collect();
        assert_eq!(begins, ["2026-12-01", "2027-01-01", "2027-02-01"]);
    }

    /// Somebody made next month's partition, and rows of today have none.
    #[test]
    fn rows_of_now_get_a_place_before_partitions_that_begin_soon() {
        let months = grid(Every::Month, Tz::UTC, Key::Instant);
        let soon = Range {
            from: Edge::At(months.point(at("2026-12-10T00:00:00Z"))),
            to: Edge::At(months.point(at("2027-01-01T00:00:00Z"))),
        };
        let missing = months.missing(std::slice::from_ref(&soon), at("2026-11-28T00:00:00Z"));
        let begins: Vec<&str> = missing.new.iter().map(|(from, _)| &from.text[..10]).collect();
        assert_eq!(begins, ["2026-11-01", "2026-12-01", "2027-01-01", "2027-02-01"]);
        assert!(missing.notes.is_empty(), "{missing:?}");
        let wrong_clock = months.missing(std::slice::from_ref(&soon), at("2006-11-28T00:00:00Z"));
        assert!(wrong_clock.new.is_empty() && wrong_clock.notes[0].contains("clock"), "{wrong_clock:?}");
    }

    #[test]
    fn a_set_that_was_left_for_centuries_is_named_and_makes_no_flood() {
        let days = grid(Every::Day, Tz::UTC, Key::Date);
        let old = Range { from: Edge::Lowest, to: Edge::At(days.point(at("1970-01-01T00:00:00Z"))) };
        let missing = days.missing(std::slice::from_ref(&old), at("2026-11-28T00:00:00Z"));
        assert!(missing.new.len() == 4 && missing.notes[0].contains("1970-01-01"), "{missing:?}");
    }

    #[test]
    fn the_next_range_begins_where_an_odd_one_ends() {
        let months = grid(Every::Month, Tz::UTC, Key::Instant);
        let odd = months.point(at("2026-11-30T23:00:00Z"));
        let range = Range { from: Edge::Lowest, to: Edge::At(odd.clone()) };
        let missing = months.missing(&[range], at("2026-11-28T00:00:00Z"));
        assert_eq!(missing.new[0].0, odd);
        assert_eq!(missing.new[0].1.text, "2027-01-01 00:00:00+00", "a sliver of an hour is no partition");
    }

    #[test]
    fn what_has_no_end_is_never_outlived_and_the_last_one_stays() {
        let days = grid(Every::Day, Tz::UTC, Key::Date);
        let point = |text: &str| Edge::At(days.point(at(text)));
        let first = Range { from: Edge::Lowest, to: point("2026-01-01T00:00:00Z") };
        let second = Range { from: point("2026-01-01T00:00:00Z"), to: point("2026-01-02T00:00:00Z") };
        let open = Range { from: point("2026-01-02T00:00:00Z"), to: Edge::Highest };
        let now = at("2030-01-01T00:00:00Z");
        assert_eq!(outlived(&[first.clone(), second.clone(), open], now), [0, 1]);
        assert_eq!(outlived(&[first, second], now), [0]);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

        /// Ten years in steps of up to two intervals, back and forth, while the zone and the interval change.
        #[test]
        fn ten_years_have_neither_gap_nor_overlap(
            steps in prop::collection::vec((-20_i64..70, 0_usize..5, 0_usize..40), 150),
            keys in 0_usize..5,
        ) {
            let zones =
                ["UTC", "Europe/Berlin", "America/Sao_Paulo", "Pacific/Apia", "Asia/Kathmandu"].map(zone);
            let keys_of = [Key::Instant, Key::Uuid, Key::Number(Epoch::Seconds), Key::Local, Key::Date];
            let key = keys_of[keys];
            // A local time means another instant in another zone: such a set keeps its zone.
            let fixed = matches!(key, Key::Local | Key::Date);
            let everies = [Every::Day, Every::Week, Every::Month, Every::Quarter, Every::Year];
            let mut now = at("2020-01-15T12:00:00Z");
            let (mut ranges, mut zone, mut every) = (Vec::new(), Tz::UTC, Every::Month);
            for (days, new_zone, change) in steps {
                now += TimeDelta::days(days);
                if change < 5 {
                    every = everies[change];
                    zone = if fixed { zone } else { zones[new_zone] };
                }
                let grid = Grid { most_new: 1_000, ..grid(every, zone, key) };
                let before = ranges.first().map(|range: &Range| range.from.clone());
                let missing = grid.missing(&ranges, now);
                apply(&mut ranges, missing);
                prop_assert!(!overlaps(&ranges), "{ranges:?}");
                prop_assert_eq!(holes(&ranges), vec![]);
                if before.is_none_or(|first| first.time() <= now) {
                    let end = covered_until(&ranges, now).unwrap();
                    prop_assert!(end.time() >= every.next(now, zone).unwrap());
                }
            }
        }
    }
}
