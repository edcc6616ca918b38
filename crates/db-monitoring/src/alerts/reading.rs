//! One condition as it is at one look: fine, bad, between both, or not known.

use db_notify::Severity;
use serde::{Deserialize, Serialize};

/// How a condition is at one look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// It is not there.
    Fine,
    /// Neither bad enough to raise an incident nor good enough to end one.
    Between,
    /// Somebody should look today.
    Warning,
    /// Somebody must look now.
    Critical,
    /// It cannot be told. That ends no incident, and raises none.
    Unknown,
}

/// One condition at one look.
///
/// ```
/// use db_monitoring::alerts::{Level, Reading};
///
/// let reading = Reading::new("db1:5432/archiver", Level::Critical, "The archiver fails")
///     .saying("it failed 12 times in a row")
///     .fact("last_failed_wal", "00000001000000000000002A");
/// assert_eq!(reading.level, Level::Critical);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Reading {
    /// What it is about: the same from look to look, and from replica to replica.
    pub key: String,
    /// How it is.
    pub level: Level,
    /// One line. Never a bind value, a constant of a statement, a password or a value of a row.
    pub title: String,
    /// What was found and what to do, under the same rule.
    #[serde(default)]
    pub text: String,
    /// What a reader looks for, by name.
    #[serde(default)]
    pub facts: Vec<(String, String)>,
}

impl Reading {
    /// A condition that is so.
    pub fn new(key: impl Into<String>, level: Level, title: impl Into<String>) -> Self {
        Reading { key: key.into(), level, title: title.into(), text: String::new(), facts: Vec::new() }
    }

    /// The same, with what was found.
    #[must_use]
    pub fn saying(mut self, text: impl Into<String>) -> Self {
        self.text = text.into();
        self
    }

    /// The same, with one more fact.
    #[must_use]
    pub fn fact(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.facts.push((name.into(), value.into()));
        self
    }
}

impl Level {
    /// How grave it is, if it is bad.
    pub fn severity(self) -> Option<Severity> {
        match self {
            Level::Warning => Some(Severity::Warning),
            Level::Critical => Some(Severity::Critical),
            Level::Fine | Level::Between | Level::Unknown => None,
        }
    }

    /// The worse of two looks at one condition by two replicas. What one of them cannot tell, the other may.
    #[must_use]
    pub fn or_worse(self, other: Level) -> Level {
        let rank = |level| match level {
            Level::Unknown => 0,
            Level::Fine => 1,
            Level::Between => 2,
            Level::Warning => 3,
            Level::Critical => 4,
        };
        if rank(other) > rank(self) { other } else { self }
    }
}
