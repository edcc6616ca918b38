//! What a request asks for: which page, of which time, ordered and filtered how, and in which form.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::http::HeaderMap;
use axum::http::header::ACCEPT;

use crate::panel::{Item, Panel, Row, Table, Value};

/// The times that a page offers, in words of its query and in seconds.
pub(super) const SPANS: [(&str, u64); 6] =
    [("5m", 300), ("15m", 900), ("1h", 3_600), ("6h", 21_600), ("24h", 86_400), ("7d", 604_800)];
const DEFAULT_SPAN: (&str, u64) = SPANS[1];
/// So many rows has a table unless more are asked for, and at most.
const ROWS: usize = 50;
const MOST_ROWS: usize = 5_000;

/// What the query of a page says; nonsense in it counts as not said.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Asked {
    pub(super) from: SystemTime,
    pub(super) to: SystemTime,
    /// The name of the span up to now; none where both ends are fixed.
    pub(super) span: Option<&'static str>,
    /// Rows must have this in one of their texts.
    pub(super) filter: String,
    /// The column that orders a table, as `table.column`.
    pub(super) sort: Option<String>,
    pub(super) rows: usize,
}

impl Asked {
    pub(super) fn of(query: &str, now: SystemTime) -> Self {
        let (mut span, mut from, mut to) = (DEFAULT_SPAN, None, None);
        let (mut filter, mut sort, mut rows) = (String::new(), None, ROWS);
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "last" => span = SPANS.into_iter().find(|(name, _)| *name == value).unwrap_or(span),
                "from" => from = moment(&value),
                "to" => to = moment(&value),
                "q" => filter = value.trim().to_owned(),
                "sort" => sort = Some(value.into_owned()).filter(|sort| sort.contains('.')),
                "rows" => rows = value.parse().unwrap_or(ROWS).clamp(1, MOST_ROWS),
                _ => {}
            }
        }
        match (from, to) {
            (Some(from), Some(to)) if from < to => Asked { from, to, span: None, filter, sort, rows },
            _ => {
                let from = now.checked_sub(Duration::from_secs(span.1)).unwrap_or(UNIX_EPOCH);
                Asked { from, to: now, span: Some(span.0), filter, sort, rows }
            }
        }
    }

    /// The query of the same page in another order, without the order.
    pub(super) fn without_sort(&self) -> String {
        let mut query = url::form_urlencoded::Serializer::new(self.time());
        if !self.filter.is_empty() {
            query.append_pair("q", &self.filter);
        }
        if self.rows != ROWS {
            query.append_pair("rows", &self.rows.to_string());
        }
        query.finish()
    }

    /// The part of the query that says which time: what all links keep.
    pub(super) fn time(&self) -> String {
        match self.span {
            Some(span) if span == DEFAULT_SPAN.0 => String::new(),
            Some(span) => format!("last={span}"),
            None => format!("from={}&to={}", millis(self.from), millis(self.to)),
        }
    }

    /// Filters, orders and cuts the panels' tables.
    pub(super) fn apply(&self, panels: &mut [Panel]) {
        for table in panels.iter_mut().flat_map(|panel| &mut panel.items).filter_map(as_table) {
            if !self.filter.is_empty() {
                let wanted = self.filter.to_lowercase();
                table.rows.retain(|row| row.cells.iter().any(|cell| has(cell, &wanted)));
            }
            if let Some((_, column)) =
                self.sort.as_deref().and_then(|sort| sort.split_once('.')).filter(|(of, _)| *of == table.key)
                && let Some(column) = table.columns.iter().position(|known| known.key == column)
            {
                order(&mut table.rows, column);
            }
            table.left_out += table.rows.len().saturating_sub(self.rows);
            table.rows.truncate(self.rows);
        }
    }
}

