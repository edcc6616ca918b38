//! What the server's time goes to, by statement: as the server counts it, and by the sessions that are
//! active.

use std::collections::BTreeMap;

#[cfg(feature = "dashboard")]
use db_statement::Fingerprint;
use db_statement::fingerprint;

use super::{bytes, count, known, percent};
use crate::panel::{Column, Panel, Row, Table, Value};
use crate::server::{ServerStatement, Snapshot};

/// Slow statements with their share of the total time, as `pg_stat_statements` counts them.
pub(crate) fn server_statements(snapshot: &Snapshot) -> Panel {
    let panel = Panel::new("statements", "Statements by their share of the server's time")
        .note("As pg_stat_statements counts them since its last reset, in all databases and by all roles.");
    let (statements, panel) = match known(&snapshot.statements, panel) {
        Ok(known) => known,
        Err(panel) => return panel,
    };
    let total: f64 = statements.iter().map(|statement| statement.total_exec_time).sum();
    let page = snapshot.server.get().map_or(8_192, |server| server.block_size);
    let columns = [
        Column::new("statement", "Statement"),
        Column::new("query_id", "Query id"),
        Column::new("share_percent", "Share of time"),
        Column::new("total_seconds", "Total"),
        Column::new("calls", "Calls"),
        Column::new("mean_seconds", "Mean"),
        Column::new("max_seconds", "Longest"),
        Column::new("rows_a_call", "Rows a call"),
        Column::new("hit_percent", "Buffer hits"),
        Column::new("temp_bytes", "Temporary"),
    ];
    // One statement is counted for each role and database that ran it.
    let mut merged = BTreeMap::<i64, ServerStatement>::new();
    let mut hidden: Option<ServerStatement> = None;
    for statement in statements {
        match statement.queryid {
            Some(id) => {
                merged.entry(id).and_modify(|of| add(of, statement)).or_insert_with(|| statement.clone());
            }
            None => match &mut hidden {
                Some(of) => add(of, statement),
                None => hidden = Some(statement.clone()),
            },
        }
    }
    let mut all: Vec<ServerStatement> = merged.into_values().chain(hidden).collect();
    all.sort_by(|a, b| b.total_exec_time.total_cmp(&a.total_exec_time));
    let table = all.iter().fold(Table::new("statements", columns), |table, of| {
        let text = of.queryid.and_then(|id| snapshot.statement_texts.get(&id));
        let calls = of.calls.max(1) as f64;
        let blocks = of.shared_blks_hit.saturating_add(of.shared_blks_read) as f64;
        let mut row = Row::of([
            text.map_or_else(|| Value::text("(not visible)"), |text| Value::Code(text.to_string())),
            Value::some_text(of.queryid.map(|id| id.to_string())),
            percent(of.total_exec_time, total),
            Value::Seconds(of.total_exec_time / 1e3),
            count(of.calls),
            Value::Seconds(of.total_exec_time / calls / 1e3),
            of.max_exec_time.map_or(Value::Missing, |longest| Value::Seconds(longest / 1e3)),
            Value::Number(of.rows as f64 / calls),
            percent(of.shared_blks_hit as f64, blocks),
            of.temp_blks_written.map_or(Value::Missing, |blocks| bytes(blocks.saturating_mul(page))),
        ]);
        row.bar = vec![(1, of.total_exec_time / total.max(f64::MIN_POSITIVE))];
        table.with(match text {
            Some(text) => row.link(format!("queries/{}", fingerprint(text))),
            None => row,
        })
    });
    panel.figure("total_seconds", "Total time", Value::Seconds(total / 1e3)).table(table)
}

fn add(of: &mut ServerStatement, more: &ServerStatement) {
    of.calls = of.calls.saturating_add(more.calls);
    of.total_exec_time += more.total_exec_time;
    of.rows = of.rows.saturating_add(more.rows);
    of.shared_blks_hit = of.shared_blks_hit.saturating_add(more.shared_blks_hit);
    of.shared_blks_read = of.shared_blks_read.saturating_add(more.shared_blks_read);
    of.max_exec_time = of.max_exec_time.max_by_value(more.max_exec_time);
    of.temp_blks_written = match (of.temp_blks_written, more.temp_blks_written) {
        (Some(a), Some(b)) => Some(a.saturating_add(b)),
        (a, b) => a.or(b),
    };
}

trait MaxByValue {
    fn max_by_value(self, other: Self) -> Self;
}

impl MaxByValue for Option<f64> {
    fn max_by_value(self, other: Self) -> Self {
        match (self, other) {
            (Some(a), Some(b)) => Some(a.max(b)),
            (a, b) => a.or(b),
        }
    }
}

/// The server's counts of one statement of ours, if it has seen it.
#[cfg(feature = "dashboard")]
pub(crate) fn of_fingerprint(snapshot: &Snapshot, wanted: Fingerprint) -> Vec<i64> {
    let texts = snapshot.statement_texts.iter();
    texts.filter(|(_, text)| fingerprint(text) == wanted).map(|(id, _)| *id).collect()
}

/// The statements that sessions are active with, by how many sessions on average, in the colours of what they
/// wait for.
#[cfg(feature = "dashboard")]
pub(crate) fn load_table(
    load: &std::collections::HashMap<(Option<i64>, usize), f64>,
    text: impl Fn(i64) -> Option<std::sync::Arc<str>>,
) -> Table {
    let mut by_statement = BTreeMap::<Option<i64>, Vec<(usize, f64)>>::new();
    for ((statement, colour), sessions) in load {
        by_statement.entry(*statement).or_default().push((*colour, *sessions));
    }
    let mut all: Vec<_> = by_statement
        .into_iter()
        .map(|(statement, mut parts)| {
            parts.sort_by_key(|(colour, _)| *colour);
            let sum: f64 = parts.iter().map(|part| part.1).sum();
            (statement, parts, sum)
        })
        .collect();
    all.sort_by(|a, b| b.2.total_cmp(&a.2));
    let (most, total) =
        (all.first().map_or(1.0, |of| of.2).max(1e-9), all.iter().map(|of| of.2).sum::<f64>());
    let columns = [
        Column::new("statement", "Statement"),
        Column::new("sessions", "Active sessions"),
        Column::new("share_percent", "Share"),
    ];
    let empty = Table::new("load", columns).when_empty("No session was active.");
    all.into_iter().fold(empty, |table, (statement, parts, sum)| {
        let text = statement.and_then(&text);
        let name = match (&text, statement) {
            (Some(text), _) => Value::Code(text.to_string()),
            (None, Some(id)) => Value::text(format!("query id {id}")),
            (None, None) => Value::text("(no statement, or compute_query_id is off)"),
        };
        let mut row = Row::of([name, Value::Number(sum), percent(sum, total)]);
        row.bar = parts.into_iter().map(|(colour, sessions)| (colour, sessions / most)).collect();
        table.with(match text {
            Some(text) => row.link(format!("queries/{}", fingerprint(&text))),
            None => row,
        })
    })
}
