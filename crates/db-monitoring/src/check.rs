//! What a check of the database found: the verdict, about what, with which figures, and what to do about it.
//!
//! Alerts, reports and the dashboard stand on [`CheckResult`], and its JSON is stable. A check answers at
//! least one result: one that says `ok`, one that says why it was skipped, or one for each thing that it
//! found.

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use db_core::{CheckStatus, PartCheck, foreign};
use serde::{Deserialize, Serialize};

/// What one check found about one thing.
///
/// ```
/// use db_core::CheckStatus;
/// use db_monitoring::{CheckResult, Subject};
///
/// let found = CheckResult::new("blocking", "Sessions that wait for a lock", CheckStatus::Warn)
///     .of_server("db1:5432")
///     .about(Subject::session(4711))
///     .figure("blocked_for", 12.5, "s")
///     .saying("session 4711 has blocked another one for 12.5 s")
///     .fix("SELECT pg_cancel_backend(4711)", "it ends the statement; the session goes on");
/// assert_eq!(found.identity(), "db1:5432/blocking/session:4711");
/// let json = serde_json::to_value(&found).unwrap();
/// assert_eq!((&json["status"], &json["subject"]["kind"]), (&"warn".into(), &"session".into()));
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CheckResult {
    /// The check, in lower case with hyphens, as `--only` and alerts name it.
    pub id: Cow<'static, str>,
    /// What it is called, for people.
    pub title: Cow<'static, str>,
    /// The verdict. In JSON `status`, and for a skipped one `reason`.
    #[serde(flatten, with = "StatusInJson")]
    pub status: CheckStatus,
    /// The server that was looked at.
    pub server: String,
    /// What it is about; none where it is the server as a whole.
    #[serde(default)]
    pub subject: Option<Subject>,
    /// What the verdict stands on.
    #[serde(default)]
    pub evidence: Vec<Figure>,
    /// What was found, as a sentence. Never a bind value, a constant of a statement, a password or a value of
    /// a row.
    pub summary: String,
    /// What to do about it.
    #[serde(default)]
    pub fix: Option<Fix>,
    /// The statement that was asked; empty where nothing was.
    #[serde(default)]
    pub sql: Cow<'static, str>,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "CheckStatus", tag = "status", content = "reason", rename_all = "lowercase")]
enum StatusInJson {
    Ok,
    Warn,
    Critical,
    Skipped(String),
}

/// One figure with its unit.
///
/// ```
/// let figure = db_monitoring::Figure { name: "retained".into(), value: 1.5e9, unit: "By".into() };
/// assert_eq!(figure.to_string(), "retained 1.4 GiB");
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// What it counts, in lower case with underscores.
    pub name: Cow<'static, str>,
    /// How much.
    pub value: f64,
    /// The unit, as UCUM writes it: `s`, `By`, `%`, `1`.
    pub unit: Cow<'static, str>,
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, amount(self.value, &self.unit))
    }
}

/// What a check's result is about. Its identity is the same from one look to the next.
///
/// ```
/// use db_monitoring::{Subject, SubjectKind};
///
/// let table = Subject::new(SubjectKind::Table, "public.orders");
/// assert_eq!(table.to_string(), "table:public.orders");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Subject {
    /// What kind of thing.
    pub kind: SubjectKind,
    /// Its name: qualified for what lies in a schema, the number for a session.
    pub name: String,
}

/// What a [`Subject`] can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SubjectKind {
    /// A database of the server.
    Database,
    /// A table, qualified.
    Table,
    /// An index, qualified.
    Index,
    /// A sequence, qualified.
    Sequence,
    /// A constraint of a table.
    Constraint,
    /// A session of the server, by its process number.
    Session,
    /// A prepared transaction, by its name.
    PreparedTransaction,
    /// A replication slot.
    Slot,
    /// A standby, by the name that it gives.
    Standby,
    /// A statement, by its query identifier or fingerprint.
    Statement,
    /// A setting.
    Setting,
    /// An extension.
    Extension,
    /// A part of the platform, or a thing of its own.
    Part,
}

