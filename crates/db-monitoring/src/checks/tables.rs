//! Checks of tables: keys, bloat, numbers that run out, and what somebody meant to put in order again.

use std::collections::HashMap;

use db_core::CheckStatus;

use crate::bloat::BloatKind;
use crate::checks::bound::NEVER;
use crate::checks::evidence::known;
use crate::checks::indexes::unreadable;
use crate::checks::{Bound, Check, Evidence, Findings, finding, qualified, unknown};
use crate::schema_look::Filled;
use crate::server::{Sequence, TableStats};
use crate::{Subject, SubjectKind, amount};

const KEYLESS: Bound =
    Bound { of: "rows of a table without a primary key", warn: 1_000.0, critical: NEVER, unit: "{row}" };
pub(super) const BLOAT: Bound =
    Bound { of: "bloat of a table over 200 MiB", warn: 40.0, critical: 80.0, unit: "%" };
const NUMBERS: Bound =
    Bound { of: "numbers of a sequence or key that are used up", warn: 75.0, critical: 90.0, unit: "%" };
const SCANS: Bound = Bound {
    of: "rows that each scan of a whole table reads",
    warn: 10_000.0,
    critical: NEVER,
    unit: "{row}",
};
const GROWTH: Bound = Bound { of: "days of room, with a minus sign", warn: -30.0, critical: -7.0, unit: "d" };
const HOT: Bound = Bound { of: "updates that touch every index", warn: 50.0, critical: NEVER, unit: "%" };

/// Smaller tables are not worth a rewrite, in bytes.
const LARGE_TABLE: f64 = 209_715_200.0;
/// Fewer scans of a whole table are somebody's report.
const ENOUGH_SCANS: i64 = 100;
/// Fewer updates say nothing.
const ENOUGH_UPDATES: i64 = 10_000;
/// A line through less history leads anywhere, in seconds.
const ENOUGH_HISTORY: f64 = 86_400.0;
/// As much history as counts, in seconds: 14 days.
const HISTORY: f64 = 1_209_600.0;

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "primary-keys",
        title: "Tables without a primary key",
        looks_at: "tables without a primary key. Critical where UPDATE or DELETE of the table is published without a replica \
                   identity: those statements fail.",
        bounds: &[&KEYLESS],
        well: "every table of some size has a primary key",
        sql: "SELECT oid::regclass FROM pg_class c WHERE relkind = 'r' AND NOT EXISTS \
              (SELECT FROM pg_index WHERE indrelid = c.oid AND indisprimary)",
        judge: primary_keys,
    },
    Check {
        id: "table-bloat",
        title: "Bloat of tables",
        looks_at: "the estimate of what rewriting a table would give back, without what fillfactor leaves free.",
        bounds: &[&BLOAT],
        well: "no large table is bloated",
        sql: "SELECT oid::regclass, relpages, reltuples FROM pg_class WHERE relkind = 'r' ORDER BY relpages DESC LIMIT 20",
        judge: bloat,
    },
    Check {
        id: "exhausted-keys",
        title: "Sequences and keys that run out",
        looks_at: "the last number of each sequence, against its end and the type of the column that it fills.",
        bounds: &[&NUMBERS],
        well: "no sequence runs out",
        sql: "SELECT schemaname, sequencename, last_value, max_value FROM pg_sequences",
        judge: exhausted_keys,
    },
    Check {
        id: "table-leftovers",
        title: "What somebody meant to put in order again",
        looks_at: "constraints that were never validated, triggers that are off, tables without autovacuum, and unlogged tables, \
                   which a crash empties.",
        bounds: &[],
        well: "nothing was left behind",
        sql: "SELECT conrelid::regclass, conname FROM pg_constraint WHERE NOT convalidated",
        judge: leftovers,
    },
    Check {
        id: "whole-table-scans",
        title: "Large tables that are read as a whole",
        looks_at: "rows that each sequential scan reads, of tables that were scanned at least 100 times.",
        bounds: &[&SCANS],
        well: "large tables are not read as a whole",
        sql: "SELECT relid::regclass, seq_scan, seq_tup_read FROM pg_stat_user_tables ORDER BY seq_tup_read DESC LIMIT 20",
        judge: whole_table_scans,
    },
    Check {
        id: "growth",
        title: "Days until the room is used up",
        looks_at: "the sizes of the last 14 days, at least one, continued as a line to the room that was named.",
        bounds: &[&GROWTH],
        well: "there is room for the next weeks",
        sql: "SELECT datname, pg_database_size(oid) FROM pg_database WHERE datallowconn",
        judge: growth,
    },
    Check {
        id: "updates-in-place",
        title: "Updates that touch every index",
        looks_at: "the share of updates that were not HOT: the new row did not fit on the page, or an indexed column changed.",
        bounds: &[&HOT],
        well: "most updates stay on their page",
        sql: "SELECT relid::regclass, n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables ORDER BY n_tup_upd DESC LIMIT 20",
        judge: updates_in_place,
    },
];

