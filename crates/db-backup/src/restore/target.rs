//! Up to where a restore replays the log: the target, how it is written, and how the server is told.

use std::fmt;

use chrono::{DateTime, SecondsFormat, Utc};
use db_core::Lsn;

/// Up to where the log is replayed.
///
/// ```
/// use db_backup::restore::Target;
///
/// let target = Target::at_time("2026-11-28 12:30:00+01")?;
/// assert_eq!(target.to_string(), "time 2026-11-28T11:30:00Z");
/// // An hour that a clock shows twice, or a zone that nobody named, is asked for again.
/// assert!(Target::at_time("2026-11-28 12:30:00").is_err());
/// # Ok::<(), db_backup::restore::AmbiguousTime>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Target {
    /// To the end of the archived log.
    #[default]
    Latest,
    /// To the point where the backup is consistent, and no further.
    Consistent,
    /// To the last commit at or before this time, by the clock of the server that wrote the log.
    Time(DateTime<Utc>),
    /// To this position.
    Lsn(Lsn),
    /// To the end of this transaction.
    Xid(u32),
    /// To the restore point of this name (`pg_create_restore_point`).
    Name(String),
}

/// Which timeline is followed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TimelineChoice {
    /// The newest one in the archive; a backup from which it cannot be reached is refused.
    #[default]
    Newest,
    /// The backup's own.
    OfBackup,
    /// This one.
    Number(u32),
}

/// A time without a zone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no time with a zone: write it as in 2026-11-28T12:30:00Z or 2026-11-28 12:30:00+01:00")]
pub struct AmbiguousTime(String);

impl Target {
    /// A target from a time with its offset from UTC.
    ///
    /// # Errors
    /// Where the text is no time, or names no offset.
    pub fn at_time(text: &str) -> Result<Target, AmbiguousTime> {
        let formats = ["%Y-%m-%d %H:%M:%S%.f%#z", "%Y-%m-%dT%H:%M:%S%.f%#z"];
        let text = text.trim();
        let zulu = text.strip_suffix(['Z', 'z']).map(|time| format!("{time}+00"));
        let whole = zulu.as_deref().unwrap_or(text);
        let found = formats.iter().find_map(|format| DateTime::parse_from_str(whole, format).ok());
        found.map(|time| Target::Time(time.to_utc())).ok_or_else(|| AmbiguousTime(text.to_owned()))
    }

    /// The settings that tell the server.
    pub(crate) fn settings(&self, inclusive: bool) -> Vec<(&'static str, String)> {
        let mut settings = match self {
            Target::Latest => return Vec::new(),
            Target::Consistent => return vec![("recovery_target", "immediate".to_owned())],
            Target::Time(time) => {
                // With its zone: the restored server's own may be another one.
                vec![("recovery_target_time", format!("{}", time.format("%Y-%m-%d %H:%M:%S%.6f+00")))]
            }
            Target::Lsn(lsn) => vec![("recovery_target_lsn", lsn.to_string())],
            Target::Xid(xid) => vec![("recovery_target_xid", xid.to_string())],
            Target::Name(name) => return vec![("recovery_target_name", name.clone())],
        };
        settings.push(("recovery_target_inclusive", if inclusive { "on" } else { "off" }.to_owned()));
        settings
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Latest => f.write_str("the end of the archived log"),
            Target::Consistent => f.write_str("the backup's own moment"),
            Target::Time(time) => {
                write!(f, "time {}", time.to_rfc3339_opts(SecondsFormat::AutoSi, true))
            }
            Target::Lsn(lsn) => write!(f, "position {lsn}"),
            Target::Xid(xid) => write!(f, "transaction {xid}"),
            Target::Name(name) => write!(f, "restore point {name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_needs_a_zone() {
        let check = |text: &str, expected: Option<&str>| {
            let found = Target::at_time(text).ok().map(|target| target.to_string());
            assert_eq!(found.as_deref(), expected, "{text}");
        };
        check("2026-11-28 12:30:00+01", Some("time 2026-11-28T11:30:00Z"));
        check("2026-11-28 12:30:00.25+01:30", Some("time 2026-11-28T11:00:00.250Z"));
        check("2026-11-28T12:30:00Z", Some("time 2026-11-28T12:30:00Z"));
        check("2026-11-28 12:30:00", None);
        check("2026-11-28 12:30:00 CET", None);
        check("yesterday", None);
    }

    #[test]
    fn the_server_is_told_the_zone_and_whether_the_target_is_part_of_it() {
        let target = Target::at_time("2026-11-28 12:30:00.5+01").unwrap();
        let expected = [
            ("recovery_target_time", "2026-11-28 11:30:00.500000+00".to_owned()),
            ("recovery_target_inclusive", "off".to_owned()),
        ];
        assert_eq!(target.settings(false), expected);
        assert!(Target::Latest.settings(true).is_empty());
    }
}