/// Whether the answer is to be JSON: by the path's end, or because the client says so.
pub(super) fn wants_json(path: &str, headers: &HeaderMap) -> bool {
    let accepts = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    path.ends_with(".json")
        || accepts
            .split(',')
            .any(|kind| kind.split(';').next().unwrap_or_default().trim() == "application/json")
}

fn as_table(item: &mut Item) -> Option<&mut Table> {
    match item {
        Item::Table(table) => Some(table),
        _ => None,
    }
}

fn has(cell: &Value, wanted: &str) -> bool {
    match cell {
        Value::Text(text) | Value::Code(text) => text.to_lowercase().contains(wanted),
        Value::Status(status) => status.word() == wanted,
        _ => false,
    }
}

/// The largest number first, texts from a to z, and last what is not known.
fn order(rows: &mut [Row], column: usize) {
    let cell = |row: &Row| row.cells.get(column).cloned().unwrap_or(Value::Missing);
    rows.sort_by(|a, b| match (cell(a), cell(b)) {
        (Value::Text(a) | Value::Code(a), Value::Text(b) | Value::Code(b)) => a.cmp(&b),
        (Value::At(a), Value::At(b)) => b.cmp(&a),
        (Value::Status(a), Value::Status(b)) => a.word().cmp(b.word()),
        (a, b) => {
            let number = |value: &Value| value.as_number().unwrap_or(f64::NEG_INFINITY);
            number(&b).total_cmp(&number(&a))
        }
    });
}

/// Milliseconds since 1970.
fn moment(text: &str) -> Option<SystemTime> {
    UNIX_EPOCH.checked_add(Duration::from_millis(text.parse().ok()?))
}

fn millis(at: SystemTime) -> u128 {
    at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::panel::Column;

    fn now() -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_000_000)
    }

    #[test]
    fn a_link_leads_to_the_same_time_and_nonsense_to_the_default() {
        for (query, time) in [
            ("", ""),
            ("last=6h", "last=6h"),
            ("last=yesterday", ""),
            ("from=1000&to=2000", "from=1000&to=2000"),
            ("from=2000&to=1000", ""),
            ("from=1000&to=999999999999999999999", ""),
            ("from=0&to=18446744073709551615&last=5m", "from=0&to=18446744073709551615"),
        ] {
            let asked = Asked::of(query, now());
            assert_eq!(asked.time(), time, "{query}");
            assert_eq!(Asked::of(&asked.time(), now()), asked);
        }
    }

    #[test]
    fn tables_are_filtered_ordered_and_cut() {
        let table = ["b", "a", "c", "ab"].iter().zip(1..).fold(
            Table::new("t", [Column::new("name", "Name"), Column::new("n", "N")]),
            |table, (name, n)| table.row([Value::text(*name), Value::Count(n)]),
        );
        let rows = |query: &str| {
            let mut panels = [Panel::new("p", "P").table(table.clone())];
            Asked::of(query, now()).apply(&mut panels);
            let json = panels[0].to_json();
            let names =
                json["tables"]["t"].as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap());
            (names.collect::<Vec<_>>().join(" "), json["left_out"]["t"].as_u64())
        };
        assert_eq!(rows(""), ("b a c ab".to_owned(), None));
        assert_eq!(rows("q=B"), ("b ab".to_owned(), None));
        assert_eq!(rows("sort=t.n"), ("ab c a b".to_owned(), None));
        assert_eq!(rows("sort=t.name&rows=2"), ("a ab".to_owned(), Some(2)));
        assert_eq!(rows("sort=t.nothing&rows=0"), ("b".to_owned(), Some(3)));
    }

    #[test]
    fn json_is_for_who_asks_for_it() {
        let accept = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, text.parse().unwrap());
            wants_json("/", &headers)
        };
        assert!(accept("application/json") && accept("text/plain, application/json;q=0.9"));
        assert!(!accept("text/html,*/*;q=0.8"));
        assert!(wants_json("/locks.json", &HeaderMap::new()));
    }
}
