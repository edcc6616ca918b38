//! Advises statistics: where the planner expects ten times more or fewer rows than a sample of the table has.
//!
//! Several columns that are right alone and wrong together depend on each other: extended statistics tell
//! the planner. One column that is wrong by itself has values that its list of common ones does not hold: a
//! greater target.

use db_core::Error;
use diesel::QueryableByName;
use diesel::sql_types::{Array, Double};
use serde::Serialize;
use serde_json::Value;

use super::catalog::{Catalog, Table};
use super::condition::Classifier;
use super::expression::{Column, Expr, quoted};
use super::plan::{Reading, Scan};
use super::session::Session;
use super::suggestion::Migration;
use super::workload::Query;

/// From here on the planner is wrong.
pub(crate) const WRONG_BY: f64 = 10.0;

/// The rows that a sample has, about.
const SAMPLE: f64 = 30_000.0;

/// Fewer rows in a sample are chance, and fewer rows at all do no harm.
const FEWEST_IN_SAMPLE: f64 = 30.0;
const FEWEST_ROWS: f64 = 1_000.0;

/// What a column's target becomes: ten times the default.
const TARGET: u32 = 1_000;

/// Statistics to make for one statement.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct StatisticsAdvice {
    /// The statement that it is for.
    pub case: Value,
    /// What it is about: `orders (city, country)`.
    pub statistics: String,
    /// `extended` or `target`.
    pub kind: &'static str,
    /// The table, as SQL names it.
    pub table: String,
    /// The columns.
    pub columns: Vec<String>,
    /// The rows that the planner expects, and those that a sample lets expect.
    pub rows: [f64; 2],
    /// The statements that make it.
    pub create: String,
    /// What one should know.
    pub notes: Vec<String>,
    /// The migration in diesel's layout.
    pub migration: Migration,
}

#[derive(QueryableByName)]
struct Sample {
    #[diesel(sql_type = Double)]
    read: f64,
    /// The rows where each condition holds, then those where all hold.
    #[diesel(sql_type = Array<Double>)]
    matching: Vec<f64>,
}

/// By how many times one is the other, at least once.
pub(crate) fn wrong_by(expected: f64, found: f64) -> f64 {
    let (expected, found) = (expected.max(1.0), found.max(1.0));
    (expected / found).max(found / expected)
}

/// What to make for one statement. It reads a sample of the tables.
pub(crate) async fn of_statement(
    session: &mut Session<'_>,
    catalog: &Catalog,
    query: &Query,
    reading: &Reading,
) -> Result<Vec<StatisticsAdvice>, Error> {
    let mut found = Vec::new();
    for scan in &reading.scans {
        let Some(table) = catalog.table(&scan.schema, &scan.table) else { continue };
        if table.kind != "r" || table.rows < FEWEST_ROWS || !table.is_analysed() {
            continue;
        }
        let conditions = judged(catalog, table, scan);
        if !conditions.is_empty() {
            found.extend(of_table(session, catalog, query, table, scan, &conditions).await?);
        }
    }
    Ok(found)
}

/// The conditions that a sample can be asked: their values are known, and they are the same each time.
fn judged(catalog: &Catalog, table: &Table, scan: &Scan) -> Vec<Expr> {
    let classifier = Classifier { catalog, table, alias: &scan.alias };
    let mut seen = Vec::new();
    for expr in &scan.conditions {
        let is_own = expr.columns().iter().all(|column| column.alias == scan.alias);
        let known = !expr.columns().is_empty() && is_own && !classifier.condition(expr).depends;
        if known && !expr.has_parameter() && !classifier.is_volatile(expr) && !seen.contains(expr) {
            seen.push(expr.clone());
        }
    }
    seen
}

fn sql(expr: &Expr) -> String {
    expr.sql(&|column: &Column| format!("{}.{}", quoted(&column.alias), quoted(&column.name)))
}

async fn of_table(
    session: &mut Session<'_>,
    catalog: &Catalog,
    query: &Query,
    table: &Table,
    scan: &Scan,
    conditions: &[Expr],
) -> Result<Option<StatisticsAdvice>, Error> {
    let from = format!("{} AS {}", table.shown, quoted(&scan.alias));
    let texts: Vec<String> = conditions.iter().map(sql).collect();
    let all = texts.join(" AND ");
    let Some(expected) = session.rows(&from, &all).await else { return Ok(None) };
    let percent = (100.0 * SAMPLE / table.rows.max(1.0)).min(100.0);
    let counts: Vec<String> = texts
        .iter()
        .chain(texts.len().gt(&1).then_some(&all))
        .map(|condition| format!("count(*) FILTER (WHERE {condition})"))
        .collect();
    let sample = format!(
        "SELECT count(*)::float8 AS read, ARRAY[{}]::float8[] AS matching FROM {from} \
         TABLESAMPLE SYSTEM ({percent}) REPEATABLE (7)",
        counts.join(", ")
    );
    // A role that may not read the table gets no advice of this kind.
    let Some(sample) = session.asked::<Sample>(&sample).await else { return Ok(None) };
    if sample.read < 1.0 {
        return Ok(None);
    }
    let rows = |matching: f64| matching / sample.read * table.rows;
    let is_wrong = |expected: f64, matching: f64| {
        let found = rows(matching);
        let sure = matching >= FEWEST_IN_SAMPLE || expected >= FEWEST_ROWS;
        sure && expected.max(found) >= FEWEST_ROWS && wrong_by(expected, found) >= WRONG_BY
    };
    let together = sample.matching.last().copied().unwrap_or(0.0);
    for (text, (expr, matching)) in texts.iter().zip(conditions.iter().zip(&sample.matching)) {
        let Some(alone) = session.rows(&from, text).await else { continue };
        let columns = names(expr);
        if let ([column], true) = (columns.as_slice(), is_wrong(alone, *matching)) {
            let advice = target(query, table, column, [alone, rows(*matching)].map(f64::round));
            return Ok(Some(noted(advice, table)));
        }
    }
    let mut columns: Vec<String> = conditions.iter().flat_map(names).collect();
    columns.sort();
    columns.dedup();
    if columns.len() < 2 || columns.len() > 8 || !is_wrong(expected, together) {
        return Ok(None);
    }
    let advice = extended(query, table, catalog, columns, [expected, rows(together)].map(f64::round));
    Ok(Some(noted(advice, table)))
}

