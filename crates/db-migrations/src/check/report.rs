//! What a check found, in the shape that scripts read.

use std::path::PathBuf;

use serde::Serialize;

use super::accepted::Accepted;
use super::difference::Difference;
use super::findings::{FailOn, Finding, ROUND_TRIP, Severity};
use super::trace::StatementTrace;
use crate::source::Migration;

/// How a direction of a migration went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Outcome {
    /// It ran.
    #[serde(rename = "ok")]
    Ok,
    /// The server refused it.
    #[serde(rename = "error")]
    Error,
    /// There is no such file.
    #[serde(rename = "missing")]
    Missing,
    /// It was not tried.
    #[serde(rename = "not checked")]
    NotChecked,
}

/// Whether the schema is the same after up and down, and after up, down, up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum RoundTrip {
    /// It is.
    #[serde(rename = "same")]
    Same,
    /// It is not.
    #[serde(rename = "differs")]
    Differs,
    /// There is no down, or one of the directions failed.
    #[serde(rename = "not checked")]
    NotChecked,
}

/// What was found in one migration.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MigrationCheck {
    /// Its version.
    pub version: String,
    /// Its name.
    pub name: String,
    /// Its directory.
    pub path: PathBuf,
    /// How up.sql went.
    pub up: Outcome,
    /// How down.sql went.
    pub down: Outcome,
    /// Whether up, down and up again lead to the same schema.
    pub round_trip: RoundTrip,
    /// What down.sql lost, left over or changed, and what a second up did otherwise, one line each.
    pub lost: Vec<String>,
    /// Differences that no down.sql can avoid: a column that was dropped and added again stands at the end.
    pub cosmetic: Vec<String>,
    /// What the server said, where a direction failed.
    pub error: Option<String>,
    /// What each statement of up.sql did.
    pub statements: Vec<StatementTrace>,
    /// What is to be looked at.
    pub findings: Vec<Finding>,
    /// What its files accept, and why.
    pub accepted: Vec<Accepted>,
    /// How long the migration's check took, in milliseconds.
    pub ms: f64,
}

impl MigrationCheck {
    pub(crate) fn new(migration: &Migration) -> Self {
        MigrationCheck {
            version: migration.version.as_str().to_owned(),
            name: migration.name.clone(),
            path: migration.path.clone(),
            up: Outcome::NotChecked,
            down: Outcome::NotChecked,
            round_trip: RoundTrip::NotChecked,
            lost: Vec::new(),
            cosmetic: Vec::new(),
            error: None,
            statements: Vec::new(),
            findings: Vec::new(),
            accepted: Vec::new(),
            ms: 0.0,
        }
    }

    /// Notes differences, each behind the words that say when it appeared.
    pub(crate) fn differs(&mut self, when: &str, differences: &[Difference]) {
        for difference in differences {
            let line = format!("{when}{difference}");
            if difference.cosmetic { self.cosmetic.push(line) } else { self.lost.push(line) }
        }
    }

    /// Whether nothing in it must be repaired.
    pub fn passes(&self) -> bool {
        self.passes_at(FailOn::Error)
    }

    /// Whether nothing in it is as bad as that.
    pub fn passes_at(&self, fail_on: FailOn) -> bool {
        let ran = self.up != Outcome::Error && self.down != Outcome::Error;
        let comes_back = self.round_trip != RoundTrip::Differs || self.accepts_round_trip();
        fail_on == FailOn::Never
            || ran && comes_back && !self.findings.iter().any(|finding| fail_on.fails(finding.severity))
    }

    /// Whether its files say why down.sql need not undo all of up.sql.
    pub fn accepts_round_trip(&self) -> bool {
        self.accepted.iter().any(|accepted| accepted.rule == ROUND_TRIP)
    }
}

/// A finding and the file that it is in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileFinding {
    /// The file.
    pub file: String,
    /// What was found there.
    #[serde(flatten)]
    pub finding: Finding,
}

/// The counts of a check.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Summary {
    /// Migrations that were checked.
    pub checked: usize,
    /// Migrations that were applied only because later ones need them.
    pub applied_unchecked: usize,
    /// Migrations whose up.sql failed.
    pub up_errors: usize,
    /// Migrations whose down.sql failed.
    pub down_errors: usize,
    /// Migrations without a down.sql.
    pub down_missing: usize,
    /// Migrations that do not come back to the same schema.
    pub differ: usize,
    /// Findings of severity error.
    pub errors: usize,
    /// Findings of severity warning.
    pub warnings: usize,
    /// The server's version.
    pub server_version: String,
    /// How long everything took, in milliseconds.
    pub ms: f64,
    /// Findings that a file accepts.
    pub accepted: usize,
    /// Whether nothing must be repaired: the exit status.
    pub passes: bool,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct CheckReport {
    /// The migrations that were checked, in order.
    pub migrations: Vec<MigrationCheck>,
    /// What the code that still runs needs and these migrations take away.
    pub missing_for_old_code: Vec<String>,
    /// The counts.
    pub summary: Summary,
}

impl CheckReport {
    /// Every finding with its file, and every failed direction as a finding.
    pub fn file_findings(&self) -> Vec<FileFinding> {
        let mut all = Vec::new();
        for check in &self.migrations {
            let is_file = check.path.extension().is_some_and(|extension| extension == "sql");
            let file = |name: &str| {
                if is_file { check.path.clone() } else { check.path.join(name) }.display().to_string()
            };
            for finding in &check.findings {
                let name = if finding.rule == "round-trip" { "down.sql" } else { "up.sql" };
                all.push(FileFinding { file: file(name), finding: finding.clone() });
            }
            if let Some(error) = check.error.as_ref().filter(|_| check.round_trip != RoundTrip::Differs) {
                // The message begins with the file's name and the line.
                let mut parts = error.splitn(3, ':');
                let (name, line) =
                    (parts.next().unwrap_or("up.sql"), parts.next().and_then(|line| line.parse().ok()));
                let message = parts.next().unwrap_or_default().trim().to_owned();
                let finding = Finding {
                    rule: "failed".to_owned(),
                    severity: Severity::Error,
                    line,
                    message,
                    fix: None,
                };
                all.push(FileFinding { file: file(name), finding });
            }
        }
        all
    }

    pub(crate) fn summarize(&mut self, fail_on: FailOn) {
        let count =
            |test: fn(&MigrationCheck) -> bool| self.migrations.iter().filter(|one| test(one)).count();
        let findings = |severity: Severity| {
            self.migrations
                .iter()
                .flat_map(|one| &one.findings)
                .filter(|finding| finding.severity == severity)
                .count()
        };
        self.summary = Summary {
            checked: self.migrations.len(),
            up_errors: count(|one| one.up == Outcome::Error),
            down_errors: count(|one| one.down == Outcome::Error),
            down_missing: count(|one| one.down == Outcome::Missing),
            differ: count(|one| one.round_trip == RoundTrip::Differs),
            errors: findings(Severity::Error),
            warnings: findings(Severity::Warning),
            accepted: self.migrations.iter().map(|one| one.accepted.len()).sum(),
            passes: self.migrations.iter().all(|one| one.passes_at(fail_on))
                && (self.missing_for_old_code.is_empty() || fail_on == FailOn::Never),
            ..self.summary.clone()
        };
    }
}
