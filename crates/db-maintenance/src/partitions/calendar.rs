//! The grid on which partitions begin and end: days, weeks, months, quarters and years of a time zone.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Datelike, Days, Months, NaiveDate, NaiveTime, TimeDelta, TimeZone, Utc};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

/// How long one partition lasts. Weeks begin on Monday.
///
/// ```
/// use db_maintenance::partitions::Every;
///
/// assert_eq!("month".parse(), Ok(Every::Month));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Every {
    /// From midnight to midnight.
    Day,
    /// From Monday to Monday.
    Week,
    /// From the first of a month.
    Month,
    /// From January, April, July and October.
    Quarter,
    /// From the first of January.
    Year,
}

/// A number of days, weeks, months, quarters or years, as in `90 days`.
///
/// ```
/// use db_maintenance::partitions::{Every, Span};
///
/// assert_eq!("12 months".parse(), Ok(Span { count: 12, unit: Every::Month }));
/// assert_eq!(Span { count: 1, unit: Every::Year }.to_string(), "1 year");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Span {
    /// How many; at most 10,000.
    pub count: u32,
    /// Of what.
    pub unit: Every,
}

/// More of a unit than anybody keeps; it bounds the arithmetic.
const MOST: u32 = 10_000;

impl Every {
    fn word(self) -> &'static str {
        match self {
            Every::Day => "day",
            Every::Week => "week",
            Every::Month => "month",
            Every::Quarter => "quarter",
            Every::Year => "year",
        }
    }

    /// The first day of the interval that holds `day`.
    fn first_day(self, day: NaiveDate) -> Option<NaiveDate> {
        let (year, month) = (day.year(), day.month());
        match self {
            Every::Day => Some(day),
            Every::Week => day.checked_sub_days(Days::new(day.weekday().num_days_from_monday().into())),
            Every::Month => NaiveDate::from_ymd_opt(year, month, 1),
            Every::Quarter => NaiveDate::from_ymd_opt(year, (month - 1) / 3 * 3 + 1, 1),
            Every::Year => NaiveDate::from_ymd_opt(year, 1, 1),
        }
    }

    /// The beginning of the interval of `zone` that holds `at`; none at the ends of the calendar.
    pub fn floor(self, at: DateTime<Utc>, zone: Tz) -> Option<DateTime<Utc>> {
        let mut day = self.first_day(at.with_timezone(&zone).date_naive())?;
        let mut begins = midnight(day, zone)?;
        // A midnight that comes late, because the clocks were put forward, may come after `at`.
        while begins > at {
            day = self.first_day(day.pred_opt()?)?;
            begins = midnight(day, zone)?;
        }
        Some(begins)
    }

    /// The first beginning of an interval after `at`; none at the end of the calendar.
    pub fn next(self, at: DateTime<Utc>, zone: Tz) -> Option<DateTime<Utc>> {
        let mut day = self.first_day(at.with_timezone(&zone).date_naive())?;
        loop {
            day = Span { count: 1, unit: self }.after(day)?;
            let begins = midnight(day, zone)?;
            if begins > at {
                return Some(begins);
            }
        }
    }
}

impl Span {
    fn months(self) -> Option<Months> {
        let each = match self.unit {
            Every::Day | Every::Week => return None,
            Every::Month => 1,
            Every::Quarter => 3,
            Every::Year => 12,
        };
        Some(Months::new(self.count.min(MOST) * each))
    }

    fn days(self) -> Days {
        let each = if self.unit == Every::Week { 7 } else { 1 };
        Days::new(u64::from(self.count.min(MOST)) * each)
    }

    fn after(self, day: NaiveDate) -> Option<NaiveDate> {
        match self.months() {
            Some(months) => day.checked_add_months(months),
            None => day.checked_add_days(self.days()),
        }
    }

    fn before(self, day: NaiveDate) -> Option<NaiveDate> {
        match self.months() {
            Some(months) => day.checked_sub_months(months),
            None => day.checked_sub_days(self.days()),
        }
    }

    /// This much after `at`, at a midnight of `zone` that is not earlier; none at the end of the calendar.
    pub fn ahead_of(self, at: DateTime<Utc>, zone: Tz) -> Option<DateTime<Utc>> {
        midnight(self.after(at.with_timezone(&zone).date_naive())?.succ_opt()?, zone)
    }