impl SubjectKind {
    /// The word for it, as in JSON.
    pub fn word(self) -> &'static str {
        match self {
            SubjectKind::Database => "database",
            SubjectKind::Table => "table",
            SubjectKind::Index => "index",
            SubjectKind::Sequence => "sequence",
            SubjectKind::Constraint => "constraint",
            SubjectKind::Session => "session",
            SubjectKind::PreparedTransaction => "prepared_transaction",
            SubjectKind::Slot => "slot",
            SubjectKind::Standby => "standby",
            SubjectKind::Statement => "statement",
            SubjectKind::Setting => "setting",
            SubjectKind::Extension => "extension",
            SubjectKind::Part => "part",
        }
    }
}

impl Subject {
    /// A thing of this kind.
    pub fn new(kind: SubjectKind, name: impl Into<String>) -> Self {
        Subject { kind, name: name.into() }
    }

    /// A session, by its process number.
    pub fn session(pid: i32) -> Self {
        Subject::new(SubjectKind::Session, pid.to_string())
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind.word(), self.name)
    }
}

/// What to do about a finding.
///
/// ```
/// let fix = db_monitoring::Fix { sql: "ANALYZE orders".into(), safely: "it blocks no reader and no writer".into() };
/// assert_eq!(fix.sql, "ANALYZE orders");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fix {
    /// What to run: SQL, or a command where SQL cannot do it.
    pub sql: Cow<'static, str>,
    /// How to run it safely: what it locks, how long it takes, what to set before.
    pub safely: Cow<'static, str>,
}

impl CheckResult {
    /// A result with its verdict, about the server as a whole.
    pub fn new(
        id: impl Into<Cow<'static, str>>,
        title: impl Into<Cow<'static, str>>,
        status: CheckStatus,
    ) -> Self {
        CheckResult {
            id: id.into(),
            title: title.into(),
            status,
            server: String::new(),
            subject: None,
            evidence: Vec::new(),
            summary: String::new(),
            fix: None,
            sql: Cow::Borrowed(""),
        }
    }

    /// What tells this finding from all others, and is the same at the next look: server, check and subject.
    pub fn identity(&self) -> String {
        match &self.subject {
            Some(subject) => format!("{}/{}/{subject}", self.server, self.id),
            None => format!("{}/{}", self.server, self.id),
        }
    }

    /// The same, of this server.
    #[must_use]
    pub fn of_server(mut self, server: impl Into<String>) -> Self {
        self.server = server.into();
        self
    }

    /// The same, about this.
    #[must_use]
    pub fn about(mut self, subject: Subject) -> Self {
        self.subject = Some(subject);
        self
    }

    /// The same, with one more figure. One that is no number is left out: JSON has no word for it.
    #[must_use]
    pub fn figure(mut self, name: &'static str, value: f64, unit: &'static str) -> Self {
        if value.is_finite() {
            self.evidence.push(Figure { name: name.into(), value, unit: unit.into() });
        }
        self
    }

    /// The same, which says this.
    #[must_use]
    pub fn saying(mut self, summary: impl Into<String>) -> Self {
        self.summary = summary.into();
        self
    }

    /// The same, with what to run and how to run it safely.
    #[must_use]
    pub fn fix(mut self, sql: impl Into<Cow<'static, str>>, safely: impl Into<Cow<'static, str>>) -> Self {
        self.fix = Some(Fix { sql: sql.into(), safely: safely.into() });
        self
    }

    /// The same, found by this statement.
    #[must_use]
    pub fn found_by(mut self, sql: impl Into<Cow<'static, str>>) -> Self {
        self.sql = sql.into();
        self
    }
}

impl From<PartCheck> for CheckResult {
    fn from(part: PartCheck) -> Self {
        let mut result = CheckResult::new(part.id, part.title, part.status).saying(part.summary);
        result.subject = part.subject.map(|name| Subject::new(SubjectKind::Part, name));
        result.fix = part.fix.map(|(sql, safely)| Fix { sql: sql.into(), safely: safely.into() });
        part.figures.into_iter().fold(result, |result, (name, value, unit)| result.figure(name, value, unit))
    }
}

type Source = Arc<dyn Fn() -> Vec<CheckResult> + Send + Sync>;

/// Checks that others bring: a cache's slot, a partition that will be missing, a backup that is too old.
///
/// A source is called from any thread, and tells what it knew when it last looked: it must not block. Cheap
/// to clone; clones share their sources.
///
/// ```
/// use db_core::CheckStatus;
/// use db_monitoring::{CheckResult, OtherChecks};
///
/// let others = OtherChecks::default();
/// others.register("partitions", || vec![CheckResult::new("partitions", "Partitions to come", CheckStatus::Ok)]);
/// others.register("broken", || panic!("a source that panics hides no other"));
/// let results = others.results();
/// assert_eq!(results[0].status, CheckStatus::Ok);
/// assert_eq!(results[1].status.word(), "skipped");
/// ```
#[derive(Clone, Default)]
pub struct OtherChecks {
    sources: Arc<RwLock<Vec<(String, Source)>>>,
}

