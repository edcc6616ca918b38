//! Turns what was seen into what is to be looked at, and says what it would mean at production's sizes.

use serde::Serialize;

use super::report::{MigrationCheck, Outcome, RoundTrip};
use super::trace::{Lock, StatementTrace};
use crate::stats::Stats;

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing.
    Note,
    /// To be looked at before it runs on a large table.
    Warning,
    /// To be repaired.
    Error,
}

/// Something to be looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The rule: `trace/…` was seen on the server, `lint/…` was read in the text, `round-trip` is about down.sql.
    pub rule: String,
    /// How much it matters.
    pub severity: Severity,
    /// The line of up.sql, where it is about one.
    pub line: Option<usize>,
    /// What is the matter.
    pub message: String,
    /// What to do instead.
    pub fix: Option<String>,
}

/// A table of fewer rows than this is read or written in the time of a blink.
const FEW_ROWS: i64 = 10_000;

/// What was measured on fewer rows than this says nothing about larger tables.
const ENOUGH_ROWS: i64 = 50_000;

/// What a statement does to every row of a table, and how many rows a second it does at least, where nothing better is
/// known: the slow end of what ordinary servers reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    Rewrite,
    Scan,
    Build,
}

impl Work {
    fn rows_per_second(self) -> i64 {
        match self {
            Work::Rewrite => 200_000,
            Work::Scan => 1_000_000,
            Work::Build => 300_000,
        }
    }
}

/// Whether the text takes a finding back: `-- check-ignore RULE` in the comments right above the line, or on it.
///
/// Several rules are separated by commas; what stands behind a colon is the reason.
pub(crate) fn ignored(sql: &str, finding: &Finding) -> bool {
    let Some(line) = finding.line else { return false };
    let lines: Vec<&str> = sql.lines().take(line).collect();
    let Some((own, above)) = lines.split_last() else { return false };
    let comments = above.iter().rev().take_while(|line| line.trim_start().starts_with("--"));
    comments.chain([own]).filter_map(|line| line.split_once("check-ignore")).any(|(_, rules)| {
        let rules = rules.split(": ").next().unwrap_or_default();
        rules.split(',').any(|rule| rule.trim().trim_end_matches(':') == finding.rule)
    })
}

/// Everything that is to be looked at in one migration.
pub(crate) fn of(check: &MigrationCheck, sql: &str, stats: Option<&Stats>) -> Vec<Finding> {
    let mut findings: Vec<Finding> =
        check.statements.iter().flat_map(|trace| of_statement(trace, stats)).collect();
    findings.extend(several_tables(&check.statements));
    findings.retain(|finding| !ignored(sql, finding));
    match (check.round_trip, check.down) {
        (RoundTrip::Differs, _) => findings.push(Finding {
            rule: "round-trip".to_owned(),
            severity: Severity::Error,
            line: None,
            message: format!("down.sql does not undo up.sql: {}", check.lost.join("; ")),
            fix: Some("let down.sql restore what is listed".to_owned()),
        }),
        // A repeatable migration is undone by its former text.
        (_, Outcome::Missing) if !check.version.starts_with("R__") => findings.push(Finding {
            rule: "round-trip".to_owned(),
            severity: Severity::Note,
            line: None,
            message: "there is no down.sql: it cannot be undone".to_owned(),
            fix: None,
        }),
        _ => {}
    }
    findings
}

