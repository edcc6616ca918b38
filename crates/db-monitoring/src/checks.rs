//! The catalogue of checks: each a pure function of what was read, so that it says the same of the same
//! evidence.
//!
//! A check that lacks a part of its evidence is skipped and says why. Counters are compared between two looks
//! at the same server, and are no evidence where they were reset in between.

mod bound;
mod checker;
mod connections;
mod evidence;
mod indexes;
mod locks;
mod page;
mod replication;
mod server_wide;
mod settings;
mod statements;
mod tables;
mod vacuum;

use std::collections::BTreeSet;

use db_core::CheckStatus;
use serde::Serialize;

use crate::CheckResult;
pub use bound::Bound;
pub use checker::Checker;
pub use evidence::{BlockingLook, Evidence};
pub use page::page;

pub use crate::visit::{TopStatement, Visit};

/// At most this many findings of one check are told one by one.
const MOST_FINDINGS: usize = 50;

/// What a check answers: its findings, none if all is well; or why it cannot know.
type Findings = Result<Vec<CheckResult>, String>;

/// One check of the catalogue.
///
/// ```
/// let check = db_monitoring::checks::all().find(|check| check.id == "blocking").unwrap();
/// assert_eq!(check.bounds[0].warn, 5.0);
/// ```
#[derive(Debug, Serialize)]
#[non_exhaustive]
pub struct Check {
    /// Its name, in lower case with hyphens; stable.
    pub id: &'static str,
    /// What it is called, for people.
    pub title: &'static str,
    /// What it looks at, and what follows from it.
    pub looks_at: &'static str,
    /// Where it begins to warn, and where someone must look now.
    pub bounds: &'static [&'static Bound],
    /// What it says when all is well.
    pub well: &'static str,
    /// A statement that shows the same to a person.
    pub sql: &'static str,
    /// Decides.
    #[serde(skip)]
    judge: fn(&Evidence<'_>) -> Findings,
}

/// What a check cannot do without, by its name: where such a column is missing, an absent figure would look
/// well.
const NEEDS: [(&str, &[&str]); 8] = [
    ("idle-in-transaction", &["pg_stat_activity.state", "pg_stat_activity.state_age"]),
    ("long-transactions", &["pg_stat_activity.xact_age", "pg_stat_activity.query_age"]),
    (
        "xmin-horizon",
        &[
            "pg_stat_activity.xmin_age",
            "pg_prepared_xacts.xid_age",
            "pg_replication_slots.xmin_age",
            "pg_replication_slots.catalog_xmin_age",
            "pg_stat_replication.xmin_age",
        ],
    ),
    ("exclusive-lock-waits", &["pg_locks.waited"]),
    ("archiver", &["pg_stat_archiver.last_archived_age", "pg_stat_archiver.last_failed_age"]),
    (
        "slots",
        &["pg_replication_slots.active", "pg_replication_slots.retained", "pg_replication_slots.wal_status"],
    ),
    ("replication-lag", &["pg_stat_replication.replayed", "pg_stat_replication.replay_lag"]),
    ("rollbacks", &["pg_stat_database.checksum_failures"]),
];

/// A column that the check needs and the server does not have.
fn missing_column(check: &Check, evidence: &Evidence<'_>) -> Option<&'static str> {
    let (_, needs) = NEEDS.iter().find(|(id, _)| *id == check.id)?;
    needs.iter().copied().find(|column| evidence.now.missing_columns.contains(*column))
}

/// All checks, in the order in which reports show them.
pub fn all() -> impl Iterator<Item = &'static Check> {
    let groups: [&[Check]; 9] = [
        connections::CHECKS,
        locks::CHECKS,
        statements::CHECKS,
        indexes::CHECKS,
        tables::CHECKS,
        vacuum::CHECKS,
        server_wide::CHECKS,
        replication::CHECKS,
        settings::CHECKS,
    ];
    groups.into_iter().flatten()
}

/// Which checks are wanted: all, only some, or all but some.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// Only these, if there are any.
    pub only: BTreeSet<String>,
    /// Not these.
    pub skip: BTreeSet<String>,
}

impl Selection {
    /// Whether this check is wanted.
    pub fn wants(&self, id: &str) -> bool {
        (self.only.is_empty() || self.only.contains(id)) && !self.skip.contains(id)
    }

    /// The names that no check has.
    pub fn unknown(&self) -> Vec<&str> {
        let names = self.only.iter().chain(&self.skip).map(String::as_str);
        names.filter(|name| all().all(|check| check.id != *name)).collect()
    }
}

