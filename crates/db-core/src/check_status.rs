//! What a check of the database found, and how a part of the platform tells its own.

use std::fmt;

/// The verdict of one check.
///
/// What could not be looked at is `Skipped` and never `Ok`: an alert neither starts nor ends by it.
///
/// ```
/// use db_core::CheckStatus;
///
/// let skipped = CheckStatus::Skipped("the role is no member of pg_monitor".to_owned());
/// assert_eq!(skipped.to_string(), "skipped: the role is no member of pg_monitor");
/// assert!(!skipped.is_problem() && CheckStatus::Warn.is_problem());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum CheckStatus {
    /// Looked at, and well.
    Ok,
    /// Someone should look at it in working hours.
    Warn,
    /// Someone must look at it now.
    Critical,
    /// It could not be known: why, for the person who reads it.
    Skipped(String),
}

impl CheckStatus {
    /// Whether someone has to do something.
    pub fn is_problem(&self) -> bool {
        matches!(self, CheckStatus::Warn | CheckStatus::Critical)
    }

    /// The word for it: `ok`, `warn`, `critical` or `skipped`.
    pub fn word(&self) -> &'static str {
        match self {
            CheckStatus::Ok => "ok",
            CheckStatus::Warn => "warn",
            CheckStatus::Critical => "critical",
            CheckStatus::Skipped(_) => "skipped",
        }
    }
}

impl fmt::Display for CheckStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CheckStatus::Skipped(why) => write!(f, "skipped: {why}"),
            status => f.write_str(status.word()),
        }
    }
}

/// What a part of the platform found out about itself: a cache's slot that holds back the log, a partition
/// that will be missing, a backup that is too old. Monitoring shows it beside its own checks, and alerts go
/// by it.
///
/// ```
/// use db_core::{CheckStatus, PartCheck};
///
/// let old = PartCheck::new("backup-age", "Age of the last backup", CheckStatus::Critical)
///     .about("cluster 7301")
///     .figure("age", 190_000.0, "s")
///     .saying("the last backup is two days old")
///     .fix("dbctl backup take", "it reads from the server and locks nothing");
/// assert_eq!(old.figures, [("age", 190_000.0, "s")]);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct PartCheck {
    /// The check, in lower case with hyphens; stable, because alerts and scripts go by it.
    pub id: &'static str,
    /// What it is called, for people.
    pub title: &'static str,
    /// The verdict.
    pub status: CheckStatus,
    /// What it is about, where a check can find several things: a slot, a table. Stable from one look to the
    /// next.
    pub subject: Option<String>,
    /// Name, value and unit (as UCUM writes it: `s`, `By`, `%`) of what the verdict stands on.
    pub figures: Vec<(&'static str, f64, &'static str)>,
    /// What was found, as a sentence. Never a password, never a value of a row.
    pub summary: String,
    /// What to run, and how to run it safely.
    pub fix: Option<(String, String)>,
}

impl PartCheck {
    /// A check with its verdict.
    pub fn new(id: &'static str, title: &'static str, status: CheckStatus) -> Self {
        PartCheck { id, title, status, subject: None, figures: Vec::new(), summary: String::new(), fix: None }
    }

    /// The same, about this.
    #[must_use]
    pub fn about(mut self, subject: impl Into<String>) -> Self {
        self.subject = Some(subject.into());
        self
    }

    /// The same, with one more figure.
    #[must_use]
    pub fn figure(mut self, name: &'static str, value: f64, unit: &'static str) -> Self {
        self.figures.push((name, value, unit));
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
    pub fn fix(mut self, run: impl Into<String>, safely: impl Into<String>) -> Self {
        self.fix = Some((run.into(), safely.into()));
        self
    }
}
