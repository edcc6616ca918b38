//! Writes numbers with their units as people read them.
//!
//! ```
//! use db_core::panel::human;
//!
//! assert_eq!((human::bytes(1536.0), human::seconds(200.0)), ("1.5 KiB".into(), "3 min 20 s".into()));
//! ```

use std::time::{SystemTime, UNIX_EPOCH};

use super::Value;

/// The value in words; nothing known is a dash.
pub fn value(value: &Value) -> String {
    match value {
        Value::Missing => "–".to_owned(),
        Value::Text(text) | Value::Code(text) => text.clone(),
        Value::Count(n) => count(*n),
        Value::Number(n) => number(*n),
        Value::Percent(n) => format!("{} %", number(*n)),
        Value::Bytes(n) => bytes(*n),
        Value::Seconds(n) => seconds(*n),
        Value::At(at) => stamp(*at),
        Value::Status(status) => status.word().to_owned(),
    }
}

/// A whole number with a comma between each three digits.
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Three digits that matter.
pub fn number(n: f64) -> String {
    if !n.is_finite() {
        return "–".to_owned();
    }
    let size = n.abs();
    let text = match size {
        _ if size >= 1000.0 => {
            let sign = if n < 0.0 { "-" } else { "" };
            return format!("{sign}{}", count(size.round() as u64));
        }
        _ if size >= 100.0 => format!("{n:.0}"),
        _ if size >= 10.0 => format!("{n:.1}"),
        _ => format!("{n:.2}"),
    };
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// Bytes in the unit of 1,024 that fits.
pub fn bytes(n: f64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let (mut size, mut unit) = (n.abs(), 0);
    while size >= 1024.0 && unit + 1 < units.len() {
        size /= 1024.0;
        unit += 1;
    }
    let sign = if n < 0.0 { "-" } else { "" };
    let digits = if unit == 0 || size >= 100.0 { 0 } else { 1 };
    format!("{sign}{size:.digits$} {}", units[unit])
}

/// A duration in the units that fit: `1.5 ms`, `3 min 20 s`, `2 d 3 h`.
pub fn seconds(n: f64) -> String {
    let (sign, size) = if n < 0.0 { ("-", -n) } else { ("", n) };
    let whole = size.round() as u64;
    let two = |big: u64, big_unit, small: u64, small_unit| match small {
        0 => format!("{sign}{big} {big_unit}"),
        small => format!("{sign}{big} {big_unit} {small} {small_unit}"),
    };
    match size {
        _ if !size.is_finite() => "–".to_owned(),
        0.0 => "0 s".to_owned(),
        _ if size < 1e-3 => format!("{sign}{} µs", number(size * 1e6)),
        _ if size < 1.0 => format!("{sign}{} ms", number(size * 1e3)),
        _ if size < 60.0 => format!("{sign}{} s", number(size)),
        _ if whole < 3_600 => two(whole / 60, "min", whole % 60, "s"),
        _ if whole < 86_400 => two(whole / 3_600, "h", whole % 3_600 / 60, "min"),
        _ => two(whole / 86_400, "d", whole % 86_400 / 3_600, "h"),
    }
}

/// A moment in UTC, to the second.
pub fn stamp(at: SystemTime) -> String {
    let seconds = at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (second / 3_600, second % 3_600 / 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Year, month and day of a day since 1970, by Howard Hinnant's `civil_from_days`.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn numbers_have_three_digits_that_matter_and_their_unit() {
        for (value_of, words) in [
            (Value::Count(1_234_567), "1,234,567"),
            (Value::Number(0.5), "0.5"),
            (Value::Number(-12_345.6), "-12,346"),
            (Value::Percent(99.95), "100 %"),
            (Value::Bytes(0.0), "0 B"),
            (Value::Bytes(1536.0), "1.5 KiB"),
            (Value::Bytes(3.2e12), "2.9 TiB"),
            (Value::Seconds(0.000_25), "250 µs"),
            (Value::Seconds(0.0123), "12.3 ms"),
            (Value::Seconds(200.0), "3 min 20 s"),
            (Value::Seconds(f64::INFINITY), "–"),
            (Value::Seconds(180_000.0), "2 d 2 h"),
            (Value::Missing, "–"),
        ] {
            assert_eq!(value(&value_of), words);
        }
    }

    #[test]
    fn a_moment_is_written_in_utc() {
        for (seconds, words) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_764_331_199, "2025-11-28T11:59:59Z"),
        ] {
            assert_eq!(stamp(UNIX_EPOCH + Duration::from_secs(seconds)), words);
        }
    }
}
