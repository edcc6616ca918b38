//! Reads settings from names and texts, and reports everything that is wrong with them at once.
//!
//! A setting is described once, in a [`Setting`]: its names, what it means, its default in each environment and its
//! bounds. The reader uses the description, and so does the generated documentation. Settings come from a lookup
//! function, so that a test need not change the process's environment.

use std::fmt;
use std::time::Duration;

use crate::Environment;

/// One setting: its names, what it means, its defaults and its bounds.
#[derive(Debug, Clone, Copy)]
pub struct Setting<T: 'static> {
    /// The canonical name.
    pub name: &'static str,
    /// Other names that are accepted; set to something else than the canonical name, they are an error.
    pub aliases: &'static [&'static str],
    /// What it means, in one or two sentences for whoever sets it.
    pub meaning: &'static str,
    /// The default in development, test, staging and production.
    pub default: [T; 4],
    /// The smallest value allowed.
    pub min: T,
    /// The largest value allowed.
    pub max: T,
    /// Those of the names under which a bare number is refused, because people know them in seconds.
    pub unit_required: &'static [&'static str],
}

impl<T: Value> Setting<T> {
    /// The default in an environment.
    pub fn default_in(&self, environment: Environment) -> T {
        let [development, test, staging, production] = self.default;
        match environment {
            Environment::Development => development,
            Environment::Test => test,
            Environment::Staging => staging,
            Environment::Production => production,
        }
    }

    /// The description as texts, for documentation.
    pub fn describe(&self) -> Described {
        Described {
            name: self.name,
            aliases: self.aliases,
            meaning: self.meaning,
            default: self.default.map(Value::print),
            bounds: Some((self.min.print(), self.max.print())),
        }
    }
}

/// A setting's description as texts.
#[derive(Debug, Clone)]
pub struct Described {
    /// The canonical name.
    pub name: &'static str,
    /// Other names that are accepted.
    pub aliases: &'static [&'static str],
    /// What it means.
    pub meaning: &'static str,
    /// The default in development, test, staging and production.
    pub default: [String; 4],
    /// The lower and the upper bound, where there are bounds.
    pub bounds: Option<(String, String)>,
}

/// A kind of value that a setting can have.
pub trait Value: Copy + PartialOrd {
    /// What is allowed, for the error message.
    const ALLOWED: &'static str;

    /// Reads it; `None` where the text is no such value.
    fn parse(text: &str) -> Option<Self>;

    /// Prints it as it would be written.
    fn print(self) -> String;
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
}

fn split_unit(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    (&text[..end], text[end..].trim())
}

/// One thing that is wrong with the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The setting's name, as it was written.
    pub name: String,
    /// What was found, and what is allowed. Never a password.
    pub what: String,
}

/// Everything that is wrong with the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidSettings {
    /// What is wrong, in the order in which it was found.
    pub problems: Vec<Problem>,
}

impl std::error::Error for InvalidSettings {}

impl fmt::Display for InvalidSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.problems.len();
        write!(f, "{count} {} wrong:", if count == 1 { "setting is" } else { "settings are" })?;
        for Problem { name, what } in &self.problems {
            write!(f, "\n  {name}: {what}")?;
        }
        Ok(())
    }
}

/// Reads settings, and remembers everything that was wrong.
pub struct Reader<'a> {
    lookup: &'a dyn Fn(&str) -> Option<String>,
    environment: Environment,
    problems: Vec<Problem>,
}

impl<'a> Reader<'a> {
    /// A reader of whatever `lookup` knows; defaults are those of `environment`.
    pub fn new(lookup: &'a dyn Fn(&str) -> Option<String>, environment: Environment) -> Self {
        Reader { lookup, environment, problems: Vec::new() }
    }

    /// The environment whose defaults apply.
    pub fn environment(&self) -> Environment {
        self.environment
    }

    /// A setting's value, or its default where it is not set or is wrong.
    pub fn read<T: Value>(&mut self, setting: &Setting<T>) -> T {
        let default = setting.default_in(self.environment);
        self.read_optional(setting).unwrap_or(default)
    }

    /// A setting's value, where it is set and right.
    pub fn read_optional<T: Value>(&mut self, setting: &Setting<T>) -> Option<T> {
        let mut found: Option<(&str, T)> = None;
        for name in std::iter::once(setting.name).chain(setting.aliases.iter().copied()) {
            let Some(text) = self.lookup(name) else { continue };
            match check(setting, name, &text.trim().to_ascii_lowercase()) {
                Err(what) => self.problem(name, what),
                Ok(value) => match found {
                    Some((first, other)) if other != value => self.contradiction(first, name),
                    Some(_) => {}
                    None => found = Some((name, value)),
                },
            }
        }
        found.map(|(_, value)| value)
    }

