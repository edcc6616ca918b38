//! Turns what was seen into what is to be looked at, and says what it would mean at production's sizes.

use serde::Serialize;

use super::accepted::{self, Accepted};
use super::alteration::{Alteration, AlterationKind};
use super::report::{MigrationCheck, Outcome, RoundTrip};
use super::rules;
use super::statement_text::{TRIGGER, Told, WHOLE_TABLE, made, same};
use super::trace::{Lock, Mode, StatementTrace};
use crate::source::{Migration, REPEATABLE};
use crate::split::split;
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
    /// The rule: `trace/…` was seen on the server, `lint/…` was read in the text, `round-trip` is about
    /// down.sql.
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

/// What a statement does to every row of a table, and how many rows a second it does at least, where nothing
/// better is known: the slow end of what ordinary servers reach.
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

/// From which severity on a check fails.
///
/// ```
/// use db_migrations::check::{FailOn, Severity};
/// assert!(FailOn::Warn.fails(Severity::Warning) && !FailOn::default().fails(Severity::Warning));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FailOn {
    /// What stops writers or readers for as long as the table is large, loses data, or breaks the code that
    /// still runs.
    #[default]
    Error,
    /// Everything but notes.
    Warn,
    /// Nothing: the report is for reading.
    Never,
}

impl FailOn {
    /// Whether a finding of this severity fails the check.
    pub fn fails(self, severity: Severity) -> bool {
        match self {
            FailOn::Error => severity >= Severity::Error,
            FailOn::Warn => severity >= Severity::Warning,
            FailOn::Never => false,
        }
    }
}

/// Everything that is to be looked at in one migration, without what its files accept.
pub(crate) fn of(check: &MigrationCheck, migration: &Migration, stats: Option<&Stats>) -> Judged {
    let made = made(&split(&migration.up));
    let mut findings: Vec<Finding> =
        check.statements.iter().flat_map(|trace| of_statement(trace, stats, &made)).collect();
    findings.extend(several_tables(&check.statements));
    findings.extend(round_trip(check));
    let mut accepted = accepted::take(&mut findings, &migration.up);
    if let Some(down) = &migration.down {
        // What is about down.sql may be accepted there, too.
        let (mut about_it, others) = findings.into_iter().partition(|one: &Finding| one.rule == ROUND_TRIP);
        accepted.extend(accepted::take(&mut about_it, down));
        findings = [others, about_it].concat();
    }
    findings.extend(accepted::misspelt(&migration.up));
    Judged { findings, accepted }
}

/// What is to be looked at, and what is not since the file says why.
#[derive(Debug, Default)]
pub(crate) struct Judged {
    pub(crate) findings: Vec<Finding>,
    pub(crate) accepted: Vec<Accepted>,
}

/// The rule about down.sql.
pub(crate) const ROUND_TRIP: &str = "round-trip";

fn round_trip(check: &MigrationCheck) -> Option<Finding> {
    let finding = |severity, message: String, fix: Option<&str>| Finding {
        rule: ROUND_TRIP.to_owned(),
        severity,
        line: None,
        message,
        fix: fix.map(str::to_owned),
    };
    match (check.round_trip, check.down) {
        (RoundTrip::Differs, _) => {
            let lost = check.lost.join("; ");
            if check.version.starts_with(REPEATABLE) {
                let message = format!("it does not make the same when it runs again: {lost}");
                return Some(finding(
                    Severity::Error,
                    message,
                    Some("write CREATE OR REPLACE, or drop first"),
                ));
            }
            let message = format!("down.sql does not undo up.sql: {lost}");
            Some(finding(Severity::Error, message, Some("let down.sql restore what is listed")))
        }
        (_, Outcome::Missing) => {
            Some(finding(Severity::Note, "there is no down.sql: it cannot be undone".to_owned(), None))
        }
        _ => None,
    }
}

/// A finding of a rule; where size matters, with what it would mean at production's.
fn found(rule: &str, line: usize, message: String, size: Option<i64>) -> Finding {
    let known = rules::of(rule);
    let severity = known.map_or(Severity::Warning, |rule| match size {
        Some(rows) if rule.by_size && rows < FEW_ROWS => Severity::Note,
        _ => rule.severity,
    });
    let fix = known.map(|rule| rule.instead.to_owned());
    Finding { rule: rule.to_owned(), severity, line: Some(line), message, fix }
}

