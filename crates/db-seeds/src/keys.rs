//! Typed reading of one TOML table: each key has a kind, and a key that nobody asked for is an error.

use std::collections::BTreeMap;
use std::path::Path;

use chrono::DateTime;
use toml::{Spanned, Value};

use crate::error::{Error, Place, Result};

/// The keys of a TOML table in a file, taken one by one.
#[derive(Debug)]
pub(crate) struct Keys<'a> {
    file: &'a Path,
    source: &'a str,
    column: Option<&'a str>,
    /// Where the table itself starts.
    start: usize,
    keys: BTreeMap<String, Spanned<Value>>,
}

impl<'a> Keys<'a> {
    pub(crate) fn new(
        file: &'a Path,
        source: &'a str,
        column: Option<&'a str>,
        start: usize,
        keys: BTreeMap<String, Spanned<Value>>,
    ) -> Self {
        Keys { file, source, column, start, keys }
    }

    /// An error at the table itself.
    pub(crate) fn error(&self, found: impl Into<String>) -> Error {
        self.error_at(self.start, found)
    }

    /// The line that the table starts on.
    pub(crate) fn place(&self) -> Place {
        self.place_at(self.start)
    }

    /// A key that may be missing.
    pub(crate) fn optional<T>(
        &mut self,
        key: &str,
        allowed: &str,
        read: impl Fn(&Value) -> Option<T>,
    ) -> Result<Option<T>> {
        let Some(value) = self.keys.remove(key) else { return Ok(None) };
        let at = value.span().start;
        match read(value.get_ref()) {
            Some(read) => Ok(Some(read)),
            None => Err(self.error_at(at, format!("{key} is {}, not {allowed}", value.get_ref()))),
        }
    }

    /// A key that must be there.
    pub(crate) fn required<T>(
        &mut self,
        key: &str,
        allowed: &str,
        read: impl Fn(&Value) -> Option<T>,
    ) -> Result<T> {
        let found = self.optional(key, allowed, read)?;
        found.ok_or_else(|| self.error(format!("{key} is missing ({allowed})")))
    }

    pub(crate) fn text(&mut self, key: &str) -> Result<String> {
        self.required(key, "a text", text)
    }

    /// Fails where a key is left that nothing asked for.
    pub(crate) fn finish(self) -> Result<()> {
        match self.keys.first_key_value() {
            None => Ok(()),
            Some((key, value)) => {
                Err(self.error_at(value.span().start, format!("{key} has no meaning here")))
            }
        }
    }

    fn error_at(&self, at: usize, found: impl Into<String>) -> Error {
        Error::malformed(self.place_at(at), found)
    }

    fn place_at(&self, at: usize) -> Place {
        let place = Place::line(self.file, line_of(self.source, at));
        match self.column {
            Some(column) => place.column(column),
            None => place,
        }
    }
}

/// The line, counted from 1, of a byte offset.
pub(crate) fn line_of(source: &str, at: usize) -> u64 {
    let before = source.as_bytes().get(..at).unwrap_or(source.as_bytes());
    before.iter().filter(|byte| **byte == b'\n').count() as u64 + 1
}

/// Parses a whole file, with the line in the error.
pub(crate) fn parse<T: for<'de> serde::Deserialize<'de>>(file: &Path, source: &str) -> Result<T> {
    toml::from_str(source).map_err(|error| {
        let line = error.span().map(|span| line_of(source, span.start));
        let place = Place { line, ..Place::file(file) };
        Error::malformed(place, error.message().replace('\n', ", "))
    })
}

pub(crate) fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

pub(crate) fn unsigned(value: &Value) -> Option<u64> {
    value.as_integer().and_then(|number| u64::try_from(number).ok())
}

pub(crate) fn integer(value: &Value) -> Option<i64> {
    value.as_integer()
}

/// A number from 1 to 8: how strongly something crowds together.
pub(crate) fn power(value: &Value) -> Option<u32> {
    unsigned(value).and_then(|power| u32::try_from(power).ok()).filter(|power| (1..=8).contains(power))
}

pub(crate) fn probability(value: &Value) -> Option<f64> {
    let number = value.as_float().or_else(|| value.as_integer().map(|number| number as f64))?;
    (0.0..=1.0).contains(&number).then_some(number)
}

/// `30d`, `-12h`, `5m`, `10s`, in microseconds.
pub(crate) fn span(value: &Value) -> Option<i64> {
    let text = value.as_str()?;
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let seconds = match unit {
        "d" => 86_400,
        "h" => 3_600,
        "m" => 60,
        "s" => 1,
        _ => return None,
    };
    number.parse::<i64>().ok()?.checked_mul(seconds)?.checked_mul(1_000_000)
}

/// A moment: RFC 3339, in microseconds since 1970.
pub(crate) fn moment(value: &Value) -> Option<i64> {
    DateTime::parse_from_rfc3339(value.as_str()?).ok().map(|at| at.timestamp_micros())
}
