//! The page of one statement: what it cost here and on the server, where it was asked, and what others know
//! of it.

use db_statement::Fingerprint;

use crate::dashboard::Source;
use crate::dashboard::load::Texts;
use crate::panel::{Column, Item, Panel, Row, Table, Value};
use crate::sections;
use crate::server::Snapshot;

/// Its title and its panels.
pub(super) async fn page(
    source: &Source,
    snapshot: Option<&Snapshot>,
    texts: &Texts,
    wanted: Fingerprint,
) -> (String, Vec<Panel>) {
    let own = source
        .monitor
        .iter()
        .flat_map(|monitor| monitor.statements())
        .find(|statement| statement.fingerprint == wanted);
    let of_server = snapshot.map(|snapshot| sections::of_fingerprint(snapshot, wanted)).unwrap_or_default();
    let text = own.as_ref().map(|own| own.text.to_string()).or_else(|| {
        let on_server = of_server.first().and_then(|id| snapshot?.statement_texts.get(id));
        on_server.cloned().or_else(|| texts.find(wanted)).map(|text| text.to_string())
    });
    let title = match (&own, &text) {
        (Some(own), _) => own.summary.to_string(),
        (None, Some(text)) => db_statement::summary(text).to_string(),
        (None, None) => format!("Statement {wanted}"),
    };
    let mut panels = vec![match &text {
        Some(text) => Panel::new("text", "Statement")
            .note("Without its values: they are kept nowhere.")
            .figure("fingerprint", "Fingerprint", Value::text(wanted.to_string()))
            .sql(text.as_str()),
        None => Panel::new("text", "Statement").missing("neither this process nor the server has seen it"),
    }];
    panels.push(match &own {
        Some(own) => {
            let quantile =
                |quantile| Value::Seconds(own.durations.quantile(quantile).min(own.max).as_secs_f64());
            let calls = own.durations.count();
            let mean_first_row =
                own.mean_first_row.map_or(Value::Missing, |first| Value::Seconds(first.as_secs_f64()));
            Panel::new("own", "In this process")
                .figure("calls", "Calls", Value::Count(calls))
                .figure("mean_seconds", "Mean", Value::Seconds(own.durations.mean().as_secs_f64()))
                .figure("p50_seconds", "p50", quantile(0.5))
                .figure("p95_seconds", "p95", quantile(0.95))
                .figure("p99_seconds", "p99", quantile(0.99))
                .figure("max_seconds", "Longest", Value::Seconds(own.max.as_secs_f64()))
                .figure("first_row_seconds", "To the first row", mean_first_row)
                .figure("rows", "Rows", Value::Count(own.rows))
                .figure("rows_a_call", "Rows a call", Value::Number(own.rows as f64 / calls.max(1) as f64))
                .figure("bytes", "Bytes", Value::Bytes(own.bytes as f64))
                .figure("errors", "Errors", Value::Count(own.errors))
                .figure("cancelled", "Cancelled", Value::Count(own.cancelled))
                .figure("last_at", "Last", Value::At(own.last))
                .table(distribution(own))
        }
        None => Panel::new("own", "In this process").missing("this process has not run it"),
    });
    panels.push(sites(source, wanted));
    panels.extend(tips(source, wanted));
    if let Some(snapshot) = snapshot {
        panels.push(on_server(snapshot, wanted));
    }
    if let Some(insight) = &source.insight {
        panels.extend(insight.of_statement(wanted).await);
    }
    (title, panels)
}

/// How many executions took how long: a mean hides two kinds of executions, and this does not.
fn distribution(own: &crate::StatementStats) -> Table {
    let columns = [
        Column::new("up_to_seconds", "Up to"),
        Column::new("calls", "Calls"),
        Column::new("share_percent", "Share"),
    ];
    let mut doublings: Vec<(f64, u64)> = Vec::new();
    for (longest, count) in own.durations.buckets() {
        // Eight buckets for each doubling are more than anybody reads.
        let edge = longest.as_secs_f64().log2().ceil().exp2();
        match doublings.last_mut() {
            Some((last, sum)) if *last >= edge => *sum += count,
            _ => doublings.push((edge, count)),
        }
    }
    let (all, most) = doublings.iter().fold((0, 1), |(all, most), (_, n)| (all + n, most.max(*n)));
    doublings.iter().fold(
        Table::new("distribution", columns).titled("How long it takes"),
        |table, (edge, n)| {
            let share = *n as f64 / (all.max(1)) as f64;
            let mut row = Row::of([Value::Seconds(*edge), Value::Count(*n), Value::Percent(share * 100.0)]);
            row.bar = vec![(1, *n as f64 / most as f64)];
            table.with(row)
        },
    )
}

/// What was said of its plan, if anything was.
fn tips(source: &Source, wanted: Fingerprint) -> Option<Panel> {
    let slow = source.monitor.iter().flat_map(|monitor| monitor.slow_queries(usize::MAX));
    let tips = slow.into_iter().find(|one| one.fingerprint == wanted)?.tips;
    let table = Table::new("tips", [Column::new("tip", "What to do")]);
    let rows = tips.iter().fold(table, |table, tip| table.with(Row::of([Value::text(tip.as_str())])));
    (!tips.is_empty()).then(|| Panel::new("tips", "By its plan").table(rows))
}

fn sites(source: &Source, wanted: Fingerprint) -> Panel {
    let panel = Panel::new("sites", "Who asks");
    let slow = source.monitor.iter().flat_map(|monitor| monitor.slow_queries(usize::MAX));
    let columns = [
        Column::new("site", "Line of code"),
        Column::new("scope", "For"),
        Column::new("count", "Times slow"),
        Column::new("max_seconds", "Longest"),
        Column::new("last_at", "Last"),
    ];
    let empty = Table::new("sites", columns)
        .when_empty("It was never slow, and only of slow statements it is kept who asked.");
    panel.table(slow.filter(|slow| slow.fingerprint == wanted).fold(empty, |table, slow| {
        table.row([
            Value::some_text(slow.site.map(|site| format!("{}:{}", site.file(), site.line()))),
            Value::some_text(slow.scope.as_ref().map(|scope| scope.name().to_owned())),
            Value::Count(slow.count),
            Value::Seconds(slow.max.as_secs_f64()),
            Value::At(slow.last),
        ])
    }))
}

/// The rows of the server's own counts that are this statement.
fn on_server(snapshot: &Snapshot, wanted: Fingerprint) -> Panel {
    let mut panel = sections::server_statements(snapshot);
    panel.title = "On the server".to_owned();
    let link = format!("queries/{wanted}");
    for item in &mut panel.items {
        if let Item::Table(table) = item {
            table.rows.retain(|row| row.link.as_ref() == Some(&link));
            for row in &mut table.rows {
                row.link = None;
            }
            table.when_empty = "The server has not counted it.".to_owned();
        }
    }
    panel.items.retain(|item| !matches!(item, Item::Figure(_)));
    panel
}
