//! What a partition key's values mean as times, and how a time is written as a bound.

use chrono::{DateTime, NaiveDate, NaiveDateTime, TimeDelta, TimeZone, Utc};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

/// The unit of a number that counts from 1970-01-01 in UTC.
///
/// ```
/// use db_maintenance::partitions::Epoch;
///
/// assert!(Epoch::Seconds < Epoch::Milliseconds, "they are in the order of their fineness");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Epoch {
    /// As Unix counts.
    Seconds,
    /// As JavaScript counts.
    Milliseconds,
    /// As PostgreSQL counts.
    Microseconds,
}

/// What the values of a key are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Key {
    /// `timestamp with time zone`.
    Instant,
    /// `timestamp`, read in the policy's zone.
    Local,
    /// `date`, likewise.
    Date,
    /// `uuid` of version 7.
    Uuid,
    /// A number.
    Number(Epoch),
}

impl Key {
    /// What a column of this type holds; a number needs its unit.
    pub(crate) fn of(type_name: &str, epoch: Option<Epoch>) -> Result<Self, String> {
        match (type_name, epoch) {
            ("timestamp with time zone", None) => Ok(Key::Instant),
            ("timestamp without time zone", None) => Ok(Key::Local),
            ("date", None) => Ok(Key::Date),
            ("uuid", None) => Ok(Key::Uuid),
            ("bigint" | "integer" | "numeric", Some(epoch)) => Ok(Key::Number(epoch)),
            ("bigint" | "integer" | "numeric", None) => Err(
                "its key is a number: say with epoch whether that is seconds, milliseconds or microseconds"
                    .to_owned(),
            ),
            (type_name, Some(_)) => Err(format!("its key is a {type_name} and no number: leave epoch out")),
            (type_name, None) => Err(format!(
                "its key is a {type_name}: ranges of time are kept by timestamptz, timestamp, date, uuid \
                 (version 7) \
                 and numbers"
            )),
        }
    }

    /// The least value at this time.
    pub(crate) fn text(self, at: DateTime<Utc>, zone: Tz) -> String {
        match self {
            Key::Instant => at.format("%Y-%m-%d %H:%M:%S%.f+00").to_string(),
            Key::Local => at.with_timezone(&zone).format("%Y-%m-%d %H:%M:%S%.f").to_string(),
            Key::Date => at.with_timezone(&zone).format("%Y-%m-%d").to_string(),
            Key::Uuid => {
                let millis = at.timestamp_millis().clamp(0, (1 << 48) - 1);
                format!("{:08x}-{:04x}-0000-0000-000000000000", millis >> 16, millis & 0xffff)
            }
            Key::Number(Epoch::Seconds) => at.timestamp().to_string(),
            Key::Number(Epoch::Milliseconds) => at.timestamp_millis().to_string(),
            Key::Number(Epoch::Microseconds) => at.timestamp_micros().to_string(),
        }
    }

    /// The time of a value as the catalog prints it, cut to the fineness of the key's times; what lies beyond
    /// the calendar is its end.
    pub(crate) fn time(self, text: &str, zone: Tz) -> Option<DateTime<Utc>> {
        match self {
            Key::Instant => {
                let local = text.strip_suffix("+00").or_else(|| text.strip_suffix("+00 BC"))?;
                timestamp(local, text.ends_with("BC")).map(|local| local.and_utc())
            }
            Key::Local => {
                let bc = text.ends_with(" BC");
                timestamp(text.strip_suffix(" BC").unwrap_or(text), bc).map(|local| earliest(local, zone))
            }
            Key::Date => {
                let bc = text.ends_with(" BC");
                let midnight = format!("{} 00:00:00", text.strip_suffix(" BC").unwrap_or(text));
                timestamp(&midnight, bc).map(|local| earliest(local, zone))
            }
            Key::Uuid => {
                let hex: String = text.chars().filter(|c| *c != '-').take(12).collect();
                DateTime::from_timestamp_millis(i64::from_str_radix(&hex, 16).ok()?)
                    .or(Some(DateTime::<Utc>::MAX_UTC))
            }
            Key::Number(unit) => {
                let whole: i128 = text.split('.').next()?.parse().ok()?;
                let scale = match unit {
                    Epoch::Seconds => 1_000_000,
                    Epoch::Milliseconds => 1_000,
                    Epoch::Microseconds => 1,
                };
                let micros = whole.checked_mul(scale).and_then(|micros| i64::try_from(micros).ok());
                let end = if whole < 0 { DateTime::<Utc>::MIN_UTC } else { DateTime::<Utc>::MAX_UTC };
                Some(micros.and_then(DateTime::from_timestamp_micros).unwrap_or(end))
            }
        }
    }
}

