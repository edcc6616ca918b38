//! Moments, days and lengths of time as texts, and their parts.

use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime, NaiveTime, Timelike};

use super::worth::{DAY, Worth, number};

/// A date, a timestamp or a time of day as microseconds.
pub(crate) fn moment(text: &str) -> Option<f64> {
    let text = text.trim();
    if let Ok(date) = NaiveDate::parse_from_str(text, "%Y-%m-%d") {
        return Some(date.and_time(NaiveTime::MIN).and_utc().timestamp_micros() as f64);
    }
    for format in ["%Y-%m-%d %H:%M:%S%.f%#z", "%Y-%m-%dT%H:%M:%S%.f%#z"] {
        if let Ok(at) = DateTime::parse_from_str(text, format) {
            return Some(at.timestamp_micros() as f64);
        }
    }
    for format in ["%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f"] {
        if let Ok(at) = NaiveDateTime::parse_from_str(text, format) {
            return Some(at.and_utc().timestamp_micros() as f64);
        }
    }
    let time = NaiveTime::parse_from_str(text, "%H:%M:%S%.f").ok()?;
    Some((time - NaiveTime::MIN).num_microseconds()? as f64)
}

/// An interval as PostgreSQL prints one (`1 year 2 mons 3 days 04:05:06`), as microseconds of 30-day months,
/// as the server compares them.
pub(crate) fn interval(text: &str) -> Option<f64> {
    let words: Vec<&str> = text.split_whitespace().collect();
    if words == ["0"] {
        return Some(0.0);
    }
    let (mut at, mut total) = (0, 0.0);
    if words.is_empty() {
        return None;
    }
    while at < words.len() {
        if words[at].contains(':') {
            let negative = words[at].starts_with('-');
            let mut parts = words[at].trim_start_matches(['-', '+']).split(':').map(str::parse::<f64>);
            let (hours, minutes) = (parts.next()?.ok()?, parts.next()?.ok()?);
            let seconds = parts.next().map_or(Some(0.0), Result::ok)?;
            let time = ((hours * 60.0 + minutes) * 60.0 + seconds) * 1e6;
            total += if negative { -time } else { time };
            at += 1;
            continue;
        }
        let count: f64 = words[at].parse().ok()?;
        let unit = words.get(at + 1)?.trim_end_matches('s');
        total += count
            * match unit {
                "year" => 360.0 * DAY,
                "mon" | "month" => 30.0 * DAY,
                "week" => 7.0 * DAY,
                "day" => DAY,
                "hour" => 3600e6,
                "min" | "minute" => 60e6,
                "sec" | "second" => 1e6,
                _ => return None,
            };
        at += 2;
    }
    Some(total)
}

/// A field of a moment or of a length of time.
pub(crate) fn part_of(field: &str, of: &Worth) -> Worth {
    let Some(at) = number(of).and_then(|micros| DateTime::from_timestamp_micros(micros as i64)) else {
        return Worth::Unknown;
    };
    if field == "epoch" {
        return Worth::Number(at.timestamp_micros() as f64 / 1e6);
    }
    Worth::Number(match field {
        "year" => f64::from(at.year()),
        "month" => f64::from(at.month()),
        "day" => f64::from(at.day()),
        "hour" => f64::from(at.hour()),
        "minute" => f64::from(at.minute()),
        "dow" => f64::from(at.weekday().num_days_from_sunday()),
        "isodow" => f64::from(at.weekday().number_from_monday()),
        "second" => f64::from(at.second()) + f64::from(at.timestamp_subsec_micros()) / 1e6,
        "quarter" => f64::from(at.month0() / 3 + 1),
        "week" => f64::from(at.iso_week().week()),
        "isoyear" => f64::from(at.iso_week().year()),
        "doy" => f64::from(at.ordinal()),
        _ => return Worth::Unknown,
    })
}

/// A moment as `to_char` writes it, for forms of numbers; `None` for others.
pub(crate) fn in_form(of: &Worth, form: &str) -> Option<String> {
    let at = DateTime::from_timestamp_micros(number(of)? as i64)?;
    let parts = [
        ("YYYY", format!("{:04}", at.year())),
        ("IYYY", format!("{:04}", at.iso_week().year())),
        ("HH24", format!("{:02}", at.hour())),
        ("DDD", format!("{:03}", at.ordinal())),
        ("YY", format!("{:02}", at.year().rem_euclid(100))),
        ("MM", format!("{:02}", at.month())),
        ("DD", format!("{:02}", at.day())),
        ("IW", format!("{:02}", at.iso_week().week())),
        ("MI", format!("{:02}", at.minute())),
        ("SS", format!("{:02}", at.second())),
        ("Q", format!("{}", at.month0() / 3 + 1)),
    ];
    let (mut text, mut rest) = (String::new(), form);
    while let Some(c) = rest.chars().next() {
        match parts.iter().find(|(name, _)| rest.starts_with(name)) {
            Some((name, part)) => {
                text += part;
                rest = &rest[name.len()..];
            }
            None if c.is_alphabetic() => return None,
            None => {
                text.push(c);
                rest = &rest[c.len_utf8()..];
            }
        }
    }
    Some(text)
}

/// The moment at which a field began.
pub(crate) fn truncated(field: &str, of: &Worth) -> Worth {
    let Some(at) = number(of).and_then(|micros| DateTime::from_timestamp_micros(micros as i64)) else {
        return Worth::Unknown;
    };
    let day = at.date_naive();
    let day = match field {
        "year" => day.with_ordinal(1),
        "month" => day.with_day(1),
        "quarter" => day.with_day(1).and_then(|day| day.with_month(day.month0() / 3 * 3 + 1)),
        "week" => day.checked_sub_days(chrono::Days::new(u64::from(day.weekday().num_days_from_monday()))),
        "day" => Some(day),
        "hour" | "minute" | "second" => {
            let unit = [("hour", 3600e6), ("minute", 60e6), ("second", 1e6)];
            let unit = unit.iter().find(|(name, _)| *name == field).map_or(1e6, |(_, unit)| *unit);
            return Worth::Time((at.timestamp_micros() as f64 / unit).floor() * unit);
        }
        _ => None,
    };
    match day {
        Some(day) => Worth::Time(day.and_time(NaiveTime::MIN).and_utc().timestamp_micros() as f64),
        None => Worth::Unknown,
    }
}