impl OtherChecks {
    /// Takes in a source; one of the same name takes the earlier one's place.
    pub fn register(
        &self,
        name: impl Into<String>,
        source: impl Fn() -> Vec<CheckResult> + Send + Sync + 'static,
    ) {
        let name = name.into();
        let mut sources = self.sources.write().unwrap_or_else(PoisonError::into_inner);
        sources.retain(|(known, _)| *known != name);
        sources.push((name, Arc::new(source)));
    }

    /// What all sources tell now; of one that panics, that it did.
    pub fn results(&self) -> Vec<CheckResult> {
        let sources = self.sources.read().unwrap_or_else(PoisonError::into_inner).clone();
        let ask = |(name, source): (String, Source)| {
            foreign::call(|| source()).unwrap_or_else(|| {
                let why = CheckStatus::Skipped("the checks of this source panicked".to_owned());
                let result = CheckResult::new("part-checks", "Checks of a part", why);
                vec![result.about(Subject::new(SubjectKind::Part, name))]
            })
        };
        sources.into_iter().flat_map(ask).collect()
    }
}

impl fmt::Debug for OtherChecks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sources = self.sources.read().unwrap_or_else(PoisonError::into_inner);
        let names: Vec<_> = sources.iter().map(|(name, _)| name.clone()).collect();
        f.debug_tuple("OtherChecks").field(&names).finish()
    }
}

/// An amount as people read it: bytes in binary multiples, seconds in the unit that fits, anything else as it
/// is.
pub fn amount(value: f64, unit: &str) -> String {
    match unit {
        "By" => bytes(value),
        "s" => seconds(value),
        "1" => plain(value),
        "%" => format!("{value:.1} %"),
        unit => format!("{} {unit}", plain(value)),
    }
}

fn plain(value: f64) -> String {
    if value.fract() == 0.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}

fn bytes(value: f64) -> String {
    const UNITS: [&str; 6] = ["bytes", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let (mut value, mut unit) = (value, 0);
    while value.abs() >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{value:.0} bytes") } else { format!("{value:.1} {}", UNITS[unit]) }
}

fn seconds(value: f64) -> String {
    match value.abs() {
        below if below < 1.0 => format!("{:.0} ms", value * 1e3),
        below if below < 120.0 => format!("{value:.1} s"),
        below if below < 7_200.0 => format!("{:.0} min", value / 60.0),
        below if below < 172_800.0 => format!("{:.1} h", value / 3_600.0),
        _ => format!("{:.1} days", value / 86_400.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_comes_back_from_its_json_as_it_was() {
        let skipped = CheckStatus::Skipped("no permission".to_owned());
        for status in [CheckStatus::Ok, CheckStatus::Critical, skipped] {
            let result = CheckResult::new("slots", "Replication slots", status)
                .about(Subject::new(SubjectKind::Slot, "cache"))
                .figure("retained", 1.0, "By")
                .fix("SELECT 1", "as it is");
            let json = serde_json::to_string(&result).unwrap();
            assert_eq!(serde_json::from_str::<CheckResult>(&json).unwrap(), result, "{json}");
        }
    }

    #[test]
    fn a_reason_stands_beside_the_word() {
        let skipped = CheckResult::new("a", "A", CheckStatus::Skipped("why".to_owned()));
        let json = serde_json::to_value(skipped).unwrap();
        assert_eq!((&json["status"], &json["reason"]), (&"skipped".into(), &"why".into()));
    }

    #[test]
    fn amounts_read_as_people_write_them() {
        let cases = [
            (512.0, "By", "512 bytes"),
            (3_221_225_472.0, "By", "3.0 GiB"),
            (0.25, "s", "250 ms"),
            (90.0, "s", "90.0 s"),
            (7_300.0, "s", "2.0 h"),
            (12.34, "%", "12.3 %"),
            (7.0, "1", "7"),
        ];
        for (value, unit, text) in cases {
            assert_eq!(amount(value, unit), text);
        }
    }
}
