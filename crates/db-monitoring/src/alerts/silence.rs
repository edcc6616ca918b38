//! When nobody is to be told: windows from a time to a time, or at the times of a cron expression.

use std::time::{Duration, SystemTime};

use chrono::{DateTime, TimeDelta, Utc};
use db_schedule::Cron;

/// A time in which nobody is told of some incidents. They are kept, and told afterwards if they are still
/// there.
///
/// Written as `KEYS @ FROM..TO` or as `KEYS @ CRON for DURATION`; `KEYS` is what an incident is about, where
/// `*` stands for anything. Cron expressions are in UTC.
///
/// ```
/// use std::time::{Duration, UNIX_EPOCH};
/// use db_monitoring::alerts::Silence;
///
/// let nightly = Silence::parse("*/bloat* @ 0 2 * * * for 90m")?;
/// let night = UNIX_EPOCH + Duration::from_secs(3 * 3600);
/// assert!(nightly.covers("db1:5432/bloat/table:public.orders", night));
/// assert!(!nightly.covers("db1:5432/archiver", night));
/// assert!(!nightly.covers("db1:5432/bloat", night + Duration::from_secs(1800)));
/// let move_to_18 = Silence::parse("* @ 2026-12-24T20:00:00Z..2026-12-24T23:00:00Z")?;
/// # Ok::<(), db_monitoring::alerts::InvalidSilence>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Silence {
    keys: String,
    window: Window,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Window {
    Once { from: DateTime<Utc>, to: DateTime<Utc> },
    Often { at: Box<Cron>, lasts: TimeDelta },
}

/// A text that is no silence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is no silence ({why}): write \"* @ 0 2 * * SUN for 2h\" or \"locks* @ FROM..TO\" with RFC 3339 times"
)]
pub struct InvalidSilence {
    text: String,
    why: String,
}

impl Silence {
    /// Reads one.
    ///
    /// # Errors
    /// [`InvalidSilence`].
    pub fn parse(text: &str) -> Result<Self, InvalidSilence> {
        let wrong = |why: &str| InvalidSilence { text: text.to_owned(), why: why.to_owned() };
        let (keys, window) = text.split_once('@').ok_or_else(|| wrong("there is no @"))?;
        let (keys, window) = (keys.trim().to_owned(), window.trim());
        if keys.is_empty() {
            return Err(wrong("it names no incident"));
        }
        let time = |text: &str| {
            let read = DateTime::parse_from_rfc3339(text.trim());
            read.map(|time| time.with_timezone(&Utc)).map_err(|error| wrong(&error.to_string()))
        };
        let window = if let Some((from, to)) = window.split_once("..") {
            let (from, to) = (time(from)?, time(to)?);
            if from >= to {
                return Err(wrong("it ends before it begins"));
            }
            Window::Once { from, to }
        } else {
            let (cron, lasts) =
                window.rsplit_once(" for ").ok_or_else(|| wrong("it does not say for how long"))?;
            let at = Cron::parse(cron, "UTC").map_err(|error| wrong(&error.to_string()))?;
            let lasts =
                duration(lasts.trim()).ok_or_else(|| wrong("its duration is none, as 90m or 2h is"))?;
            Window::Often { at: Box::new(at), lasts }
        };
        Ok(Silence { keys, window })
    }

    /// Whether nobody is told of this at that time.
    pub fn covers(&self, key: &str, at: SystemTime) -> bool {
        matches(&self.keys, key) && self.holds(at.into())
    }

    fn holds(&self, at: DateTime<Utc>) -> bool {
        match &self.window {
            Window::Once { from, to } => (*from..*to).contains(&at),
            Window::Often { at: cron, lasts } => {
                let begun = at.checked_sub_signed(*lasts).and_then(|earlier| cron.next_after(earlier));
                begun.is_some_and(|begun| begun <= at)
            }
        }
    }
}

/// Minutes, hours or days, at most a year.
fn duration(text: &str) -> Option<TimeDelta> {
    let unit = text.chars().last()?;
    let factor = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return None,
    };
    let count: i64 = text.get(..text.len() - 1)?.trim().parse().ok()?;
    let seconds = count.checked_mul(factor).filter(|seconds| (1..=366 * 86_400).contains(seconds))?;
    TimeDelta::from_std(Duration::from_secs(seconds.unsigned_abs())).ok()
}

/// Whether a text is of a pattern, in which `*` stands for anything.
fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    #[test]
    fn patterns_match_whole_keys() {
        for (pattern, text, expected) in [
            ("*", "a", true),
            ("a", "a", true),
            ("a", "ab", false),
            ("a*", "ab", true),
            ("*b", "ab", true),
            ("a*a", "a", false),
            ("*x*y*", "axbyc", true),
            ("*y*x*", "axbyc", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn windows_begin_with_their_first_moment_and_end_before_their_last() {
        let hours = |hours: u64| UNIX_EPOCH + Duration::from_secs(hours * 3_600);
        // 1970-01-04 was a Sunday.
        let sunday = Silence::parse("* @ 0 2 * * SUN for 2h").unwrap();
        let held: Vec<u64> = (0..24 * 14).filter(|hour| sunday.covers("a", hours(*hour))).collect();
        assert_eq!(held, [74, 75, 242, 243]);
        let once = Silence::parse("* @ 1970-01-01T02:00:00Z..1970-01-01T04:00:00+01:00").unwrap();
        let held: Vec<u64> = (0..24).filter(|hour| once.covers("a", hours(*hour))).collect();
        assert_eq!(held, [2]);
    }

    #[test]
    fn what_is_no_silence_says_why() {
        for text in [
            "",
            "* @",
            "@ 0 2 * * * for 2h",
            "* @ 0 2 * * *",
            "* @ 0 2 * * * for ever",
            "* @ 0 2 * * * for 0h",
            "* @ 0 2 * * * for 99999999999999h",
            "* @ 61 2 * * * for 2h",
            "* @ 2026-12-24T20:00:00Z..2026-12-24T19:00:00Z",
            "* @ tomorrow..2026-12-24T19:00:00Z",
            "* @ 0 2 * * * for 2ä",
        ] {
            assert!(Silence::parse(text).is_err(), "{text}");
        }
    }
}