/// A time of the server's ISO style. Years before Christ and beyond the calendar are its ends.
fn timestamp(text: &str, bc: bool) -> Option<NaiveDateTime> {
    if bc {
        return Some(NaiveDateTime::MIN);
    }
    let (date, time) = text.split_once(' ')?;
    let mut parts = date.split('-').map(str::parse::<i32>);
    let (year, month, day) = (parts.next()?.ok()?, parts.next()?.ok()?, parts.next()?.ok()?);
    if year > 200_000 {
        return Some(NaiveDateTime::MAX);
    }
    let day = NaiveDate::from_ymd_opt(year, u32::try_from(month).ok()?, u32::try_from(day).ok()?)?;
    let time = chrono::NaiveTime::parse_from_str(time, "%H:%M:%S%.f").ok()?;
    Some(day.and_time(time))
}

/// The first instant that the clocks of this zone show so.
fn earliest(local: NaiveDateTime, zone: Tz) -> DateTime<Utc> {
    if local == NaiveDateTime::MIN || local == NaiveDateTime::MAX {
        return local.and_utc();
    }
    let found = zone.from_local_datetime(&local).earliest();
    let later = || zone.from_local_datetime(&local.checked_add_signed(TimeDelta::hours(24))?).earliest();
    found.or_else(later).map_or_else(|| local.and_utc(), |at| at.with_timezone(&Utc))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_comes_back_from_its_text() {
        let at: DateTime<Utc> = "2026-11-01T00:00:00Z".parse().unwrap();
        let numbers = [Epoch::Seconds, Epoch::Milliseconds, Epoch::Microseconds].map(Key::Number);
        for key in [Key::Instant, Key::Local, Key::Date, Key::Uuid].into_iter().chain(numbers) {
            let text = key.text(at, Tz::UTC);
            assert_eq!(key.time(&text, Tz::UTC), Some(at), "{key:?}: {text}");
        }
        assert_eq!(Key::Uuid.text(at, Tz::UTC), "01a19467-e800-0000-0000-000000000000");
    }

    #[test]
    fn absurd_values_are_the_ends_of_the_calendar() {
        assert_eq!(Key::Instant.time("0044-03-15 00:00:00+00 BC", Tz::UTC), Some(DateTime::<Utc>::MIN_UTC));
        assert_eq!(Key::Instant.time("294276-12-31 00:00:00+00", Tz::UTC), Some(DateTime::<Utc>::MAX_UTC));
        assert_eq!(
            Key::Number(Epoch::Seconds).time(&i64::MAX.to_string(), Tz::UTC),
            Some(DateTime::<Utc>::MAX_UTC)
        );
        assert_eq!(
            Key::Number(Epoch::Seconds).time(&i64::MIN.to_string(), Tz::UTC),
            Some(DateTime::<Utc>::MIN_UTC)
        );
        assert_eq!(
            Key::Uuid.time("ffffffff-ffff-7000-8000-000000000000", Tz::UTC),
            DateTime::from_timestamp_millis((1 << 48) - 1)
        );
        assert_eq!(Key::Instant.time("soon", Tz::UTC), None);
    }
}
