//! What monitoring is told of partitions: a partition that will be missing, before it is.

use db_core::{CheckStatus, PartCheck};

use super::health::Health;
use super::run::Report;
use crate::name::TableName;

const ID: &str = "partitions";
const TITLE: &str = "Partitions to come";

/// What the sets are, for monitoring: one check for each, also for those that are well.
///
/// ```
/// let report = db_maintenance::partitions::Report::default();
/// assert!(db_maintenance::partitions::checks(&report).is_empty());
/// ```
pub fn checks(report: &Report) -> Vec<PartCheck> {
    let sets = report.sets.iter();
    sets.map(|set| {
        let failed = set.failed.first().map(|failed| format!("{}: {}", failed.what, failed.why));
        of(&set.table, &set.health, failed)
    })
    .collect()
}

fn of(table: &TableName, health: &Health, failed: Option<String>) -> PartCheck {
    let fails_now = health.ahead_seconds.is_some_and(|ahead| ahead <= 0) && health.default.is_none();
    let status = match () {
        () if fails_now || !health.missing.is_empty() => CheckStatus::Critical,
        // Half of what the policy keeps ahead is used up: several runs have failed.
        () if health.ahead_seconds.is_some_and(|ahead| ahead < health.wanted_ahead_seconds / 2) => {
            CheckStatus::Warn
        }
        () if health.rows_in_default > 0 || !health.pending.is_empty() || failed.is_some() => {
            CheckStatus::Warn
        }
        () => CheckStatus::Ok,
    };
    let mut check = PartCheck::new(ID, TITLE, status).about(table.to_string());
    if let Some(ahead) = health.ahead_seconds {
        #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
        let ahead = ahead as f64;
        check = check.figure("ahead", ahead, "s");
    }
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    let rows = health.rows_in_default as f64;
    let said = match &failed {
        Some(failed) => format!("{table}: {health}; {failed}"),
        None => format!("{table}: {health}"),
    };
    check.figure("rows_in_default", rows, "1").saying(said).fix(
        "dbctl partitions apply",
        "it takes no exclusive lock on the table, and says first with `dbctl partitions plan` what it \
         would do",
    )
}