fn of_statement(trace: &StatementTrace, stats: Option<&Stats>, made: &[String]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let size = |relation: &str| stats.and_then(|stats| rows_of(stats, relation));
    let mut find = |rule: &str, relation: &str, work: Work, what: String| {
        let rows_here = trace.scans.iter().find(|scan| scan.relation == relation).map_or(0, |scan| scan.rows);
        let rows = size(relation);
        let cost = rows.map(|rows| cost(work, rows, rows_here, trace.ms)).unwrap_or_default();
        findings.push(found(rule, trace.line, format!("{what}{cost}"), rows));
    };
    for relation in &trace.rewrites {
        let held = held_on(trace, relation);
        let what = format!("writes {relation} anew{}", under(held));
        find("trace/rewrite", relation, Work::Rewrite, what);
    }
    for relation in &trace.blocking_index_build {
        let what = format!("builds an index on {relation} while writers wait");
        find("trace/blocking-index-build", relation, Work::Build, what);
    }
    for scan in &trace.scans {
        let relation = &scan.relation;
        let told = trace.rewrites.contains(relation) || trace.blocking_index_build.contains(relation);
        let held = held_on(trace, relation).filter(|lock| lock.mode.stops_writers());
        if let (false, Some(held)) = (told, held) {
            let what = format!("reads every row of {relation}{}", under(Some(held)));
            find("trace/scan-under-lock", relation, Work::Scan, what);
        }
    }
    for (relation, what) in whole_tables(trace) {
        find(WHOLE_TABLE, relation, Work::Rewrite, what);
    }
    let worked: Vec<&String> = trace
        .rewrites
        .iter()
        .chain(&trace.blocking_index_build)
        .chain(trace.scans.iter().map(|scan| &scan.relation))
        .collect();
    let others = |held: &&Lock| !held.partition && !worked.iter().any(|worked| **worked == held.relation);
    if let (Some(most), Some(held)) = (
        worked.iter().map(|relation| size(relation)).max_by_key(|rows| rows.unwrap_or(i64::MAX)),
        trace.while_holding.iter().find(others),
    ) {
        let what = format!(
            "works through rows while an earlier statement's {} on {} is held",
            held.mode, held.relation
        );
        findings.push(found("trace/work-under-lock", trace.line, what, most));
    }
    findings.extend(trace.alterations.iter().filter_map(|one| altered(one, trace.line, size(&one.relation))));
    // What is about a table counts where the table was there.
    let was_there = |told: &&Told| {
        told.rule != WHOLE_TABLE
            && !told.is_about_any(made)
            && (told.rule != TRIGGER
                || told.table.as_ref().is_some_and(|table| {
                    trace.locks.iter().any(|lock| lock.existed_before && same(&lock.relation, table))
                }))
    };
    findings.extend(
        trace
            .told
            .iter()
            .filter(was_there)
            .map(|told| found(told.rule, trace.line, told.message.clone(), None)),
    );
    findings
}

/// How many rows must have been written here for a share of them to mean anything.
const SOME_ROWS: i64 = 100;

/// The tables, there before, of which a statement writes every row, or at least half of them.
fn whole_tables(trace: &StatementTrace) -> Vec<(&str, String)> {
    let told = trace.told.iter().filter(|told| told.rule == WHOLE_TABLE).find_map(|told| {
        let table = told.table.as_ref()?;
        let writes = |lock: &&Lock| lock.existed_before && lock.mode >= Mode::RowExclusive;
        let lock = trace.locks.iter().chain(&trace.while_holding).filter(writes);
        let relation = lock.map(|lock| lock.relation.as_str()).find(|relation| same(relation, table))?;
        Some((relation, told.message.clone()))
    });
    let mut all: Vec<(&str, String)> = told.into_iter().collect();
    for written in trace.written.iter().filter(|written| written.rows >= SOME_ROWS) {
        let relation = written.relation.as_str();
        let read = trace.scans.iter().find(|scan| scan.relation == relation).map_or(0, |scan| scan.rows);
        let is_most = read > 0 && written.rows.saturating_mul(2) >= read;
        if is_most && !all.iter().any(|(told, _)| *told == relation) {
            let rows = written.rows;
            all.push((
                relation,
                format!("changes or deletes {rows} of {read} rows of {relation} in one transaction"),
            ));
        }
    }
    all
}

/// What an alteration means to the code that runs beside it.
fn altered(one: &Alteration, line: usize, rows: Option<i64>) -> Option<Finding> {
    let relation = &one.relation;
    let column = format!("{relation}.{}", one.column.as_deref().unwrap_or_default());
    let now = one.now.as_deref().unwrap_or_default();
    let (rule, message) = match one.kind {
        // Of an empty table nothing is lost.
        AlterationKind::Truncated if rows == Some(0) => return None,
        AlterationKind::Truncated => ("trace/truncate", format!("empties {relation}: its rows are lost")),
        AlterationKind::DroppedTable => ("trace/drop-table", format!("drops {relation} with its rows")),
        AlterationKind::DroppedView => {
            ("trace/drop-view", format!("drops {relation}: code that reads it fails"))
        }
        AlterationKind::DroppedColumn => ("trace/drop-column", format!("drops {column} with its values")),
        AlterationKind::Renamed => {
            ("trace/rename", format!("{relation} is called {now}: code that names it fails"))
        }
        AlterationKind::RenamedColumn => {
            ("trace/rename", format!("{column} is called {now}: code that names it fails"))
        }
        AlterationKind::RequiredColumn => (
            "trace/required-column",
            format!("{column} needs a value and has no default: inserts of code that does not know it fail"),
        ),
        AlterationKind::JsonColumn => {
            ("trace/json-column", format!("{column} is json: SELECT DISTINCT and GROUP BY over it fail"))
        }
        AlterationKind::RowSecurity => (
            "trace/row-security",
            format!("switches row security on for {relation}: who no policy lets in sees no rows"),
        ),
    };
    Some(found(rule, line, message, rows))
}

/// Strong locks on several tables, taken one after the other or at once: two such transactions, or one and a
/// service that takes them in another order, wait for each other.
fn several_tables(statements: &[StatementTrace]) -> Option<Finding> {
    let strong = |lock: &&Lock| lock.mode.stops_readers() && !lock.partition;
    let (statement, held, lock) = statements.iter().find_map(|statement| {
        let locks = || statement.blocking_locks().filter(|lock| !lock.partition);
        let lock = locks().find(strong)?;
        let other = |held: &&Lock| held.relation != lock.relation;
        let held = statement.while_holding.iter().filter(strong).find(other);
        Some((statement, held.or_else(|| locks().find(other))?, lock))
    })?;
    let message = format!(
        "takes {} on {} while {} on {} is held: whoever uses both tables waits for all of it, or deadlocks",
        lock.mode, lock.relation, held.mode, held.relation
    );
    Some(found("trace/several-tables", statement.line, message, None))
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

/// How long it would take at production's rows: in proportion to what was measured, where that was enough to
/// measure.
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
