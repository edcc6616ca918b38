//! What this process knows itself: its statements, its pools, and what went wrong.

use crate::dashboard::Source;
use crate::panel::{Column, Panel, Row, Table, Value};
use crate::{PoolLoad, StatementStats};

/// So many statements are on the first page.
const FIRST: usize = 10;

const NO_MONITOR: &str = "this process watches no statements; give the source its monitor";

/// The statements of this process, with what each cost, and what was slow.
pub(super) fn statements(source: &Source) -> Vec<Panel> {
    let panel = Panel::new("own", "Statements of this process").note(
        "Timed where the bytes go by, from sending to the last row. The percentiles are up to an eighth too long.",
    );
    let Some(monitor) = &source.monitor else { return vec![panel.missing(NO_MONITOR)] };
    let all = monitor.statements();
    let total: f64 = all.iter().map(|of| of.durations.total().as_secs_f64()).sum();
    let counts = monitor.counts();
    let panel = panel
        .figure("slow", "Slow", Value::Count(counts.slow))
        .figure("failed", "Failed", Value::Count(counts.errors()))
        .figure("cancelled", "Cancelled", Value::Count(counts.cancelled))
        .table(table(&all, total));
    vec![panel, slow(source)]
}

/// The statements that this process spends most time on.
pub(super) fn busiest(source: &Source) -> Option<Panel> {
    let monitor = source.monitor.as_ref()?;
    let all = monitor.statements();
    let total: f64 = all.iter().map(|of| of.durations.total().as_secs_f64()).sum();
    let rows = all.len();
    let mut table = table(&all[..rows.min(FIRST)], total);
    table.left_out = rows.saturating_sub(FIRST);
    Some(Panel::new("own", "Statements of this process, by time").table(table))
}

fn table(all: &[StatementStats], total: f64) -> Table {
    let columns = [
        Column::new("statement", "Statement"),
        Column::new("share_percent", "Share"),
        Column::new("calls", "Calls"),
        Column::new("p50_seconds", "p50"),
        Column::new("p95_seconds", "p95"),
        Column::new("p99_seconds", "p99"),
        Column::new("max_seconds", "Longest"),
        Column::new("rows_a_call", "Rows a call"),
        Column::new("errors", "Errors"),
        Column::new("total_seconds", "Total"),
    ];
    let empty = Table::new("statements", columns).when_empty("No statement has run yet.");
    all.iter().fold(empty, |table, of| {
        let (spent, calls) = (of.durations.total().as_secs_f64(), of.durations.count());
        let quantile = |quantile| Value::Seconds(of.durations.quantile(quantile).min(of.max).as_secs_f64());
        let cells = [
            Value::text(of.summary.as_str()),
            if total > 0.0 { Value::Percent(spent * 100.0 / total) } else { Value::Missing },
            Value::Count(calls),
            quantile(0.5),
            quantile(0.95),
            quantile(0.99),
            Value::Seconds(of.max.as_secs_f64()),
            Value::Number(of.rows as f64 / calls.max(1) as f64),
            Value::Count(of.errors),
            Value::Seconds(spent),
        ];
        table.with(Row::of(cells).link(format!("queries/{}", of.fingerprint)))
    })
}

fn slow(source: &Source) -> Panel {
    let panel = Panel::new("slow", "Slow statements, and who asked");
    let Some(monitor) = &source.monitor else { return panel.missing(NO_MONITOR) };
    let columns = [
        Column::new("statement", "Statement"),
        Column::new("count", "Times"),
        Column::new("mean_seconds", "Mean"),
        Column::new("max_seconds", "Longest"),
        Column::new("last_at", "Last"),
        Column::new("site", "Asked at"),
        Column::new("scope", "For"),
    ];
    let empty = Table::new("slow", columns).when_empty("No statement was slow.");
    let table = monitor.slow_queries(usize::MAX).iter().fold(empty, |table, of| {
        let cells = [
            Value::Code(of.text.to_string()),
            Value::Count(of.count),
            Value::Seconds(of.mean().as_secs_f64()),
            Value::Seconds(of.max.as_secs_f64()),
            Value::At(of.last),
            Value::some_text(of.site.map(|site| format!("{}:{}", site.file(), site.line()))),
            Value::some_text(of.scope.as_ref().map(|scope| scope.name().to_owned())),
        ];
        table.with(Row::of(cells).link(format!("queries/{}", of.fingerprint)))
    });
    panel.table(table)
}

/// How busy each pool is, and what statements ended with.
pub(super) fn pool(source: &Source) -> Vec<Panel> {
    let panel = Panel::new("pools", "Pools of this process");
    let panel = match &source.pools {
        None => panel.missing("this process has no pool that the dashboard knows"),
        Some(look) => panel.table(pools(&look())),
    };
    let errors = Panel::new("errors", "Errors by the server's code");
    let errors = match &source.monitor {
        None => errors.missing(NO_MONITOR),
        Some(monitor) => {
            let columns = [Column::new("code", "SQLSTATE"), Column::new("count", "Times")];
            let empty = Table::new("errors", columns).when_empty("No statement failed.");
            errors.table(monitor.counts().failed.iter().fold(empty, |table, (code, times)| {
                let code =
                    code.map_or_else(|| "none: the connection was lost".to_owned(), |code| code.to_string());
                table.row([Value::Text(code), Value::Count(*times)])
            }))
        }
    };
    vec![panel, errors]
}

fn pools(loads: &[PoolLoad]) -> Table {
    let columns = [
        Column::new("pool", "Pool"),
        Column::new("in_use", "In use"),
        Column::new("max", "At most"),
        Column::new("in_use_percent", "In use"),
        Column::new("waiting", "Callers that wait"),
        Column::new("pressure", "Under pressure"),
    ];
    loads.iter().fold(Table::new("pools", columns).when_empty("There is no pool."), |table, load| {
        let used = if load.max > 0 { load.in_use as f64 * 100.0 / load.max as f64 } else { 0.0 };
        let mut row = Row::of([
            Value::text(&*load.name),
            Value::Count(load.in_use as u64),
            Value::Count(load.max as u64),
            Value::Percent(used),
            Value::Count(load.waiting as u64),
            Value::text(if load.is_under_pressure() { "yes" } else { "no" }),
        ]);
        row.bar = vec![(if load.is_under_pressure() { 2 } else { 0 }, used / 100.0)];
        table.with(row)
    })
}