fn of_statement(trace: &StatementTrace, stats: Option<&Stats>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut find = |rule: &str, relation: &str, work: Work, what: String, fix: &str| {
        let rows_here = trace.scans.iter().find(|scan| scan.relation == relation).map_or(0, |scan| scan.rows);
        let rows = stats.and_then(|stats| rows_of(stats, relation));
        let cost = rows.map(|rows| cost(work, rows, rows_here, trace.ms)).unwrap_or_default();
        findings.push(Finding {
            rule: format!("trace/{rule}"),
            severity: severity(rows),
            line: Some(trace.line),
            message: format!("{what}{cost}"),
            fix: Some(fix.to_owned()),
        });
    };
    for relation in &trace.rewrites {
        let held = held_on(trace, relation);
        find(
            "rewrite",
            relation,
            Work::Rewrite,
            format!("writes {relation} anew{}", under(held)),
            "add a new column, fill it in batches, and let the code change over; or do it while the service is down",
        );
    }
    for relation in &trace.blocking_index_build {
        find(
            "blocking-index-build",
            relation,
            Work::Build,
            format!("builds an index on {relation} while writers wait"),
            "use CREATE INDEX CONCURRENTLY; make a constraint from such an index with ADD CONSTRAINT … USING INDEX",
        );
    }
    for scan in &trace.scans {
        let relation = &scan.relation;
        let told = trace.rewrites.contains(relation) || trace.blocking_index_build.contains(relation);
        let held = held_on(trace, relation).filter(|lock| lock.mode.stops_writers());
        if let (false, Some(held)) = (told, held) {
            find(
                "scan-under-lock",
                relation,
                Work::Scan,
                format!("reads every row of {relation}{}", under(Some(held))),
                "add the constraint NOT VALID, and VALIDATE it in a migration of its own; set NOT NULL after such a check",
            );
        }
    }
    let works =
        !trace.rewrites.is_empty() || !trace.scans.is_empty() || !trace.blocking_index_build.is_empty();
    if let (true, Some(held)) = (works, trace.while_holding.iter().find(|held| !is_own(trace, held))) {
        findings.push(Finding {
            rule: "trace/work-under-lock".to_owned(),
            severity: Severity::Warning,
            line: Some(trace.line),
            message: format!(
                "works through rows while an earlier statement's {} on {} is held",
                held.mode, held.relation
            ),
            fix: Some("put the two into migrations of their own, or this one first".to_owned()),
        });
    }
    findings
}

/// Strong locks on several tables, taken one after the other: two such transactions, or one and a service that takes
/// them in another order, wait for each other.
fn several_tables(statements: &[StatementTrace]) -> Option<Finding> {
    let (statement, held, lock) = statements.iter().find_map(|statement| {
        let lock = statement.blocking_locks().find(|lock| lock.mode.stops_readers())?;
        let held = statement
            .while_holding
            .iter()
            .find(|held| held.relation != lock.relation && held.mode.stops_readers())?;
        Some((statement, held, lock))
    })?;
    Some(Finding {
        rule: "trace/several-tables".to_owned(),
        severity: Severity::Warning,
        line: Some(statement.line),
        message: format!(
            "takes {} on {} while {} on {} is held: whoever uses both tables waits for all of it, or deadlocks",
            lock.mode, lock.relation, held.mode, held.relation
        ),
        fix: Some("one table for each migration".to_owned()),
    })
}

fn is_own(trace: &StatementTrace, held: &Lock) -> bool {
    let works_on = |relation: &String| *relation == held.relation;
    trace
        .rewrites
        .iter()
        .chain(&trace.blocking_index_build)
        .chain(trace.scans.iter().map(|scan| &scan.relation))
        .any(works_on)
}

fn held_on<'a>(trace: &'a StatementTrace, relation: &str) -> Option<&'a Lock> {
    trace
        .locks
        .iter()
        .chain(&trace.while_holding)
        .filter(|lock| lock.relation == relation)
        .max_by_key(|lock| lock.mode)
}

fn under(lock: Option<&Lock>) -> String {
    match lock {
        Some(lock) if lock.mode.stops_readers() => format!(" under {}: readers and writers wait", lock.mode),
        Some(lock) if lock.mode.stops_writers() => format!(" under {}: writers wait", lock.mode),
        _ => String::new(),
    }
}

fn rows_of(stats: &Stats, relation: &str) -> Option<i64> {
    let full = if relation.contains('.') { relation.to_owned() } else { format!("public.{relation}") };
    stats.tables.iter().find(|table| table.table == full).map(|table| table.rows)
}

fn severity(rows: Option<i64>) -> Severity {
    match rows {
        Some(rows) if rows < FEW_ROWS => Severity::Note,
        Some(_) => Severity::Error,
        None => Severity::Warning,
    }
}

/// How long it would take at production's rows: in proportion to what was measured, where that was enough to measure.
fn cost(work: Work, rows: i64, rows_here: i64, ms_here: f64) -> String {
    let measured = rows_here >= ENOUGH_ROWS;
    let seconds = if measured {
        ms_here / 1_000.0 * rows as f64 / rows_here as f64
    } else {
        rows as f64 / work.rows_per_second() as f64
    };
    let basis = if measured {
        format!("in proportion to {rows_here} rows here")
    } else {
        format!("at {} rows a second", work.rows_per_second())
    };
    format!("; {rows} rows in production: about {} ({basis})", spoken(seconds))
}

fn spoken(seconds: f64) -> String {
    match seconds {
        s if s < 1.0 => format!("{:.0} ms", s * 1_000.0),
        s if s < 120.0 => format!("{s:.0} s"),
        s => format!("{:.0} min", s / 60.0),
    }
}
