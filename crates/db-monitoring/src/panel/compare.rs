//! Compares a panel with the same panel of the period before, by the keys in its JSON.

use std::collections::HashMap;

use serde_json::Value as Json;

use super::{Column, Figure, Item, Panel, Table, Value};

/// The panels of the period before, as JSON.
#[derive(Debug, Clone, Default)]
pub struct Previous {
    panels: HashMap<String, Json>,
}

impl Previous {
    /// The panels in the `sections` of an earlier report's JSON; what is not understood is left out.
    pub fn of_report(report: &Json) -> Self {
        let sections = report["sections"].as_array().into_iter().flatten();
        let panels = sections.filter_map(|panel| Some((panel["key"].as_str()?.to_owned(), panel.clone())));
        Previous { panels: panels.collect() }
    }

    /// Says beside each figure how it changed, and of each row how its first number did.
    pub(crate) fn beside(&self, panel: &mut Panel) {
        let Some(before) = self.panels.get(&panel.key) else { return };
        let items = std::mem::take(&mut panel.items);
        for item in items {
            match item {
                Item::Figure(figure) => {
                    let change = change(&figure.value, &before["figures"][&figure.key]);
                    let (key, title) =
                        (format!("{}_change", figure.key), format!("{}: change", figure.title));
                    let beside = change.map(|value| Figure::new(key, title, value));
                    panel.items.push(Item::Figure(figure));
                    panel.items.extend(beside.map(Item::Figure));
                }
                Item::Table(table) => {
                    let rows = &before["tables"][&table.key];
                    panel.items.push(Item::Table(with_change(table, rows)));
                }
                other => panel.items.push(other),
            }
        }
    }
}

/// The table with a column more: how the first number of each row changed. A row is known again by its texts.
fn with_change(mut table: Table, before: &Json) -> Table {
    let Some(before) = before.as_array().filter(|rows| !rows.is_empty()) else { return table };
    let Some(column) = (0..table.columns.len())
        .find(|column| table.rows.iter().any(|row| row.cells.get(*column).is_some_and(is_number)))
    else {
        return table;
    };
    let name = table.columns[column].clone();
    let identity = |key: &str| before.iter().filter_map(|row| row[key].as_str()).count() == before.len();
    let keys: Vec<(usize, String)> = table
        .columns
        .iter()
        .enumerate()
        .take_while(|(index, _)| *index < column)
        .map(|(index, column)| (index, column.key.clone()))
        .filter(|(_, key)| identity(key))
        .collect();
    if keys.is_empty() {
        return table;
    }
    let known: HashMap<Vec<&str>, &Json> = before
        .iter()
        .map(|row| (keys.iter().filter_map(|(_, key)| row[key].as_str()).collect(), &row[&name.key]))
        .collect();
    for row in &mut table.rows {
        let words: Option<Vec<&str>> =
            keys.iter().map(|(index, _)| as_text(row.cells.get(*index)?)).collect();
        let earlier = words.and_then(|words| known.get(&words));
        let changed = earlier.and_then(|earlier| change(row.cells.get(column)?, earlier));
        row.cells.push(changed.unwrap_or(Value::Missing));
    }
    table.columns.push(Column::new(format!("{}_change", name.key), format!("{}: change", name.title)));
    table
}

fn change(now: &Value, before: &Json) -> Option<Value> {
    Some(now.with_number(now.as_number()? - before.as_f64()?))
}

fn is_number(value: &Value) -> bool {
    value.as_number().is_some()
}

fn as_text(value: &Value) -> Option<&str> {
    match value {
        Value::Text(text) | Value::Code(text) => Some(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn sizes(rows: &[(&str, f64)]) -> Panel {
        let mut table =
            Table::new("tables", [Column::new("table", "Table"), Column::new("size_bytes", "Size")]);
        for (name, size) in rows {
            table = table.row([Value::text(*name), Value::Bytes(*size)]);
        }
        Panel::new("sizes", "Sizes").figure("total_bytes", "In all", Value::Bytes(10.0)).table(table)
    }

    #[test]
    fn figures_and_rows_say_how_they_changed() {
        let before = json!({ "sections": [sizes(&[("a", 4.0), ("gone", 1.0)]).to_json()] });
        let mut now = sizes(&[("a", 6.0), ("new", 4.0)]);
        Previous::of_report(&before).beside(&mut now);
        let json = now.to_json();
        assert_eq!(json["figures"]["total_bytes_change"], 0.0);
        assert_eq!(json["tables"]["tables"][0]["size_bytes_change"], 2.0);
        assert_eq!(json["tables"]["tables"][1]["size_bytes_change"], Json::Null);
    }

    #[test]
    fn a_file_that_is_no_report_changes_nothing() {
        for nonsense in [json!(null), json!([1]), json!({ "sections": [{ "key": "sizes", "tables": 3 }] })] {
            let mut now = sizes(&[("a", 6.0)]);
            Previous::of_report(&nonsense).beside(&mut now);
            assert_eq!(now, sizes(&[("a", 6.0)]));
        }
    }
}
