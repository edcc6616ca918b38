//! Writes a panel as plain text: for a terminal, a file or an e-mail.
//!
//! Names come from the server and may hold anything: control characters become `�`, so none reaches a
//! terminal.

use std::fmt::Write as _;

use super::{Item, Node, Panel, Plot, Table, Value, human};
use crate::shown;

/// The longest text of a statement in a table's cell, in characters.
const LONGEST_CELL: usize = 90;

pub(crate) fn panel(panel: &Panel) -> String {
    let mut out = format!("{}\n{}\n", shown(&panel.title), "-".repeat(panel.title.chars().count()));
    if let Some(note) = &panel.note {
        let _ = writeln!(out, "{}", shown(note));
    }
    for item in &panel.items {
        match item {
            Item::Figure(figure) => {
                let status =
                    figure.status.as_ref().map_or(String::new(), |status| format!("  [{}]", status.word()));
                let _ = writeln!(out, "  {}: {}{status}", shown(&figure.title), cell(&figure.value));
            }
            Item::Table(of) => table(&mut out, of),
            Item::Tree(tree) => {
                if tree.roots.is_empty() {
                    let _ = writeln!(out, "  {}", shown(&tree.when_empty));
                }
                for root in &tree.roots {
                    node(&mut out, root, 1);
                }
            }
            Item::Plot(of) => plot(&mut out, of),
            Item::Text(text) => {
                let _ = writeln!(out, "  {}", shown(text));
            }
            Item::Sql(sql) => {
                for line in sql.lines() {
                    let _ = writeln!(out, "    {}", shown(line));
                }
            }
            Item::Missing(why) => {
                let _ = writeln!(out, "  not known: {}", shown(why));
            }
        }
    }
    out
}

fn table(out: &mut String, table: &Table) {
    if let Some(title) = &table.title {
        let _ = writeln!(out, "  {}:", shown(title));
    }
    if table.rows.is_empty() {
        let _ = writeln!(out, "  {}", shown(&table.when_empty));
        return;
    }
    let heads: Vec<String> = table.columns.iter().map(|column| column.title.to_uppercase()).collect();
    let rows: Vec<Vec<String>> = table.rows.iter().map(|row| row.cells.iter().map(cell).collect()).collect();
    let is_number = |column: usize| {
        table.rows.iter().filter_map(|row| row.cells.get(column)).any(|cell| cell.as_number().is_some())
    };
    let widths: Vec<usize> = heads
        .iter()
        .enumerate()
        .map(|(column, head)| {
            let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
            cells.chain([head.chars().count()]).max().unwrap_or(0)
        })
        .collect();
    for line in std::iter::once(&heads).chain(&rows) {
        let mut text = String::from("  ");
        for (column, (cell, width)) in line.iter().zip(&widths).enumerate() {
            let pad = " ".repeat(width.saturating_sub(cell.chars().count()));
            if is_number(column) {
                let _ = write!(text, "{pad}{cell}  ");
            } else {
                let _ = write!(text, "{cell}{pad}  ");
            }
        }
        let _ = writeln!(out, "{}", text.trim_end());
    }
    if table.left_out > 0 {
        let _ = writeln!(out, "  … and {} more", human::count(table.left_out as u64));
    }
}

fn node(out: &mut String, node: &Node, depth: usize) {
    let facts: Vec<String> = node
        .facts
        .iter()
        .map(|(_, words, value)| format!("{words} {}", cell(value)).trim().to_owned())
        .collect();
    let _ = writeln!(out, "{}{}", "  ".repeat(depth), facts.join(", "));
    for below in &node.below {
        self::node(out, below, depth + 1);
    }
}

/// A plot as the least, the mean and the most of each series: a terminal has no room for more.
fn plot(out: &mut String, plot: &Plot) {
    let unit = |number: f64| match plot.unit.as_str() {
        "bytes" => human::bytes(number),
        "seconds" => human::seconds(number),
        "percent" => format!("{} %", human::number(number)),
        unit => format!("{} {unit}", human::number(number)),
    };
    let _ = writeln!(out, "  {}:", shown(&plot.title));
    for series in &plot.series {
        let known: Vec<f64> = series.values.iter().copied().flatten().collect();
        if known.is_empty() {
            continue;
        }
        let (least, most) =
            known.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, m), v| (l.min(*v), m.max(*v)));
        let mean = known.iter().sum::<f64>() / known.len() as f64;
        let _ = writeln!(
            out,
            "    {}: least {}, mean {}, most {}",
            shown(&series.name),
            unit(least),
            unit(mean),
            unit(most)
        );
    }
}

fn cell(value: &Value) -> String {
    let text = human::value(value);
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if text.chars().count() <= LONGEST_CELL {
        return shown(&text);
    }
    shown(&text.chars().take(LONGEST_CELL - 1).chain(['…']).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::super::{Column, Panel};
    use super::*;

    #[test]
    fn a_table_lines_up_and_shows_no_control_character() {
        let table = Table::new("t", [Column::new("table", "Table"), Column::new("size_bytes", "Size")])
            .row([Value::text("a\u{1b}[31mb\u{202e}"), Value::Bytes(1024.0)])
            .row([Value::text("orders"), Value::Missing])
            .at_most(1);
        let text = Panel::new("sizes", "Sizes").table(table).missing("no statistics").to_text();
        assert_eq!(
            text,
            "Sizes\n-----\n  TABLE        SIZE\n  a�[31mb�  1.0 KiB\n  … and 1 more\n  not known: no statistics\n"
        );
    }
}
