//! Checks of vacuum: dead rows, stale statistics, and transaction numbers that run out.

use db_core::CheckStatus;

use crate::checks::bound::NEVER;
use crate::checks::evidence::known;
use crate::checks::{Bound, Check, Evidence, Findings, finding, qualified, quoted};
use crate::server::TableStats;
use crate::{Subject, SubjectKind, amount};

const DEAD: Bound = Bound {
    of: "dead rows beyond what autovacuum tolerates, of all",
    warn: 10.0,
    critical: NEVER,
    unit: "%",
};
const CHANGED: Bound =
    Bound { of: "rows changed since the last ANALYZE", warn: 20.0, critical: NEVER, unit: "%" };
const AGE: Bound =
    Bound { of: "age, against autovacuum_freeze_max_age", warn: 120.0, critical: 500.0, unit: "%" };
/// The server refuses writes about three million transactions before two thousand million.
const NEAR_THE_END: f64 = 1_500_000_000.0;

/// Fewer dead rows are not worth a word.
const ENOUGH_DEAD: f64 = 10_000.0;
/// Autovacuum comes by at least this often: what is due for longer is late, in seconds.
const LATE: f64 = 3_600.0;
/// A table with fewer rows is planned well without statistics.
const ENOUGH_ROWS: f64 = 1_000.0;

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "dead-rows",
        title: "Dead rows that nobody cleans up",
        looks_at: "tables over autovacuum's own threshold, those of the table included, which had no vacuum for an hour and have \
                   none now.",
        bounds: &[&DEAD],
        well: "autovacuum keeps up",
        sql: "SELECT relid::regclass, n_live_tup, n_dead_tup, last_autovacuum FROM pg_stat_user_tables ORDER BY n_dead_tup DESC LIMIT 20",
        judge: dead_rows,
    },
    Check {
        id: "stale-statistics",
        title: "Statistics that are out of date",
        looks_at: "rows that changed since the last ANALYZE, beyond autovacuum's own threshold, and tables that never had one.",
        bounds: &[&CHANGED],
        well: "the planner's statistics are up to date",
        sql: "SELECT relid::regclass, n_mod_since_analyze, last_analyze, last_autoanalyze FROM pg_stat_user_tables \
              ORDER BY n_mod_since_analyze DESC LIMIT 20",
        judge: stale_statistics,
    },
    Check {
        id: "wraparound",
        title: "Transaction numbers that run out",
        looks_at: "the age of the oldest row that is not frozen, and of the oldest multixact, by database and table. Critical also \
                   beyond 1.5 thousand million: at 2 the server refuses writes.",
        bounds: &[&AGE],
        well: "transaction numbers are far from running out",
        sql: "SELECT datname, age(datfrozenxid), mxid_age(datminmxid) FROM pg_database ORDER BY 2 DESC",
        judge: wraparound,
    },
];

/// An option of a table, or the setting where it has none.
fn option(evidence: &Evidence<'_>, table: &TableStats, name: &str) -> Result<f64, String> {
    let own =
        table.reloptions.iter().flatten().find_map(|option| option.strip_prefix(name)?.strip_prefix('='));
    match own.and_then(|value| value.parse().ok()) {
        Some(value) => Ok(value),
        None => evidence.setting(name),
    }
}

fn dead_rows(evidence: &Evidence<'_>) -> Findings {
    let now = evidence.now.server.at().and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
    let now = now.map_or(0.0, |now| now.as_secs_f64()) + evidence.primary()?.clock_ahead;
    let progress = known(&evidence.now.progress)?;
    let mut found = Vec::new();
    for database in evidence.now.by_database.values() {
        for table in known(&database.tables)?.iter().filter(|table| table.relkind != "p") {
            let rows = table.reltuples.max(0.0);
            let dead = table.n_dead_tup as f64;
            let due = option(evidence, table, "autovacuum_vacuum_threshold")?
                + option(evidence, table, "autovacuum_vacuum_scale_factor")? * rows;
            // From 18 on.
            let most =
                option(evidence, table, "autovacuum_vacuum_max_threshold").ok().filter(|most| *most >= 0.0);
            let due = most.map_or(due, |most| due.min(most));
            let share = 100.0 * dead / (rows + dead).max(1.0);
            if dead <= due || dead < ENOUGH_DEAD {
                continue;
            }
            let Some(status) = DEAD.exceeded(share) else { continue };
            let last = table.last_vacuum.unwrap_or(0.0).max(table.last_autovacuum.unwrap_or(0.0));
            let under_way =
                progress.iter().any(|one| one.kind == "vacuum" && one.relation == Some(table.oid));
            if now - last < LATE || under_way {
                continue;
            }
            let name = qualified(&table.schemaname, &table.relname);
            let text =
                format!("{} dead rows in {name}, {share:.0} % of it, and no vacuum", amount(dead, "1"));
            found.push(
                finding(status, text)
                    .about(Subject::new(SubjectKind::Table, name.clone()))
                    .figure("dead", dead, "{row}")
                    .figure("share", share, "%")
                    .figure("due", due, "{row}")
                    .fix(
                        format!("VACUUM (ANALYZE) {name}"),
                        "it blocks no reader and no writer; if it cleans up nothing, something holds the horizon: see xmin-horizon",
                    ),
            );
        }
    }
    if evidence.now.by_database.is_empty() {
        Err("no database was looked at yet".to_owned())
    } else {
        Ok(found)
    }
}

