//! What a page or a report shows: figures, tables, trees and plots, before anybody renders them.
//!
//! Each crate draws its own; db-monitoring makes pages and reports of them. One panel becomes HTML, text and
//! JSON by the same code, so the three never disagree. Its keys are the names in the JSON and stay as they
//! are; a key ends in the unit of its value: `_bytes`, `_seconds`, `_percent`, `_at`.

pub mod human;
mod json;
mod text;

use std::time::SystemTime;

use crate::CheckStatus;

/// One subject: a title, a sentence, and what there is to see.
///
/// ```
/// use db_core::panel::{Column, Panel, Table, Value};
///
/// let sizes = Table::new("tables", [Column::new("table", "Table"), Column::new("size_bytes", "Size")])
///     .row([Value::text("orders"), Value::Bytes(8192.0)]);
/// let panel = Panel::new("sizes", "Sizes").figure("total_bytes", "In all",
/// Value::Bytes(8192.0)).table(sizes);
/// assert_eq!(panel.to_json()["tables"]["tables"][0]["size_bytes"], 8192.0);
/// assert!(panel.to_text().contains("8.0 KiB"));
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct Panel {
    /// Its name in JSON, and the anchor of its place in a page.
    pub key: String,
    /// Its heading.
    pub title: String,
    /// What people should know to read it.
    pub note: Option<String>,
    /// What there is to see, in order.
    pub items: Vec<Item>,
}

/// One thing in a panel.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Item {
    /// A single figure.
    Figure(Figure),
    /// Rows.
    Table(Table),
    /// What hangs below what, such as who waits for whom.
    Tree(Tree),
    /// Values over time.
    Plot(Plot),
    /// A paragraph.
    Text(String),
    /// SQL that a person may want to run.
    Sql(String),
    /// Why there is nothing to see: it is not known, which is not the same as nothing.
    Missing(String),
}

/// A single figure.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Figure {
    /// Its name in JSON.
    pub key: String,
    /// What people call it.
    pub title: String,
    /// What it is.
    pub value: Value,
    /// The verdict, if somebody judged.
    pub status: Option<CheckStatus>,
}

/// A value with its unit.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// It is not known.
    Missing,
    /// Words.
    Text(String),
    /// SQL or other code.
    Code(String),
    /// How many.
    Count(u64),
    /// A number without a unit.
    Number(f64),
    /// Hundredths.
    Percent(f64),
    /// Bytes.
    Bytes(f64),
    /// Seconds.
    Seconds(f64),
    /// A moment.
    At(SystemTime),
    /// A verdict.
    Status(CheckStatus),
}

/// Rows under column headings. The values of its first column tell one row from another.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct Table {
    /// Its name in JSON.
    pub key: String,
    /// What people call it; none where the panel's title is enough.
    pub title: Option<String>,
    /// What its rows have.
    pub columns: Vec<Column>,
    /// What there is.
    pub rows: Vec<Row>,
    /// What it means that there is no row.
    pub when_empty: String,
    /// So many rows were left out.
    pub left_out: usize,
}

/// What every row of a table has.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Column {
    /// Its name in JSON.
    pub key: String,
    /// Its heading.
    pub title: String,
}

/// One row of a table.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct Row {
    /// A value for each column.
    pub cells: Vec<Value>,
    /// The page that has more, relative to the dashboard's root.
    pub link: Option<String>,
    /// The colour of what it is about, the same as in the plots.
    pub colour: Option<usize>,
    /// Parts of a whole as (colour, share from 0 to 1), drawn as one bar.
    pub bar: Vec<(usize, f64)>,
    /// The server's session that it is about, which a person may want to end.
    pub session: Option<(i32, String)>,
}

/// What hangs below what.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct Tree {
    /// Its name in JSON.
    pub key: String,
    /// Those that hang below nobody.
    pub roots: Vec<Node>,
    /// What it means that there is none.
    pub when_empty: String,
}

/// One in a tree.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct Node {
    /// Its figures: name in JSON, words around it, value.
    pub facts: Vec<(String, String, Value)>,
    /// The server's session that it is.
    pub session: Option<(i32, String)>,
    /// Those below it.
    pub below: Vec<Node>,
}

