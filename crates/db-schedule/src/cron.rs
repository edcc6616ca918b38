//! When: a cron expression in a time zone, and the instants that it names.
//!
//! The expression is read by croner as Vixie cron has it. An instant is a pure function of the expression and
//! of a time that is passed in.

use std::fmt;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use croner::parser::{CronParser, Seconds, Year};

/// A cron expression and the time zone whose clocks it means.
///
/// Five fields: minute, hour, day of the month, month, day of the week (0 and 7 are Sunday); six where
/// seconds go first. `*/15`, `1-5`, `MON-FRI`, `L`, `15W`, `FRI#2`, `@daily` are understood. If both days are
/// restricted, either is enough, as in every cron.
///
/// **When clocks go forward**, a job at a fixed time inside the hour that does not exist runs at the first
/// instant after it; a job at intervals (`*` or `/` in minute or hour) has no run in that hour. **When clocks
/// go back**, a job at a fixed time runs in the first of the two hours only; a job at intervals runs in both.
/// In `UTC` there is neither.
///
/// ```
/// use chrono::{DateTime, Utc};
/// use db_schedule::Cron;
///
/// let nightly = Cron::parse("30 2 * * *", "Europe/Berlin")?;
/// let evening: DateTime<Utc> = "2026-03-28T20:00:00Z".parse()?;
/// // In that night 02:30 does not exist in Berlin: 03:00 there is 01:00 in UTC.
/// assert_eq!(nightly.next_after(evening), Some("2026-03-29T01:00:00Z".parse()?));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cron {
    cron: croner::Cron,
    zone: Tz,
    text: String,
}

/// A text that is no cron expression, or a zone that there is not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCron {
    /// The expression is not understood.
    #[error(
        "{text:?} is no cron expression ({why}): write minute hour day month weekday, as in \"30 2 * * *\""
    )]
    Expression {
        /// What was given.
        text: String,
        /// What the parser says.
        why: String,
    },
    /// It names no instant, such as 30 February.
    #[error("{text:?} names no time that ever comes: look at its day and month")]
    Never {
        /// What was given.
        text: String,
    },
    /// The time zone is not known.
    #[error("{zone:?} is no time zone: write a name such as UTC or Europe/Berlin")]
    Zone {
        /// What was given.
        zone: String,
    },
}

impl Cron {
    /// Reads an expression; `zone` is a name of the IANA database, which is compiled in.
    ///
    /// # Errors
    /// [`InvalidCron`] where the text is not understood, names no time that ever comes, or the zone is not
    /// known.
    pub fn parse(text: &str, zone: &str) -> Result<Self, InvalidCron> {
        let zone: Tz = zone.parse().map_err(|_| InvalidCron::Zone { zone: zone.to_owned() })?;
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let parser = CronParser::builder().seconds(Seconds::Optional).year(Year::Disallowed).build();
        let cron = parser.parse(&text).map_err(|error| InvalidCron::Expression {
            text: text.clone(),
            why: error.to_string().trim_end_matches('.').to_owned(),
        })?;
        let cron = Cron { cron, zone, text };
        match cron.next_after(DateTime::UNIX_EPOCH) {
            Some(_) => Ok(cron),
            None => Err(InvalidCron::Never { text: cron.text }),
        }
    }

    /// The first instant after this one; none where the calendar ends before.
    pub fn next_after(&self, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let next = self.cron.find_next_occurrence(&after.with_timezone(&self.zone), false).ok()?;
        Some(next.with_timezone(&Utc))
    }

    /// The last instant at or before this one; none where the calendar begins after it.
    pub fn last_until(&self, until: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let last = self.cron.find_previous_occurrence(&until.with_timezone(&self.zone), true).ok()?;
        Some(last.with_timezone(&Utc))
    }

    /// How many instants lie after `after` and not after `until`; counting ends at `most`.
    pub fn count_between(&self, after: DateTime<Utc>, until: DateTime<Utc>, most: u32) -> u32 {
        let (mut count, mut at) = (0, after);
        while count < most {
            match self.next_after(at) {
                Some(next) if next <= until => (count, at) = (count + 1, next),
                _ => break,
            }
        }
        count
    }

    /// The time zone's name.
    pub fn zone(&self) -> &'static str {
        self.zone.name()
    }
}

