//! The kinds of value that a setting can have: how each is read and printed.

use std::cmp::Ordering;
use std::time::Duration;

/// A kind of value that a setting can have.
pub trait Value: Copy + PartialOrd {
    /// What is allowed, for the error message.
    const ALLOWED: &'static str;

    /// Reads it; `None` where the text is no such value.
    fn parse(text: &str) -> Option<Self>;

    /// Prints it as it would be written.
    fn print(self) -> String;

    /// What lies within two bounds, in words.
    fn between(min: Self, max: Self) -> String {
        format!("{} to {}", min.print(), max.print())
    }
}

impl Value for Duration {
    const ALLOWED: &'static str = "a duration such as 250ms, 30s, 5m, 1h or bare milliseconds";

    fn parse(text: &str) -> Option<Self> {
        let (number, unit) = split_unit(text);
        let number: f64 = number.parse().ok().filter(|number: &f64| number.is_finite() && *number >= 0.0)?;
        let seconds = match unit {
            "" | "ms" => number / 1_000.0,
            "us" | "µs" => number / 1_000_000.0,
            "s" => number,
            "m" | "min" => number * 60.0,
            "h" => number * 3_600.0,
            "d" => number * 86_400.0,
            _ => return None,
        };
        Duration::try_from_secs_f64(seconds).ok()
    }

    fn print(self) -> String {
        let millis = self.as_millis();
        match millis {
            0 => "0".to_owned(),
            _ if millis.is_multiple_of(86_400_000) => format!("{}d", millis / 86_400_000),
            _ if millis.is_multiple_of(3_600_000) => format!("{}h", millis / 3_600_000),
            _ if millis.is_multiple_of(60_000) => format!("{}m", millis / 60_000),
            _ if millis.is_multiple_of(1_000) => format!("{}s", millis / 1_000),
            _ => format!("{millis}ms"),
        }
    }
}

/// A duration that may be endless: `never` and `0` are read as no limit at all, which is greater than every
/// duration.
///
/// ```
/// use db_core::settings::{Limit, Value};
/// use std::time::Duration;
///
/// assert_eq!(Limit::parse("30s"), Some(Limit::after(Duration::from_secs(30))));
/// assert_eq!(Limit::parse("never"), Some(Limit::NEVER));
/// assert!(Limit::NEVER > Limit::after(Duration::from_secs(86_400)));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Limit(pub Option<Duration>);

impl Limit {
    /// No limit.
    pub const NEVER: Limit = Limit(None);

    /// A limit after this time.
    pub const fn after(duration: Duration) -> Self {
        Limit(Some(duration))
    }
}

impl From<Limit> for Option<Duration> {
    fn from(limit: Limit) -> Self {
        limit.0
    }
}

impl PartialOrd for Limit {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Limit {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self.0, other.0) {
            (Some(ours), Some(theirs)) => ours.cmp(&theirs),
            (ours, theirs) => ours.is_none().cmp(&theirs.is_none()),
        }
    }
}

/// A longer one is a mistake, and would overflow where it is added to a moment.
const LONGEST: Duration = Duration::from_secs(366 * 86_400);

impl Value for Limit {
    const ALLOWED: &'static str =
        "a duration of at most a year, such as 250ms, 30s, 5m, 1h or bare milliseconds, or never";

    fn parse(text: &str) -> Option<Self> {
        if text == "never" {
            return Some(Limit::NEVER);
        }
        let duration = Duration::parse(text).filter(|duration| *duration <= LONGEST)?;
        Some(Limit(Some(duration).filter(|duration| !duration.is_zero())))
    }

    fn print(self) -> String {
        self.0.map_or_else(|| "never".to_owned(), Value::print)
    }

    fn between(min: Self, max: Self) -> String {
        match max.0 {
            None => format!("{} or more, or never", min.print()),
            Some(_) => format!("{} to {}", min.print(), max.print()),
        }
    }
}

/// A size in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes(pub u64);

impl Value for Bytes {
    const ALLOWED: &'static str = "a size such as 512kb, 100mb, 2gb or bare bytes";

    fn parse(text: &str) -> Option<Self> {
        let (number, unit) = split_unit(text);
        let number: u64 = number.parse().ok()?;
        let factor = match unit {
            "" | "b" => 1,
            "k" | "kb" | "kib" => 1 << 10,
            "m" | "mb" | "mib" => 1 << 20,
            "g" | "gb" | "gib" => 1 << 30,
            "t" | "tb" | "tib" => 1 << 40,
            _ => return None,
        };
        number.checked_mul(factor).map(Bytes)
    }

    fn print(self) -> String {
        let units = [("tb", 1 << 40), ("gb", 1 << 30), ("mb", 1 << 20), ("kb", 1 << 10)];
        let whole = units.iter().find(|(_, factor)| self.0 > 0 && self.0.is_multiple_of(*factor));
        whole.map_or_else(|| format!("{}b", self.0), |(unit, factor)| format!("{}{unit}", self.0 / factor))
    }
}

impl Value for u32 {
    const ALLOWED: &'static str = "a whole number";

    fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn print(self) -> String {
        self.to_string()
    }
}

impl Value for f64 {
    const ALLOWED: &'static str = "a number";

    fn parse(text: &str) -> Option<Self> {
        text.parse().ok().filter(|number: &f64| number.is_finite())
    }

    fn print(self) -> String {
        self.to_string()
    }
}

impl Value for bool {
    const ALLOWED: &'static str = "true or false";

    fn parse(text: &str) -> Option<Self> {
        match text {
            "true" | "1" | "yes" | "on" => Some(true),
            "false" | "0" | "no" | "off" => Some(false),
            _ => None,
        }
    }

    fn print(self) -> String {
        self.to_string()
    }

    fn between(_: Self, _: Self) -> String {
        Self::ALLOWED.to_owned()
    }
}

fn split_unit(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    (&text[..end], text[end..].trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_printed() {
        for (text, bytes) in [("100mb", 100 << 20), ("512kb", 512 << 10), ("7", 7), ("2gb", 2 << 30)] {
            assert_eq!(Bytes::parse(text), Some(Bytes(bytes)), "{text}");
        }
        assert_eq!(Bytes(100 << 20).print(), "100mb");
        assert_eq!(Bytes::parse("99999999999tb"), None);
    }

    #[test]
    fn a_limit_may_be_endless_and_is_then_the_greatest() {
        let second = Limit::after(Duration::from_secs(1));
        for (text, limit) in
            [("never", Limit::NEVER), ("0", Limit::NEVER), ("0s", Limit::NEVER), ("1s", second)]
        {
            assert_eq!(Limit::parse(text), Some(limit), "{text}");
        }
        assert_eq!(Limit::parse("999999999d"), None, "it would overflow where it is added to a moment");
        assert_eq!((Limit::NEVER.print(), second.print()), ("never".to_owned(), "1s".to_owned()));
        let mut sorted = [Limit::NEVER, second, Limit::after(Duration::MAX), Limit::after(Duration::ZERO)];
        sorted.sort();
        assert_eq!(sorted, [Limit::after(Duration::ZERO), second, Limit::after(Duration::MAX), Limit::NEVER]);
    }
}