fn primary_keys(evidence: &Evidence<'_>) -> Findings {
    let mut found = Vec::new();
    for schema in evidence.schemas()? {
        for table in schema.keyless.rows.as_ref().map_err(Clone::clone)? {
            let (status, text) = if table.is_published {
                let text = format!(
                    "{} is published and has no replica identity: UPDATE and DELETE fail",
                    table.table
                );
                (CheckStatus::Critical, text)
            } else if let Some(status) = KEYLESS.exceeded(table.rows) {
                (status, format!("{} has no primary key", table.table))
            } else {
                continue;
            };
            found.push(
                finding(status, text)
                    .about(Subject::new(SubjectKind::Table, table.table.clone()))
                    .figure("rows", table.rows.max(0.0), "{row}")
                    .fix(
                        format!("ALTER TABLE {} ADD PRIMARY KEY USING INDEX the_unique_index", table.table),
                        "CREATE UNIQUE INDEX CONCURRENTLY first: then the lock is short; the columns must be NOT NULL",
                    ),
            );
        }
    }
    Ok(found)
}

fn bloat(evidence: &Evidence<'_>) -> Findings {
    let fix = |name: &str| format!("VACUUM (FULL, ANALYZE) {name}");
    of_bloat(evidence, BloatKind::Table, &BLOAT, LARGE_TABLE, SubjectKind::Table, fix)
}

/// What exceeds `bound` among relations of at least `large` bytes.
pub(super) fn of_bloat(
    evidence: &Evidence<'_>,
    kind: BloatKind,
    bound: &Bound,
    large: f64,
    subject: SubjectKind,
    fix: impl Fn(&str) -> String,
) -> Findings {
    let safely = match kind {
        BloatKind::Table => {
            "it locks the table until it is done and needs its size again on disk: take pg_repack, pg_squeeze or, on 19, \
             REPACK (CONCURRENTLY) where that is too long; first see what keeps VACUUM from cleaning up"
        }
        BloatKind::Index => "outside a transaction; it needs the size of the index again until it is done",
    };
    let mut found = Vec::new();
    for schema in evidence.schemas()? {
        let bloats = match schema.bloat() {
            Ok(bloats) => bloats,
            Err(why) => {
                found.push(unknown(why));
                continue;
            }
        };
        for one in bloats.iter().filter(|one| one.kind == kind && one.bytes as f64 >= large) {
            let Some(status) = bound.exceeded(one.bloat_percent) else { continue };
            let text = format!(
                "about {:.0} % of {} could be given back: {} of {}",
                one.bloat_percent,
                one.relation,
                amount(one.wasted(), "By"),
                amount(one.bytes as f64, "By")
            );
            found.push(
                finding(status, text)
                    .about(Subject::new(subject, one.relation.clone()))
                    .figure("bloat", one.bloat_percent, "%")
                    .figure("size", one.bytes as f64, "By")
                    .fix(fix(&one.relation), safely),
            );
        }
        match (schema.unknown_bloat(), unreadable(schema)) {
            (_, Some(unreadable)) => found.push(unreadable),
            ([], None) => {}
            ([(name, why), more @ ..], None) => {
                let others =
                    if more.is_empty() { String::new() } else { format!(" and {} others", more.len()) };
                found.push(unknown(format!("of {name}{others}: {why}")));
            }
        }
    }
    Ok(found)
}

