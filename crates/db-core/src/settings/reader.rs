//! Reads settings from names and texts, and remembers everything that is wrong with them.

use std::str::FromStr;

use super::{
    FromSettings, Group, InvalidSettings, NamedEnvironment, Notice, Problem, Setting, Text, Value, typos,
};
use crate::Environment;

/// Reads settings, and remembers everything that was wrong.
pub struct Reader<'a> {
    lookup: &'a dyn Fn(&str) -> Option<String>,
    environment: Environment,
    named: Option<Environment>,
    problems: Vec<Problem>,
    notices: Vec<Notice>,
}

impl<'a> Reader<'a> {
    /// A reader of what `lookup` knows; defaults are those of `environment`.
    pub fn new(lookup: &'a dyn Fn(&str) -> Option<String>, environment: Environment) -> Self {
        Reader { lookup, environment, named: None, problems: Vec::new(), notices: Vec::new() }
    }

    /// A reader of what `lookup` knows, `APP_ENV` included: defaults are those of the environment that it
    /// names, else those of development.
    pub fn of(lookup: &'a dyn Fn(&str) -> Option<String>) -> Self {
        let mut reader = Reader::new(lookup, Environment::Development);
        let NamedEnvironment(named) = reader.get();
        reader.environment = named.unwrap_or(reader.environment);
        reader.named = named;
        reader
    }

    /// The environment that was named; none where nobody named one that there is.
    pub fn named_environment(&self) -> Option<Environment> {
        self.named
    }

    /// The environment whose defaults apply.
    pub fn environment(&self) -> Environment {
        self.environment
    }

    /// What a crate reads from settings.
    pub fn get<T: FromSettings>(&mut self) -> T {
        T::read(self)
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

    /// A setting's text without blanks around it, and the name that it was found under; an empty text counts
    /// as not set.
    pub fn text(&mut self, setting: &Text) -> Option<(&'static str, String)> {
        let mut found: Option<(&'static str, String)> = None;
        for name in std::iter::once(setting.name).chain(setting.aliases.iter().copied()) {
            match (self.lookup(name), &found) {
                (Some(text), None) => found = Some((name, text.trim().to_owned())),
                (Some(text), Some((first, other))) if *other != text.trim() => {
                    let first = *first;
                    self.contradiction(first, name);
                }
                _ => {}
            }
        }
        found
    }

    /// What a setting's text says, where it is set and right.
    ///
    /// The error's text is shown, so it must not contain a secret.
    pub fn parse<T: FromStr<Err: ToString>>(&mut self, setting: &Text) -> Option<T> {
        let (name, text) = self.text(setting)?;
        text.parse().map_err(|error: T::Err| self.problem(name, error.to_string())).ok()
    }

    fn lookup(&self, name: &str) -> Option<String> {
        (self.lookup)(name).filter(|text| !text.trim().is_empty())
    }

    fn contradiction(&mut self, first: &str, second: &str) {
        self.problem(second, format!("says something else than {first}, which means the same: unset one"));
    }

    /// Records a problem; `what` says what was found and what is allowed, and never a password.
    ///
    /// What is read twice is reported once.
    pub fn problem(&mut self, name: impl Into<String>, what: impl Into<String>) {
        let problem = Problem { name: name.into(), what: what.into() };
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }

    /// Records what is not wrong, and may not be what was meant; `what` follows the name in one sentence, and
    /// holds no value.
    pub fn notice(&mut self, name: impl Into<String>, what: impl Into<String>) {
        let notice = Notice { name: name.into(), what: what.into() };
        if !self.notices.contains(&notice) {
            self.notices.push(notice);
        }
    }

    /// Notices names that other libraries read and we do not, with what to write instead.
    pub fn warn_of_foreign_names(&mut self, groups: &[&Group]) {
        for foreign in groups.iter().flat_map(|group| group.elsewhere) {
            let replaced = foreign.unless.is_some_and(|setting| self.lookup(setting).is_some());
            if !replaced && self.lookup(foreign.name).is_some() {
                self.notice(foreign.name, format!("is not read: {}", foreign.instead));
            }
        }
    }

    /// Notices those of `names` that look like a misspelt name of ours ([`typos`]).
    pub fn warn_of_typos<'n>(&mut self, names: impl IntoIterator<Item = &'n str>, groups: &[&Group]) {
        for (name, meant) in typos(names, groups) {
            self.notice(name, format!("is not read: it looks like {meant}"));
        }
    }

    /// Ends the reading, and returns what should be logged.
    ///
    /// # Errors
    /// [`InvalidSettings`] with every problem that was found.
    pub fn finish(self) -> Result<Vec<Notice>, InvalidSettings> {
        let Reader { problems, notices, .. } = self;
        if problems.is_empty() { Ok(notices) } else { Err(InvalidSettings { problems, notices }) }
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
            Err(format!("found {}, allowed is {}", value.print(), T::between(setting.min, setting.max)))
        }
        Some(value) => Ok(value),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::settings::{Bytes, Foreign};

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

    #[test]
    fn names_from_elsewhere_say_what_to_write() {
        const GROUP: Group = Group {
            title: "",
            settings: &[&TIMEOUT],
            elsewhere: &[
                Foreign::new("waitMillis", "write DB_TIMEOUT"),
                Foreign::new("TIMEOUT", "write DB_TIMEOUT").unless("DB_TIMEOUT"),
            ],
        };
        let check = |pairs: &[(&str, &str)], expected: &[&str]| {
            let known = lookup(pairs);
            let mut reader = Reader::new(&known, Environment::Test);
            reader.warn_of_foreign_names(&[&GROUP]);
            let notices: Vec<String> = reader.finish().unwrap().iter().map(ToString::to_string).collect();
            assert_eq!(notices, expected, "{pairs:?}");
        };
        check(&[("waitMillis", "5"), ("TIMEOUT", "")], &["waitMillis is not read: write DB_TIMEOUT"]);
        check(&[("TIMEOUT", "5")], &["TIMEOUT is not read: write DB_TIMEOUT"]);
        check(&[("TIMEOUT", "5"), ("DB_TIMEOUT", "5s")], &[]);
    }

    #[test]
    fn what_is_read_twice_is_reported_once() {
        let pairs = [("DB_TIMEOUT", "soon")];
        let known = lookup(&pairs);
        let mut reader = Reader::new(&known, Environment::Test);
        reader.read(&TIMEOUT);
        reader.read(&TIMEOUT);
        assert_eq!(reader.finish().unwrap_err().problems.len(), 1);
    }
}