    /// The text of a setting and the name that it was found under; an empty text counts as not set.
    pub fn text(&mut self, name: &'static str, aliases: &[&'static str]) -> Option<(&'static str, String)> {
        let mut found: Option<(&str, String)> = None;
        for name in std::iter::once(name).chain(aliases.iter().copied()) {
            match (self.lookup(name), &found) {
                (Some(text), None) => found = Some((name, text)),
                (Some(text), Some((first, other))) if *other != text => {
                    let first = *first;
                    self.contradiction(first, name);
                }
                _ => {}
            }
        }
        found
    }

    fn lookup(&self, name: &str) -> Option<String> {
        (self.lookup)(name).filter(|text| !text.trim().is_empty())
    }

    fn contradiction(&mut self, first: &str, second: &str) {
        self.problem(second, format!("says something else than {first}, which means the same: unset one"));
    }

    /// Records a problem; `what` says what was found and what is allowed, and never a password.
    pub fn problem(&mut self, name: impl Into<String>, what: impl Into<String>) {
        self.problems.push(Problem { name: name.into(), what: what.into() });
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// [`InvalidSettings`] with every problem that was found.
    pub fn finish(self) -> Result<(), InvalidSettings> {
        if self.problems.is_empty() { Ok(()) } else { Err(InvalidSettings { problems: self.problems }) }
    }
}

/// Reads and checks one text; the error says what was found and what is allowed.
fn check<T: Value>(setting: &Setting<T>, name: &str, text: &str) -> Result<T, String> {
    if setting.unit_required.contains(&name) && text.parse::<f64>().is_ok() {
        return Err(format!("{text:?} has no unit: write {text}s for seconds or {text}ms for milliseconds"));
    }
    match T::parse(text) {
        None => Err(format!("found {text:?}, allowed is {}", T::ALLOWED)),
        Some(value) if value < setting.min || value > setting.max => {
            let (min, max) = (setting.min.print(), setting.max.print());
            Err(format!("found {}, allowed is {min} to {max}", value.print()))
        }
        Some(value) => Ok(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Setting<Duration> = Setting {
        name: "DB_TIMEOUT",
        aliases: &["DB_WAIT"],
        meaning: "How long.",
        default: [Duration::from_secs(1); 4],
        min: Duration::from_millis(10),
        max: Duration::from_secs(60),
        unit_required: &[],
    };
    const SECONDS: Setting<Duration> =
        Setting { name: "DB_SECONDS", aliases: &[], unit_required: &["DB_SECONDS"], ..TIMEOUT };
    const SIZE: Setting<Bytes> = Setting {
        name: "DB_SIZE",
        aliases: &[],
        meaning: "How much.",
        default: [Bytes(1); 4],
        min: Bytes(1),
        max: Bytes(1 << 40),
        unit_required: &[],
    };

    fn lookup<'a>(pairs: &'a [(&'a str, &'a str)]) -> impl Fn(&str) -> Option<String> + 'a {
        |name| pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
    }

    #[track_caller]
    fn check_duration(text: &str, expected: Duration) {
        let pairs = [("DB_TIMEOUT", text)];
        let known = lookup(&pairs);
        let mut reader = Reader::new(&known, Environment::Test);
        assert_eq!(reader.read(&TIMEOUT), expected, "{text}");
        reader.finish().unwrap();
    }

    #[test]
    fn durations_are_read_with_and_without_a_unit() {
        check_duration("250ms", Duration::from_millis(250));
        check_duration("30s", Duration::from_secs(30));
        check_duration("1m", Duration::from_secs(60));
        check_duration("1.5s", Duration::from_millis(1500));
        check_duration("500", Duration::from_millis(500));
        check_duration("", Duration::from_secs(1));
    }

    #[test]
    fn sizes_are_read_and_printed() {
        for (text, bytes) in [("100mb", 100 << 20), ("512kb", 512 << 10), ("7", 7), ("2gb", 2 << 30)] {
            assert_eq!(Bytes::parse(text), Some(Bytes(bytes)), "{text}");
        }
        assert_eq!(Bytes(100 << 20).print(), "100mb");
        assert_eq!(Bytes::parse("99999999999tb"), None);
    }

    #[test]
    fn one_error_lists_everything_that_is_wrong() {
        let pairs = [("DB_TIMEOUT", "soon"), ("DB_SIZE", "0"), ("DB_SECONDS", "10")];
        let known = lookup(&pairs);
        let mut reader = Reader::new(&known, Environment::Production);
        reader.read(&TIMEOUT);
        reader.read(&SIZE);
        reader.read(&SECONDS);
        insta::assert_snapshot!(reader.finish().unwrap_err(), @r#"
        3 settings are wrong:
          DB_TIMEOUT: found "soon", allowed is a duration such as 250ms, 30s, 5m, 1h or bare milliseconds
          DB_SIZE: found 0b, allowed is 1b to 1tb
          DB_SECONDS: "10" has no unit: write 10s for seconds or 10ms for milliseconds
        "#);
    }

    #[test]
    fn an_alias_counts_and_a_contradiction_is_an_error() {
        let same = [("DB_TIMEOUT", "20ms"), ("DB_WAIT", "20")];
        let known = lookup(&same);
        let mut reader = Reader::new(&known, Environment::Test);
        assert_eq!(reader.read(&TIMEOUT), Duration::from_millis(20));
        reader.finish().unwrap();

        let different = [("DB_TIMEOUT", "20ms"), ("DB_WAIT", "30ms")];
        let known = lookup(&different);
        let mut reader = Reader::new(&known, Environment::Test);
        reader.read(&TIMEOUT);
        let error = reader.finish().unwrap_err();
        assert_eq!(error.problems[0].name, "DB_WAIT");

        let alias = [("DB_WAIT", "30ms")];
        let known = lookup(&alias);
        assert_eq!(Reader::new(&known, Environment::Test).read(&TIMEOUT), Duration::from_millis(30));
    }
}