fn names(expr: &Expr) -> Vec<String> {
    expr.columns().into_iter().map(|column| column.name).collect()
}

fn extended(
    query: &Query,
    table: &Table,
    catalog: &Catalog,
    columns: Vec<String>,
    rows: [f64; 2],
) -> StatisticsAdvice {
    let plain = |name: &String| -> String {
        name.chars()
            .map(|one| if one.is_ascii_alphanumeric() { one.to_ascii_lowercase() } else { '_' })
            .collect()
    };
    let mut stem =
        format!("{}_{}", plain(&table.name), columns.iter().map(plain).collect::<Vec<_>>().join("_"));
    stem.truncate(55);
    let taken = catalog.statistics.get(&table.schema);
    let free = |name: &String| !taken.is_some_and(|taken| taken.contains(name));
    let first = format!("{stem}_stat");
    let name = if free(&first) {
        first
    } else {
        (1..=99).map(|n| format!("{first}{n}")).find(free).unwrap_or(first)
    };
    let qualified = format!("{}.{}", quoted(&table.schema), quoted(&name));
    let list: Vec<String> = columns.iter().map(|name| quoted(name)).collect();
    let list = list.join(", ");
    let make = format!(
        "CREATE STATISTICS {qualified} (dependencies, ndistinct, mcv) ON {list} FROM {}",
        table.shown
    );
    let create = format!("{make};\nANALYZE {}", table.shown);
    StatisticsAdvice {
        case: query.id.clone(),
        statistics: format!("{} ({list})", table.shown),
        kind: "extended",
        table: table.shown.clone(),
        columns,
        rows,
        migration: Migration {
            name: format!("add_{name}"),
            up: format!("{create};\n"),
            down: format!("DROP STATISTICS {qualified};\n"),
            metadata: String::new(),
        },
        create,
        notes: Vec::new(),
    }
}

fn target(query: &Query, table: &Table, column: &str, rows: [f64; 2]) -> StatisticsAdvice {
    let alter = format!("ALTER TABLE {} ALTER COLUMN {} SET STATISTICS", table.shown, quoted(column));
    let create = format!("{alter} {TARGET};\nANALYZE {} ({})", table.shown, quoted(column));
    let plain: String = format!("{}_{column}", table.name)
        .chars()
        .map(|one| if one.is_ascii_alphanumeric() { one.to_ascii_lowercase() } else { '_' })
        .collect();
    StatisticsAdvice {
        case: query.id.clone(),
        statistics: format!("{} ({})", table.shown, quoted(column)),
        kind: "target",
        table: table.shown.clone(),
        columns: vec![column.to_owned()],
        rows,
        migration: Migration {
            name: format!("add_{plain}_statistics_target"),
            up: format!("{create};\n"),
            down: format!("{alter} -1;\n"),
            metadata: String::new(),
        },
        create,
        notes: Vec::new(),
    }
}

fn noted(mut advice: StatisticsAdvice, table: &Table) -> StatisticsAdvice {
    if !table.owned {
        advice.notes.push(format!("this role cannot create it: {} belongs to {}", table.shown, table.owner));
    } else if advice.kind == "extended" && !table.may_create {
        advice
            .notes
            .push(format!("this role cannot create it: it needs CREATE on the schema {}", table.schema));
    }
    if table.changed_since_analyze > 0.1 * table.rows {
        advice.notes.push(format!(
            "{:.0} rows have changed since ANALYZE: run it first, that may be all",
            table.changed_since_analyze
        ));
    }
    advice.notes.push("it costs writes nothing, and ANALYZE a little".to_owned());
    advice
}

/// The rows that the planner expects of this table now, for the statement's conditions.
pub(crate) async fn expected_now(
    session: &mut Session<'_>,
    query: &Query,
    table: &str,
) -> Result<f64, String> {
    let prepared = session.prepare(query).await?;
    let reading = session.plan(&prepared).await?;
    let shown = |scan: &Scan| {
        let name = quoted(&scan.table);
        name == table || format!("{}.{name}", quoted(&scan.schema)) == table
    };
    let scan = reading.scans.iter().find(|scan| shown(scan)).ok_or("its plan does not read the table")?;
    let own = |expr: &&Expr| {
        !expr.columns().is_empty() && expr.columns().iter().all(|column| column.alias == scan.alias)
    };
    let texts: Vec<String> = scan.conditions.iter().filter(own).map(sql).collect();
    let from = format!("{table} AS {}", quoted(&scan.alias));
    session.rows(&from, &texts.join(" AND ")).await.ok_or_else(|| "the server does not say".to_owned())
}