/// Runs all wanted checks over the evidence. Each answers at least once.
///
/// ```
/// use db_monitoring::checks::{self, Evidence, Selection};
/// use db_monitoring::server::Snapshot;
///
/// let nothing = Snapshot::default();
/// let results = checks::judge(&Evidence::of(&nothing), &Selection::default());
/// assert!(results.len() >= checks::all().count());
/// assert!(results.iter().all(|result| result.status.word() != "ok")); // nothing is known: nothing is well
/// ```
pub fn judge(evidence: &Evidence<'_>, selection: &Selection) -> Vec<CheckResult> {
    let server = evidence.server_name();
    let one = |check: &'static Check| {
        // A check of ours that panics hides no other.
        let findings = match missing_column(check, evidence) {
            Some(column) => Err(format!("this server has no column for {column}")),
            None => db_core::foreign::call(|| (check.judge)(evidence))
                .unwrap_or_else(|| Err("the check panicked: this is a fault of db-monitoring".to_owned())),
        };
        answers(check, findings)
            .into_iter()
            .map(|result| result.of_server(server.clone()))
            .collect::<Vec<_>>()
    };
    all().filter(|check| selection.wants(check.id)).flat_map(one).collect()
}

fn answers(check: &'static Check, findings: Findings) -> Vec<CheckResult> {
    let mut results = match findings {
        Ok(found) if found.is_empty() => vec![finding(CheckStatus::Ok, check.well)],
        Ok(found) => found,
        Err(why) => vec![finding(CheckStatus::Skipped(why.clone()), why)],
    };
    // The gravest first; the judge's own order within.
    results.sort_by_key(|result| gravity(&result.status));
    if results.len() > MOST_FINDINGS {
        let more = results.len() - MOST_FINDINGS;
        let status = results.get(MOST_FINDINGS).map_or(CheckStatus::Warn, |result| result.status.clone());
        results.truncate(MOST_FINDINGS);
        results.push(finding(status, format!("and {more} more")).figure("more", more as f64, "1"));
    }
    for result in &mut results {
        result.id = check.id.into();
        result.title = check.title.into();
        result.sql = check.sql.into();
    }
    results
}

fn gravity(status: &CheckStatus) -> u8 {
    match status {
        CheckStatus::Critical => 0,
        CheckStatus::Warn => 1,
        CheckStatus::Skipped(_) => 2,
        CheckStatus::Ok => 3,
    }
}

/// A finding; the check's name is filled in for all.
fn finding(status: CheckStatus, summary: impl Into<String>) -> CheckResult {
    CheckResult::new("", "", status).saying(summary)
}

/// That a part of the evidence is missing.
fn unknown(why: impl Into<String>) -> CheckResult {
    let why = why.into();
    finding(CheckStatus::Skipped(why.clone()), why)
}

/// A name as SQL wants it, if it is not plain.
fn quoted(name: &str) -> String {
    let plain = !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
        && !name.as_bytes()[0].is_ascii_digit();
    if plain { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

/// A text as SQL wants it.
fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// A qualified name.
fn qualified(schema: &str, name: &str) -> String {
    format!("{}.{}", quoted(schema), quoted(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::Snapshot;

    #[test]
    fn every_check_has_a_name_of_its_own() {
        let names: BTreeSet<_> = all().map(|check| check.id).collect();
        assert_eq!(names.len(), all().count());
    }

    #[test]
    fn a_check_whose_column_is_missing_is_skipped() {
        assert!(NEEDS.iter().all(|(id, _)| all().any(|check| check.id == *id)));
        let missing = BTreeSet::from(["pg_locks.waited".to_owned()]);
        let look = Snapshot { missing_columns: std::sync::Arc::new(missing), ..Snapshot::default() };
        let only = BTreeSet::from(["exclusive-lock-waits".to_owned()]);
        let results = judge(&Evidence::of(&look), &Selection { only, ..Selection::default() });
        assert!(results[0].summary.contains("pg_locks.waited"), "{results:?}");
    }

    #[test]
    fn without_evidence_no_check_is_ok() {
        let nothing = Snapshot::default();
        for result in judge(&Evidence::of(&nothing), &Selection::default()) {
            assert!(matches!(result.status, CheckStatus::Skipped(_)), "{}: {}", result.id, result.summary);
        }
    }

    #[test]
    fn a_name_that_no_check_has_is_said() {
        let only = BTreeSet::from(["blocking".to_owned(), "blokking".to_owned()]);
        assert_eq!(Selection { only, ..Selection::default() }.unknown(), ["blokking"]);
    }
}