/// Values over time.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct Plot {
    /// Its name in JSON.
    pub key: String,
    /// Its heading.
    pub title: String,
    /// The unit of its values: `bytes`, `seconds`, `percent`, or a word for what is counted.
    pub unit: String,
    /// When each value was, in seconds since 1970, ascending.
    pub times: Vec<f64>,
    /// What is drawn.
    pub series: Vec<Series>,
    /// Whether the series add up to a whole.
    pub stacked: bool,
    /// A line that says how much is much, and its name.
    pub limit: Option<(String, f64)>,
    /// The time that is drawn, in seconds since 1970, where that is more than the values cover.
    pub range: Option<(f64, f64)>,
    /// Moments at which something happened, such as a deployment, and what.
    pub marks: Vec<(f64, String)>,
}

/// One line or layer of a plot.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Series {
    /// What it is.
    pub name: String,
    /// Which colour: the same for the same thing everywhere.
    pub colour: usize,
    /// A value for each time; none where it is not known.
    pub values: Vec<Option<f64>>,
}

impl Panel {
    /// A panel that shows nothing yet.
    pub fn new(key: impl Into<String>, title: impl Into<String>) -> Self {
        Panel { key: key.into(), title: title.into(), note: None, items: Vec::new() }
    }

    /// The same panel with a sentence below its heading.
    #[must_use]
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.note = Some(note.into());
        self
    }

    /// The same panel with one thing more.
    #[must_use]
    pub fn item(mut self, item: Item) -> Self {
        self.items.push(item);
        self
    }

    /// The same panel with a figure more.
    #[must_use]
    pub fn figure(self, key: impl Into<String>, title: impl Into<String>, value: Value) -> Self {
        self.item(Item::Figure(Figure::new(key, title, value)))
    }

    /// The same panel with a figure more, and how it stands.
    #[must_use]
    pub fn judged(
        self,
        key: impl Into<String>,
        title: impl Into<String>,
        value: Value,
        status: CheckStatus,
    ) -> Self {
        self.item(Item::Figure(Figure { key: key.into(), title: title.into(), value, status: Some(status) }))
    }

    /// The same panel with a table more.
    #[must_use]
    pub fn table(self, table: Table) -> Self {
        self.item(Item::Table(table))
    }

    /// The same panel with a plot more.
    #[must_use]
    pub fn plot(self, plot: Plot) -> Self {
        self.item(Item::Plot(plot))
    }

    /// The same panel with a paragraph more.
    #[must_use]
    pub fn text(self, text: impl Into<String>) -> Self {
        self.item(Item::Text(text.into()))
    }

    /// The same panel with SQL to run.
    #[must_use]
    pub fn sql(self, sql: impl Into<String>) -> Self {
        self.item(Item::Sql(sql.into()))
    }

    /// The same panel, which says why there is nothing.
    #[must_use]
    pub fn missing(self, why: impl Into<String>) -> Self {
        self.item(Item::Missing(why.into()))
    }

    /// The panel as JSON: figures by key, tables by key as rows by column, trees, plots, and what is missing.
    pub fn to_json(&self) -> serde_json::Value {
        json::panel(self)
    }

    /// The panel as plain text, for a terminal or an e-mail.
    pub fn to_text(&self) -> String {
        text::panel(self)
    }
}

impl Value {
    /// Words.
    pub fn text(text: impl Into<String>) -> Self {
        Value::Text(text.into())
    }

    /// Words, or that there are none.
    pub fn some_text(text: Option<impl Into<String>>) -> Self {
        text.map_or(Value::Missing, Value::text)
    }

    /// The value as a number, if it is one.
    pub fn as_number(&self) -> Option<f64> {
        match self {
            Value::Count(count) => Some(*count as f64),
            Value::Number(number)
            | Value::Percent(number)
            | Value::Bytes(number)
            | Value::Seconds(number) => Some(*number),
            _ => None,
        }
    }