fn exhausted_keys(evidence: &Evidence<'_>) -> Findings {
    let mut found = Vec::new();
    let mut unseen = 0_usize;
    let mut fills: HashMap<i64, &Filled> = HashMap::new();
    for schema in evidence.schemas()? {
        fills
            .extend(schema.filled.rows.as_ref().map_err(Clone::clone)?.iter().map(|one| (one.sequence, one)));
    }
    let mut looked = false;
    for database in evidence.now.by_database.values() {
        looked = true;
        for sequence in known(&database.sequences)? {
            let Some(last) = sequence.last_value else {
                unseen += usize::from(sequence.locked);
                continue;
            };
            let filled = fills.get(&sequence.oid);
            let used = used_up(sequence, filled.and_then(|filled| filled.ceiling), last);
            if sequence.cycle {
                continue;
            }
            let Some(status) = NUMBERS.exceeded(used) else { continue };
            let name = qualified(&sequence.schemaname, &sequence.sequencename);
            let text = match filled {
                Some(filled) => {
                    format!("{used:.0} % of the numbers of {} are used up, by {name}", filled.column)
                }
                None => format!("{used:.0} % of the numbers of {name} are used up"),
            };
            let fix = match filled {
                Some(filled) => {
                    format!("ALTER TABLE {} ALTER COLUMN {} TYPE bigint", filled.table, filled.column_name)
                }
                None => format!("ALTER SEQUENCE {name} AS bigint"),
            };
            found.push(
                finding(status, text)
                    .about(Subject::new(SubjectKind::Sequence, name))
                    .figure("used", used, "%")
                    .figure("last", last as f64, "1")
                    .fix(
                        fix,
                        "changing a column's type rewrites the table under an exclusive lock: add a bigint column, fill it in \
                         batches, and swap; referring columns need the same",
                    ),
            );
        }
    }
    for schema in evidence.schemas()? {
        let rows = schema.unreadable.rows.as_ref().map_err(Clone::clone)?;
        let hidden = rows.first().map_or(0.0, |row| row.sequences);
        if hidden > 0.0 {
            found.push(unknown(format!(
                "{hidden} sequences are not for this role: GRANT pg_read_all_data TO it"
            )));
        }
    }
    if unseen > 0 {
        found.push(unknown(format!("{unseen} sequences are locked by others at the moment")));
    }
    if looked { Ok(found) } else { Err("no database was looked at yet".to_owned()) }
}

/// How much of a sequence's way is behind it, in percent, up to its end or that of its column's type.
fn used_up(sequence: &Sequence, ceiling: Option<f64>, last: i64) -> f64 {
    let (low, high) = (sequence.min_value as f64, sequence.max_value as f64);
    if sequence.increment_by < 0 {
        return 100.0 * (high - last as f64) / (high - low).max(1.0);
    }
    let end = ceiling.map_or(high, |ceiling| ceiling.min(high));
    100.0 * (last as f64 - low.max(0.0)) / (end - low.max(0.0)).max(1.0)
}

fn leftovers(evidence: &Evidence<'_>) -> Findings {
    let mut found = Vec::new();
    for schema in evidence.schemas()? {
        for one in schema.leftovers.rows.as_ref().map_err(Clone::clone)? {
            let subject = Subject::new(SubjectKind::Constraint, format!("{}.{}", one.table, one.name));
            let (text, fix, safely) = if one.kind == "not_valid" {
                (
                    format!("{} of {} was never validated", one.name, one.table),
                    format!("ALTER TABLE {} VALIDATE CONSTRAINT {}", one.table, one.name),
                    "it reads the table and blocks no reader and no writer",
                )
            } else {
                (
                    format!("the trigger {} of {} is off", one.name, one.table),
                    format!("ALTER TABLE {} ENABLE TRIGGER {}", one.table, one.name),
                    "look first at what it missed; set lock_timeout",
                )
            };
            found.push(finding(CheckStatus::Warn, text).about(subject).fix(fix, safely));
        }
    }
    for database in evidence.now.by_database.values() {
        for table in known(&database.tables)? {
            found.extend(of_table(table));
        }
    }
    Ok(found)
}

fn of_table(table: &TableStats) -> Vec<crate::CheckResult> {
    let name = qualified(&table.schemaname, &table.relname);
    let subject = || Subject::new(SubjectKind::Table, name.clone());
    let mut found = Vec::new();
    let off = table.reloptions.iter().flatten().any(|option| {
        option
            .strip_prefix("autovacuum_enabled=")
            .is_some_and(|value| matches!(value, "false" | "off" | "0" | "no"))
    });
    if off {
        found.push(
            finding(CheckStatus::Warn, format!("autovacuum is off for {name}"))
                .about(subject())
                .fix(format!("ALTER TABLE {name} RESET (autovacuum_enabled)"), "it takes a short lock"),
        );
    }
    if table.relpersistence == "u" {
        found.push(
            finding(
                CheckStatus::Warn,
                format!("{name} is unlogged: a crash empties it, and standbys do not have it"),
            )
            .about(subject())
            .fix(format!("ALTER TABLE {name} SET LOGGED"), "it rewrites the table under an exclusive lock"),
        );
    }
    found
}

fn whole_table_scans(evidence: &Evidence<'_>) -> Findings {
    let mut found = Vec::new();
    for database in evidence.now.by_database.values() {
        for table in known(&database.tables)?.iter().filter(|table| table.seq_scan >= ENOUGH_SCANS) {
            let each = table.seq_tup_read as f64 / table.seq_scan as f64;
            // A small table is read as a whole because that is cheapest.
            if table.reltuples < 10_000.0 {
                continue;
            }
            let Some(status) = SCANS.exceeded(each) else { continue };
            let name = qualified(&table.schemaname, &table.relname);
            let text =
                format!("{name} was read as a whole {} times, {each:.0} rows each time", table.seq_scan);
            found.push(
                finding(status, text)
                    .about(Subject::new(SubjectKind::Table, name))
                    .figure("scans", table.seq_scan as f64, "{scan}")
                    .figure("rows", each, "{row}"),
            );
        }
    }
    if evidence.now.by_database.is_empty() {
        Err("no database was looked at yet".to_owned())
    } else {
        Ok(found)
    }
}