impl fmt::Display for Cron {
    /// The expression and its zone: `30 2 * * * (Europe/Berlin)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.text, self.zone.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    /// The next instants after `after`, in the zone's own time.
    #[track_caller]
    fn check(expression: &str, zone: &str, after: &str, expected: &[&str]) {
        let cron = Cron::parse(expression, zone).unwrap();
        let mut instant = at(after);
        for wanted in expected {
            instant = cron.next_after(instant).unwrap();
            let local = instant.with_timezone(&cron.zone);
            assert_eq!(local.format("%m-%d %H:%M %z").to_string(), *wanted, "{cron} after {after}");
        }
    }

    #[test]
    fn an_hour_that_does_not_exist_moves_a_fixed_time_and_drops_intervals() {
        // In Berlin 02:00 to 03:00 on 2026-03-29 does not exist; 01:00Z is 03:00 there.
        let before = "2026-03-28T20:00:00Z";
        check("30 2 * * *", "Europe/Berlin", before, &["03-29 03:00 +0200", "03-30 02:30 +0200"]);
        check("0 3 * * *", "Europe/Berlin", before, &["03-29 03:00 +0200", "03-30 03:00 +0200"]);
        check(
            "*/30 * * * *",
            "Europe/Berlin",
            "2026-03-29T00:15:00Z",
            &["03-29 01:30 +0100", "03-29 03:00 +0200", "03-29 03:30 +0200"],
        );
        check("30 2 * * *", "UTC", before, &["03-29 02:30 +0000", "03-30 02:30 +0000"]);
        // Half an hour is lost on Lord Howe Island.
        check(
            "15 2 * * *",
            "Australia/Lord_Howe",
            "2026-10-03T12:00:00Z",
            &["10-04 02:30 +1100", "10-05 02:15 +1100"],
        );
    }

    #[test]
    fn an_hour_that_comes_twice_runs_a_fixed_time_once_and_intervals_twice() {
        // In Berlin 02:00 to 03:00 on 2026-10-25 comes twice: first +0200, then +0100.
        let before = "2026-10-24T20:00:00Z";
        check("30 2 * * *", "Europe/Berlin", before, &["10-25 02:30 +0200", "10-26 02:30 +0100"]);
        check(
            "*/30 * * * *",
            "Europe/Berlin",
            "2026-10-24T23:45:00Z",
            &[
                "10-25 02:00 +0200",
                "10-25 02:30 +0200",
                "10-25 02:00 +0100",
                "10-25 02:30 +0100",
                "10-25 03:00 +0100",
            ],
        );
    }

    #[test]
    fn no_instant_comes_twice_and_time_only_goes_forward_over_a_whole_year() {
        for expression in ["30 2 * * *", "0 2 * * *", "*/20 * * * *", "0 */2 * * *", "59 1 * * SUN"] {
            for zone in ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "UTC"] {
                let cron = Cron::parse(expression, zone).unwrap();
                let (mut instant, end) = (at("2026-01-01T00:00:00Z"), at("2027-01-01T00:00:00Z"));
                while instant < end {
                    let next = cron.next_after(instant).unwrap();
                    assert!(next > instant, "{cron}: {next} after {instant}");
                    // A day has at most 25 hours, and 59 1 * * SUN comes every week.
                    assert!((next - instant).num_hours() <= 7 * 24 + 1, "{cron}: {instant} to {next}");
                    instant = next;
                }
            }
        }
    }

    #[test]
    fn what_is_no_expression_is_refused_with_a_way_out() {
        for text in ["", "* * *", "61 * * * *", "every day", "0 0 0 0 0 0 2030"] {
            let error = Cron::parse(text, "UTC").unwrap_err();
            assert!(matches!(error, InvalidCron::Expression { .. }), "{text}: {error}");
            assert!(error.to_string().contains("30 2 * * *"), "{error}");
        }
        let never = Cron::parse("0 0 30 2 *", "UTC").unwrap_err();
        assert!(matches!(never, InvalidCron::Never { .. }), "{never}");
        let error = Cron::parse("@daily", "Berlin").unwrap_err();
        assert_eq!(
            error.to_string(),
            "\"Berlin\" is no time zone: write a name such as UTC or Europe/Berlin"
        );
    }

    #[test]
    fn what_passed_is_counted_up_to_a_bound() {
        let hourly = Cron::parse("0 * * * *", "UTC").unwrap();
        let (from, to) = (at("2026-01-01T00:00:00Z"), at("2026-01-01T05:30:00Z"));
        assert_eq!(hourly.count_between(from, to, 1_000), 5);
        assert_eq!(hourly.count_between(from, to, 3), 3);
        assert_eq!(hourly.last_until(to), Some(at("2026-01-01T05:00:00Z")));
        assert_eq!(hourly.last_until(at("2026-01-01T05:00:00Z")), Some(at("2026-01-01T05:00:00Z")));
    }
}