    /// This much before `at`, at a midnight of `zone` that is not later; none at the beginning of the
    /// calendar.
    pub fn behind(self, at: DateTime<Utc>, zone: Tz) -> Option<DateTime<Utc>> {
        midnight(self.before(at.with_timezone(&zone).date_naive())?, zone)
    }
}

/// When this day begins in this zone: where its midnight is left out, at the first moment after it.
fn midnight(day: NaiveDate, zone: Tz) -> Option<DateTime<Utc>> {
    let mut local = day.and_time(NaiveTime::MIN);
    // No zone has left out more than a day, nor in steps of less than a quarter of an hour.
    for _ in 0..=2 * 96 {
        if let Some(begins) = zone.from_local_datetime(&local).earliest() {
            return Some(begins.with_timezone(&Utc));
        }
        local = local.checked_add_signed(TimeDelta::minutes(15))?;
    }
    None
}

impl FromStr for Every {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let word = text.strip_suffix('s').unwrap_or(text);
        let all = [Every::Day, Every::Week, Every::Month, Every::Quarter, Every::Year];
        all.into_iter()
            .find(|every| every.word() == word)
            .ok_or_else(|| format!("{text:?} is none of day, week, month, quarter and year"))
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!("{text:?} is no span of time: write a number of days, weeks, months, quarters or years")
        };
        let (count, unit) = text.trim().split_once(' ').ok_or_else(wrong)?;
        let count: u32 = count.parse().map_err(|_| wrong())?;
        if count > MOST {
            return Err(format!("{text:?} is more than {MOST}"));
        }
        Ok(Span { count, unit: unit.trim().parse().map_err(|_| wrong())? })
    }
}

impl TryFrom<String> for Span {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Span> for String {
    fn from(span: Span) -> String {
        span.to_string()
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.count == 1 { "" } else { "s" };
        write!(f, "{} {}{plural}", self.count, self.unit.word())
    }
}

impl fmt::Display for Every {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[track_caller]
    fn check(every: Every, zone: &str, time: &str, floor: &str, next: &str) {
        let zone: Tz = zone.parse().unwrap();
        assert_eq!(every.floor(at(time), zone), Some(at(floor)), "floor of {time}");
        assert_eq!(every.next(at(time), zone), Some(at(next)), "next after {time}");
    }

    #[test]
    fn intervals_begin_where_people_expect_them() {
        let time = "2026-11-28T12:00:00Z";
        check(Every::Day, "UTC", time, "2026-11-28T00:00:00Z", "2026-11-29T00:00:00Z");
        check(Every::Week, "UTC", time, "2026-11-23T00:00:00Z", "2026-11-30T00:00:00Z");
        check(Every::Month, "UTC", time, "2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z");
        check(Every::Quarter, "UTC", time, "2026-10-01T00:00:00Z", "2027-01-01T00:00:00Z");
        check(Every::Year, "UTC", time, "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z");
        check(Every::Month, "Europe/Berlin", time, "2026-10-31T23:00:00Z", "2026-11-30T23:00:00Z");
    }

    #[test]
    fn a_midnight_that_does_not_exist_is_the_first_moment_after_it() {
        // On 2018-11-04 the clocks of São Paulo went from 24:00 to 01:00.
        check(
            Every::Day,
            "America/Sao_Paulo",
            "2018-11-04T02:59:00Z",
            "2018-11-03T03:00:00Z",
            "2018-11-04T03:00:00Z",
        );
        // Samoa left out the whole of 2011-12-30.
        check(
            Every::Day,
            "Pacific/Apia",
            "2011-12-30T09:00:00Z",
            "2011-12-29T10:00:00Z",
            "2011-12-30T10:00:00Z",
        );
    }

    #[test]
    fn the_ends_of_the_calendar_are_no_panic() {
        for every in [Every::Day, Every::Week, Every::Month, Every::Quarter, Every::Year] {
            assert_eq!(every.next(DateTime::<Utc>::MAX_UTC, Tz::UTC), None);
            let _ = every.floor(DateTime::<Utc>::MIN_UTC, Tz::UTC);
        }
        let most = Span { count: MOST, unit: Every::Year };
        assert_eq!(most.ahead_of(DateTime::<Utc>::MAX_UTC, Tz::UTC), None);
        assert!("10001 days".parse::<Span>().is_err() && "-1 days".parse::<Span>().is_err());
    }
}