fn growth(evidence: &Evidence<'_>) -> Findings {
    let sizes = evidence.sizes.ok_or("there is no history of sizes yet")?;
    let room = evidence.room.ok_or("how much room there is was not said: the server does not know")?;
    let (mut used, mut daily) = (0.0, 0.0);
    for history in sizes.values() {
        let Some((end, size)) = history.last().copied() else { continue };
        let recent: Vec<_> = history.iter().copied().filter(|(at, _)| end - at <= HISTORY).collect();
        let begin = recent.first().map_or(end, |(at, _)| *at);
        if end - begin < ENOUGH_HISTORY {
            return Err("there is less than a day of history".to_owned());
        }
        used += size;
        daily += slope(&recent) * 86_400.0;
    }
    if daily <= 0.0 {
        return Ok(Vec::new());
    }
    let days = ((room - used) / daily).max(0.0);
    Ok(GROWTH
        .exceeded(-days)
        .map(|status| {
            let text = format!("the room is used up in {days:.0} days, at {} a day", amount(daily, "By"));
            finding(status, text)
                .figure("days", days, "d")
                .figure("daily", daily, "By")
                .figure("used", used, "By")
                .figure("room", room, "By")
        })
        .into_iter()
        .collect())
}

/// The slope of the line that fits best, by least squares.
fn slope(points: &[(f64, f64)]) -> f64 {
    let count = points.len() as f64;
    let (mean_x, mean_y) =
        points.iter().fold((0.0, 0.0), |(x, y), point| (x + point.0 / count, y + point.1 / count));
    let over: f64 = points.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
    let under: f64 = points.iter().map(|(x, _)| (x - mean_x).powi(2)).sum();
    if under > 0.0 { over / under } else { 0.0 }
}

fn updates_in_place(evidence: &Evidence<'_>) -> Findings {
    let mut found = Vec::new();
    for database in evidence.now.by_database.values() {
        for table in known(&database.tables)?.iter().filter(|table| table.n_tup_upd >= ENOUGH_UPDATES) {
            let share = 100.0 * (1.0 - table.n_tup_hot_upd as f64 / table.n_tup_upd as f64);
            let Some(status) = HOT.exceeded(share) else { continue };
            let name = qualified(&table.schemaname, &table.relname);
            let moved = table.n_tup_newpage_upd.map(|moved| 100.0 * moved as f64 / table.n_tup_upd as f64);
            let why = match moved {
                Some(moved) if moved > 30.0 => "the new row often does not fit on its page",
                Some(_) => "an indexed column changes",
                None => "the new row does not fit on its page, or an indexed column changes",
            };
            let text = format!("{share:.0} % of the updates of {name} touch every index: {why}");
            let result = finding(status, text)
                .about(Subject::new(SubjectKind::Table, name.clone()))
                .figure("not_hot", share, "%")
                .figure("updates", table.n_tup_upd as f64, "{row}");
            let result = match moved {
                Some(moved) => result.figure("moved", moved, "%"),
                None => result,
            };
            found.push(result.fix(
                format!("ALTER TABLE {name} SET (fillfactor = 90)"),
                "it applies to pages that are written from now on; where an indexed column changes, drop that index instead",
            ));
        }
    }
    if evidence.now.by_database.is_empty() {
        Err("no database was looked at yet".to_owned())
    } else {
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sequence(min: i64, max: i64, step: i64) -> Sequence {
        Sequence { min_value: min, max_value: max, increment_by: step, ..Sequence::default() }
    }

    #[test]
    fn a_sequence_ends_where_its_column_does() {
        let big = sequence(1, i64::MAX, 1);
        assert!((used_up(&big, Some(2_147_483_647.0), 2_000_000_000) - 93.1).abs() < 0.1);
        assert!(used_up(&big, None, 2_000_000_000) < 1.0);
        assert!((used_up(&sequence(-100, -1, -1), None, -91) - 90.9).abs() < 0.1);
    }

    #[test]
    fn growth_is_the_line_that_fits_best() {
        let points: Vec<_> = (0..10).map(|day| (f64::from(day), 5.0 + 3.0 * f64::from(day))).collect();
        assert!((slope(&points) - 3.0).abs() < 1e-9);
        assert_eq!(slope(&[(1.0, 2.0)]), 0.0);
    }
}