fn stale_statistics(evidence: &Evidence<'_>) -> Findings {
    evidence.primary()?;
    let mut found = Vec::new();
    for database in evidence.now.by_database.values() {
        for table in known(&database.tables)?.iter().filter(|table| table.relkind != "p") {
            let rows = table.reltuples.max(table.n_live_tup as f64);
            let changed = table.n_mod_since_analyze as f64;
            if rows < ENOUGH_ROWS && changed < ENOUGH_ROWS {
                continue;
            }
            let name = qualified(&table.schemaname, &table.relname);
            let never = table.last_analyze.is_none() && table.last_autoanalyze.is_none();
            let due = option(evidence, table, "autovacuum_analyze_threshold")?
                + option(evidence, table, "autovacuum_analyze_scale_factor")? * rows;
            let share = 100.0 * changed / rows.max(1.0);
            let text = if never && table.reltuples < 0.0 {
                format!("{name} was never analyzed: the planner guesses")
            } else if changed > due && CHANGED.exceeded(share).is_some() {
                format!("{share:.0} % of {name} changed since it was analyzed")
            } else {
                continue;
            };
            found.push(
                finding(CheckStatus::Warn, text)
                    .about(Subject::new(SubjectKind::Table, name.clone()))
                    .figure("changed", changed, "{row}")
                    .figure("share", share, "%")
                    .fix(format!("ANALYZE {name}"), "it reads a sample, and blocks no reader and no writer"),
            );
        }
    }
    if evidence.now.by_database.is_empty() {
        Err("no database was looked at yet".to_owned())
    } else {
        Ok(found)
    }
}

fn wraparound(evidence: &Evidence<'_>) -> Findings {
    let xid_max = evidence.setting("autovacuum_freeze_max_age")?;
    let mxid_max = evidence.setting("autovacuum_multixact_freeze_max_age")?;
    let judge = |xid: f64, mxid: f64| {
        let verdicts =
            [AGE.verdict(100.0 * xid / xid_max.max(1.0)), AGE.verdict(100.0 * mxid / mxid_max.max(1.0))];
        if xid.max(mxid) > NEAR_THE_END || verdicts.contains(&CheckStatus::Critical) {
            Some(CheckStatus::Critical)
        } else {
            verdicts.contains(&CheckStatus::Warn).then_some(CheckStatus::Warn)
        }
    };
    let mut found = Vec::new();
    for one in known(&evidence.now.databases)? {
        let (xid, mxid) = (one.frozen_xid_age as f64, one.min_mxid_age as f64);
        if let Some(status) = judge(xid, mxid) {
            let text = format!("the oldest row of {} is {} transactions old", one.datname, amount(xid, "1"));
            found.push(
                finding(status, text)
                    .about(Subject::new(SubjectKind::Database, one.datname.clone()))
                    .figure("age", xid, "{transaction}")
                    .figure("multixact_age", mxid, "{multixact}")
                    .fix(
                        format!("vacuumdb --freeze --dbname={}", quoted(&one.datname)),
                        "it blocks no reader and no writer; see xmin-horizon for what keeps autovacuum from doing it",
                    ),
            );
        }
    }
    for table in evidence.now.by_database.values().filter_map(|database| database.tables.get().ok()).flatten()
    {
        let (xid, mxid) = (table.frozen_xid_age.unwrap_or(0) as f64, table.min_mxid_age.unwrap_or(0) as f64);
        if let Some(status) = judge(xid, mxid) {
            let name = qualified(&table.schemaname, &table.relname);
            found.push(
                finding(status, format!("the oldest row of {name} is {} transactions old", amount(xid, "1")))
                    .about(Subject::new(SubjectKind::Table, name.clone()))
                    .figure("age", xid, "{transaction}")
                    .figure("multixact_age", mxid, "{multixact}")
                    .fix(format!("VACUUM (FREEZE) {name}"), "it blocks no reader and no writer"),
            );
        }
    }
    Ok(found)
}
