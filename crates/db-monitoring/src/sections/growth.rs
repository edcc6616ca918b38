//! What grows, how fast, and what uses which index, from the history that the collector keeps.

use std::collections::BTreeMap;

use super::bytes;
use crate::panel::{Column, Panel, Table, Value};
use crate::server::{Collector, HistoryPoint, Resolution, Trend};

/// Sizes of tables and indexes over the time that is kept, with their scans.
pub(crate) fn growth(collector: &Collector) -> Panel {
    let points = collector.history(Resolution::Quarter);
    let panel = Panel::new("growth", "Growth and use over time").note(
        "Of the largest tables and indexes, from quarter to quarter of an hour, as long as history is kept.",
    );
    let mut panel = match Trend::of_figure(&points, "databases_bytes") {
        Some(trend) => panel.figure("now_bytes", "All databases", Value::Bytes(trend.now)).figure(
            "a_day_bytes",
            "They grow a day by",
            Value::Bytes(trend.per_day),
        ),
        None => panel.missing("it takes some hours of history to say how fast it grows"),
    };
    if points.iter().any(|point| !point.relations.is_empty()) {
        panel = panel.table(relations(&points));
    }
    panel
}

#[derive(Default)]
struct Seen {
    first: Option<(f64, i64, i64)>,
    last: (f64, i64, i64),
}

fn relations(points: &[std::sync::Arc<HistoryPoint>]) -> Table {
    let mut all = BTreeMap::<(&str, &str, Option<&str>), Seen>::new();
    for point in points {
        for relation in &point.relations {
            let key = (&*relation.database, &*relation.name, relation.table.as_deref());
            let seen = all.entry(key).or_default();
            seen.last = (point.at, relation.bytes, relation.scans);
            seen.first.get_or_insert(seen.last);
        }
    }
    let columns = [
        Column::new("name", "Table or index"),
        Column::new("of", "Of"),
        Column::new("database", "Database"),
        Column::new("size_bytes", "Size"),
        Column::new("grown_bytes", "Grown by"),
        Column::new("scans", "Scans meanwhile"),
        Column::new("over_seconds", "Over"),
    ];
    let mut rows: Vec<_> =
        all.into_iter().filter_map(|(key, seen)| Some((key, seen.first?, seen.last))).collect();
    rows.sort_by_key(|(_, first, last)| std::cmp::Reverse((last.1 - first.1, last.1)));
    rows.into_iter().fold(Table::new("relations", columns), |table, ((database, name, of), first, last)| {
        // Counters that went back were reset, so it is not known how many scans there were.
        let scans = u64::try_from(last.2 - first.2).map_or(Value::Missing, Value::Count);
        table.row([
            Value::text(name),
            Value::some_text(of),
            Value::text(database),
            bytes(last.1),
            bytes(last.1 - first.1),
            scans,
            Value::Seconds(last.0 - first.0),
        ])
    })
}
