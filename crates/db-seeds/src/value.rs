//! One generated cell, and how COPY's text format writes it.

use std::fmt::Write as _;

use chrono::{DateTime, NaiveDate, TimeDelta};
use uuid::Uuid;

/// One generated cell.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Null,
    Text(String),
    Uuid(Uuid),
    Integer(i64),
    Boolean(bool),
    /// Microseconds since 1970-01-01 UTC.
    Timestamp(i64),
    /// Days since 1970-01-01.
    Date(i64),
    Bytes(Vec<u8>),
}

impl Value {
    /// Writes the cell as COPY's text format wants it.
    pub(crate) fn copy_into(&self, out: &mut String) {
        match self {
            Value::Null => out.push_str("\\N"),
            Value::Text(text) => escape(text, out),
            Value::Bytes(bytes) => {
                out.push_str("\\\\x");
                for byte in bytes {
                    hex(*byte, out);
                }
            }
            Value::Uuid(uuid) => {
                let mut buffer = Uuid::encode_buffer();
                out.push_str(uuid.hyphenated().encode_lower(&mut buffer));
            }
            // Writing to a String cannot fail.
            Value::Integer(number) => _ = write!(out, "{number}"),
            Value::Boolean(true) => out.push('t'),
            Value::Boolean(false) => out.push('f'),
            Value::Timestamp(micros) => timestamp(*micros, out),
            Value::Date(days) => date(*days, out),
        }
    }

    /// The cell as a person would write it, for comparisons and templates.
    pub(crate) fn text(&self) -> String {
        match self {
            Value::Null => String::new(),
            Value::Text(text) => text.clone(),
            Value::Boolean(value) => value.to_string(),
            other => {
                let mut out = String::new();
                other.copy_into(&mut out);
                out
            }
        }
    }
}

pub(crate) fn escape(text: &str, out: &mut String) {
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c => out.push(c),
        }
    }
}

fn hex(byte: u8, out: &mut String) {
    for nibble in [byte >> 4, byte & 15] {
        out.push(char::from(b"0123456789abcdef"[usize::from(nibble)]));
    }
}

fn timestamp(micros: i64, out: &mut String) {
    let at = DateTime::from_timestamp_micros(micros).unwrap_or_default().naive_utc();
    _ = write!(out, "{}+00", at.format("%Y-%m-%d %H:%M:%S%.6f"));
}

fn date(days: i64, out: &mut String) {
    let epoch = NaiveDate::default();
    let day = epoch.checked_add_signed(TimeDelta::days(days)).unwrap_or(epoch);
    _ = write!(out, "{day}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(value: Value, copied: &str) {
        let mut out = String::new();
        value.copy_into(&mut out);
        assert_eq!(out, copied);
    }

    #[test]
    fn every_value_is_written_as_copy_reads_it() {
        check(Value::Null, "\\N");
        check(Value::Text("a\tb\\c\nd\re".into()), "a\\tb\\\\c\\nd\\re");
        // The text NULL-marker itself arrives as two characters, not as NULL.
        check(Value::Text("\\N".into()), "\\\\N");
        check(Value::Bytes(vec![0, 255, 16]), "\\\\x00ff10");
        check(Value::Uuid(Uuid::from_u128(1)), "00000000-0000-0000-0000-000000000001");
        check(Value::Integer(-5), "-5");
        check(Value::Boolean(true), "t");
        check(Value::Timestamp(1), "1970-01-01 00:00:00.000001+00");
        check(Value::Timestamp(-1), "1969-12-31 23:59:59.999999+00");
        check(Value::Date(-1), "1969-12-31");
        check(Value::Date(20_000), "2024-10-04");
    }
}
