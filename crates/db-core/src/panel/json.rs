//! Writes a panel as JSON, by its keys.

use serde_json::{Map, Value as Json, json};

use super::{Item, Node, Panel, Plot, Row, Table, Value, human};

/// The panel: what it does not have is an empty object or list, so readers need not look first.
pub(crate) fn panel(panel: &Panel) -> Json {
    let (mut figures, mut tables, mut trees, mut plots) = (Map::new(), Map::new(), Map::new(), Map::new());
    let (mut statuses, mut left_out) = (Map::new(), Map::new());
    let (mut texts, mut sql, mut missing) = (Vec::new(), Vec::new(), Vec::new());
    for item in &panel.items {
        match item {
            Item::Figure(figure) => {
                figures.insert(figure.key.clone(), value(&figure.value));
                if let Some(status) = &figure.status {
                    statuses.insert(figure.key.clone(), status.word().into());
                }
            }
            Item::Table(table) => {
                tables.insert(table.key.clone(), table.rows.iter().map(|cells| row(table, cells)).collect());
                if table.left_out > 0 {
                    left_out.insert(table.key.clone(), table.left_out.into());
                }
            }
            Item::Tree(tree) => {
                trees.insert(tree.key.clone(), tree.roots.iter().map(node).collect());
            }
            Item::Plot(figure) => {
                plots.insert(figure.key.clone(), plot(figure));
            }
            Item::Text(text) => texts.push(text.as_str()),
            Item::Sql(text) => sql.push(text.as_str()),
            Item::Missing(why) => missing.push(why.as_str()),
        }
    }
    json!({
        "key": panel.key,
        "title": panel.title,
        "note": panel.note,
        "figures": figures,
        "statuses": statuses,
        "tables": tables,
        "left_out": left_out,
        "trees": trees,
        "plots": plots,
        "texts": texts,
        "sql": sql,
        "missing": missing,
    })
}

/// A number, a text, or null; what is not finite is null, as JSON has no other word for it.
pub(crate) fn value(value: &Value) -> Json {
    match value {
        Value::Missing => Json::Null,
        Value::Text(text) | Value::Code(text) => text.as_str().into(),
        Value::Count(count) => (*count).into(),
        Value::Number(number) | Value::Percent(number) | Value::Bytes(number) | Value::Seconds(number) => {
            (*number).into()
        }
        Value::At(at) => human::stamp(*at).into(),
        Value::Status(status) => status.word().into(),
    }
}

/// A plot: its times, and each series by name.
pub(crate) fn plot(plot: &Plot) -> Json {
    let series = plot
        .series
        .iter()
        .map(|series| json!({ "name": series.name, "colour": series.colour, "values": series.values }));
    json!({
        "key": plot.key,
        "title": plot.title,
        "unit": plot.unit,
        "times": plot.times,
        "series": series.collect::<Vec<_>>(),
        "stacked": plot.stacked,
        "range": plot.range.map(|(from, to)| [from, to]),
        "limit": plot.limit.as_ref().map(|(name, at)| json!({ "name": name, "at": at })),
        "marks": plot.marks.iter().map(|(at, what)| json!({ "at": at, "what": what })).collect::<Vec<_>>(),
    })
}

fn row(table: &Table, row: &Row) -> Json {
    let cells = table.columns.iter().zip(&row.cells);
    Json::Object(cells.map(|(column, cell)| (column.key.clone(), value(cell))).collect())
}

fn node(node: &Node) -> Json {
    let mut facts: Map<String, Json> =
        node.facts.iter().map(|(key, _, of)| (key.clone(), value(of))).collect();
    facts.insert("below".to_owned(), node.below.iter().map(self::node).collect());
    Json::Object(facts)
}