    /// The same kind of value with another number.
    #[must_use]
    pub fn with_number(&self, number: f64) -> Self {
        match self {
            Value::Percent(_) => Value::Percent(number),
            Value::Bytes(_) => Value::Bytes(number),
            Value::Seconds(_) => Value::Seconds(number),
            _ => Value::Number(number),
        }
    }
}

impl Table {
    /// A table without rows.
    pub fn new(key: impl Into<String>, columns: impl IntoIterator<Item = Column>) -> Self {
        Table {
            key: key.into(),
            columns: columns.into_iter().collect(),
            when_empty: "There is none.".to_owned(),
            ..Table::default()
        }
    }

    /// The same table under a heading of its own.
    #[must_use]
    pub fn titled(mut self, title: impl Into<String>) -> Self {
        self.title = Some(title.into());
        self
    }

    /// The same table, which says this where it has no row.
    #[must_use]
    pub fn when_empty(mut self, words: impl Into<String>) -> Self {
        self.when_empty = words.into();
        self
    }

    /// The same table with a row more.
    #[must_use]
    pub fn row(self, cells: impl IntoIterator<Item = Value>) -> Self {
        self.with(Row::of(cells))
    }

    /// The same table with a row more, which may have a link, a colour or a bar.
    #[must_use]
    pub fn with(mut self, row: Row) -> Self {
        self.rows.push(row);
        self
    }

    /// The same table with at most this many rows; it says how many it left out.
    #[must_use]
    pub fn at_most(mut self, rows: usize) -> Self {
        self.left_out += self.rows.len().saturating_sub(rows);
        self.rows.truncate(rows);
        self
    }
}

impl Column {
    /// A column.
    pub fn new(key: impl Into<String>, title: impl Into<String>) -> Self {
        Column { key: key.into(), title: title.into() }
    }
}

impl Row {
    /// A row of these values.
    pub fn of(cells: impl IntoIterator<Item = Value>) -> Self {
        Row { cells: cells.into_iter().collect(), ..Row::default() }
    }

    /// The same row, which leads to a page.
    #[must_use]
    pub fn link(mut self, to: impl Into<String>) -> Self {
        self.link = Some(to.into());
        self
    }

    /// The same row in a colour.
    #[must_use]
    pub fn colour(mut self, colour: usize) -> Self {
        self.colour = Some(colour);
        self
    }
}

impl Figure {
    /// A figure that nobody judged.
    pub fn new(key: impl Into<String>, title: impl Into<String>, value: Value) -> Self {
        Figure { key: key.into(), title: title.into(), value, status: None }
    }
}

impl Tree {
    /// A tree of these roots; `when_empty` says what it means that there is none.
    pub fn of(key: impl Into<String>, roots: Vec<Node>, when_empty: impl Into<String>) -> Self {
        Tree { key: key.into(), roots, when_empty: when_empty.into() }
    }
}

impl Plot {
    /// A plot of nothing yet.
    pub fn new(key: impl Into<String>, title: impl Into<String>, unit: impl Into<String>) -> Self {
        Plot { key: key.into(), title: title.into(), unit: unit.into(), ..Plot::default() }
    }

    /// The plot as JSON: its times, and each series by name.
    pub fn to_json(&self) -> serde_json::Value {
        json::plot(self)
    }

    /// The same plot over these times, in seconds since 1970.
    #[must_use]
    pub fn over(mut self, times: Vec<f64>) -> Self {
        self.times = times;
        self
    }

    /// The same plot, drawn over this time whatever the values cover.
    #[must_use]
    pub fn range(mut self, from: f64, to: f64) -> Self {
        self.range = Some((from, to));
        self
    }

    /// The same plot with a series more.
    #[must_use]
    pub fn series(mut self, name: impl Into<String>, colour: usize, values: Vec<Option<f64>>) -> Self {
        self.series.push(Series { name: name.into(), colour, values });
        self
    }

    /// The same plot, whose series add up.
    #[must_use]
    pub fn stacked(mut self) -> Self {
        self.stacked = true;
        self
    }

    /// The same plot with a line that says how much is much.
    #[must_use]
    pub fn limit(mut self, name: impl Into<String>, at: f64) -> Self {
        self.limit = Some((name.into(), at));
        self
    }
}
