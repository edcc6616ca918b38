//! The generators that a column can name, and the keys that each of them takes.

use crate::error::Result;
use crate::keys::{self, Keys};
use crate::spec::TableSpec;
use crate::template::Template;

/// How a column's values are made.
#[derive(Debug, Clone)]
pub(crate) enum Kind {
    /// A uuid made from the table and the row: what references compute.
    Id,
    /// A random uuid; `every` consecutive rows share one.
    Uuid {
        every: u64,
    },
    /// A column of a random row of an earlier table.
    Reference {
        table: usize,
        column: usize,
        skew: u32,
        distinct: bool,
    },
    /// A column of each row of an earlier table in turn, over and over.
    Each {
        table: usize,
        column: usize,
    },
    /// Another column of the row that `through` refers to.
    Follow {
        through: usize,
        table: usize,
        column: usize,
    },
    /// A follow whose column is not resolved yet.
    FollowName {
        through: usize,
        column: String,
    },
    /// A uuid shared by consecutive rows, about `mean` of them.
    Aggregate {
        mean: u64,
    },
    /// 1, 2, 3, … within an aggregate.
    Version {
        of: usize,
    },
    /// One of some texts; `upto` are the weights added up.
    OneOf {
        values: Vec<String>,
        upto: Vec<u64>,
    },
    Integer {
        min: i64,
        max: i64,
    },
    Boolean {
        probability: f64,
    },
    /// A moment in `[from, to)`; within a group, `step` later for each row.
    Timestamp {
        from: i64,
        to: i64,
        recent: u32,
        step: i64,
    },
    /// A moment from `least` to `within` after another column's.
    After {
        column: usize,
        least: i64,
        within: i64,
    },
    Date {
        from: i64,
        to: i64,
    },
    Template {
        template: Template,
        columns: Vec<(String, usize)>,
    },
    Bytes {
        length: u64,
    },
}

const DAY: i64 = 86_400_000_000;

const GENERATORS: &str = "id, uuid, reference, each, follow, aggregate, version, one_of, integer, boolean, \
     timestamp, date, text or bytes";

/// The names that a column may mention.
pub(crate) struct Scope<'a> {
    pub(crate) anchor: i64,
    pub(crate) names: &'a [String],
    pub(crate) earlier: &'a [TableSpec],
}

/// Reads the `generator` key and the keys that belong to it.
pub(crate) fn read(keys: &mut Keys<'_>, by: Option<usize>, scope: &Scope<'_>) -> Result<Kind> {
    let generator = keys.text("generator")?;
    Ok(match generator.as_str() {
        "id" => Kind::Id,
        "uuid" => Kind::Uuid { every: positive(keys, "every")?.unwrap_or(1) },
        "reference" => {
            let (table, column) = scope.target(keys)?;
            let skew =
                keys.optional("skew", "a whole number from 1 (uniform) to 8", keys::power)?.unwrap_or(1);
            let distinct = keys.optional("distinct", "true or false", toml::Value::as_bool)?.unwrap_or(false);
            if distinct && by.is_none() {
                return Err(keys.error("distinct needs by: distinct among the rows of what?"));
            }
            Kind::Reference { table, column, skew, distinct }
        }
        "each" => {
            let (table, column) = scope.target(keys)?;
            Kind::Each { table, column }
        }
        "follow" => {
            Kind::FollowName { through: scope.column(keys, "through")?, column: keys.text("column")? }
        }
        "aggregate" => Kind::Aggregate { mean: positive(keys, "mean")?.unwrap_or(10) },
        "version" => Kind::Version { of: scope.column(keys, "of")? },
        "one_of" => one_of(keys)?,
        "integer" => {
            let min = keys.required("min", "a whole number", keys::integer)?;
            let max = keys.required("max", "a whole number", keys::integer)?;
            ordered(keys, min, max)?;
            Kind::Integer { min, max }
        }
        "boolean" => Kind::Boolean {
            probability: keys.required("probability", "a probability from 0 to 1", keys::probability)?,
        },
        "timestamp" => timestamp(keys, scope)?,
        "date" => {
            let (from, to) = range(keys, scope.anchor)?;
            Kind::Date { from: from.div_euclid(DAY), to: to.div_euclid(DAY) }
        }
        "text" => {
            let template = keys.text("template")?;
            let template = Template::parse(&template).map_err(|found| keys.error(found))?;
            let columns = template
                .columns()
                .map(|name| Ok((name.to_owned(), scope.find(keys, name)?)))
                .collect::<Result<_>>()?;
            Kind::Template { template, columns }
        }
        "bytes" => Kind::Bytes { length: positive(keys, "length")?.unwrap_or(32) },
        other => return Err(keys.error(format!("unknown generator {other:?} (allowed: {GENERATORS})"))),
    })
}

impl Kind {
    /// The table that the value identifies a row of.
    pub(crate) fn target(&self, earlier: &[TableSpec]) -> Option<usize> {
        match self {
            Kind::Reference { table, .. } | Kind::Each { table, .. } => Some(*table),
            Kind::Follow { table, column, .. } => {
                earlier.get(*table)?.columns.get(*column)?.kind.target(earlier)
            }
            _ => None,
        }
    }

    /// Whether rows can be grouped by the value.
    pub(crate) fn groups(&self) -> bool {
        matches!(
            self,
            Kind::Id
                | Kind::Uuid { .. }
                | Kind::Reference { .. }
                | Kind::Each { .. }
                | Kind::Follow { .. }
                | Kind::Aggregate { .. }
        )
    }

    /// The columns of the same row that the value is computed from.
    pub(crate) fn needs(&self) -> Vec<usize> {
        match self {
            Kind::Follow { through, .. } | Kind::FollowName { through, .. } => vec![*through],
            Kind::Version { of } => vec![*of],
            Kind::After { column, .. } => vec![*column],
            Kind::Template { columns, .. } => columns.iter().map(|(_, column)| *column).collect(),
            _ => Vec::new(),
        }
    }
}

impl Scope<'_> {
    pub(crate) fn optional_column(&self, keys: &mut Keys<'_>, key: &str) -> Result<Option<usize>> {
        let name = keys.optional(key, "a column of this table", keys::text)?;
        name.map(|name| self.find(keys, &name)).transpose()
    }

    pub(crate) fn only_if(&self, keys: &mut Keys<'_>) -> Result<Option<(usize, String)>> {
        let allowed = "a table such as { status = \"sent\" }";
        let Some((column, is)) = keys.optional("only_if", allowed, |value| {
            let mut pairs = value.as_table()?.iter();
            let (column, is) = pairs.next()?;
            pairs.next().is_none().then(|| (column.clone(), plain(is)))
        })?
        else {
            return Ok(None);
        };
        let is = is.ok_or_else(|| keys.error(format!("only_if compares {column} with no plain value")))?;
        Ok(Some((self.find(keys, &column)?, is)))
    }

    fn column(&self, keys: &mut Keys<'_>, key: &str) -> Result<usize> {
        let name = keys.text(key)?;
        self.find(keys, &name)
    }

    fn find(&self, keys: &Keys<'_>, name: &str) -> Result<usize> {
        let found = self.names.iter().position(|known| known == name);
        found.ok_or_else(|| keys.error(format!("this table has no column {name}")))
    }

    /// `table = "…"`, and `column = "…"` where it is not `id`.
    fn target(&self, keys: &mut Keys<'_>) -> Result<(usize, usize)> {
        let name = keys.text("table")?;
        let column = keys.optional("column", "a column of that table", keys::text)?;
        let column = column.unwrap_or_else(|| "id".to_owned());
        let table = self.earlier.iter().position(|table| table.name == name).ok_or_else(|| {
            keys.error(format!(
                "{name} is no generated table with a lower number (rows of CSV files are not known here)"
            ))
        })?;
        let found = self.earlier[table].column(&column);
        Ok((table, found.ok_or_else(|| keys.error(format!("table {name} has no column {column}")))?))
    }
}

fn one_of(keys: &mut Keys<'_>) -> Result<Kind> {
    let values = keys.required("values", "a list of texts, numbers or booleans", |value| {
        value
            .as_array()?
            .iter()
            .map(plain)
            .collect::<Option<Vec<String>>>()
            .filter(|values| !values.is_empty())
    })?;
    let weights = keys.optional("weights", "a list of whole numbers above 0", |value| {
        value.as_array()?.iter().map(|weight| keys::unsigned(weight).filter(|weight| *weight > 0)).collect()
    })?;
    let weights: Vec<u64> = weights.unwrap_or_else(|| vec![1; values.len()]);
    if weights.len() != values.len() {
        return Err(keys.error(format!("{} weights for {} values", weights.len(), values.len())));
    }
    let upto = weights.iter().scan(0_u64, |sum, weight| {
        *sum = sum.saturating_add(*weight);
        Some(*sum)
    });
    Ok(Kind::OneOf { values, upto: upto.collect() })
}

fn timestamp(keys: &mut Keys<'_>, scope: &Scope<'_>) -> Result<Kind> {
    let spans = "a span such as 7m, 12h or 30d";
    if let Some(column) = scope.optional_column(keys, "after")? {
        let least = keys.optional("least", spans, keys::span)?.unwrap_or(1);
        let within = keys.required("within", spans, keys::span)?;
        ordered(keys, least, within)?;
        return Ok(Kind::After { column, least, within });
    }
    let (from, to) = range(keys, scope.anchor)?;
    let recent = keys.optional("recent", "a whole number from 1 (uniform) to 8", keys::power)?.unwrap_or(1);
    let step = keys.optional("step", spans, keys::span)?.unwrap_or(0);
    Ok(Kind::Timestamp { from, to, recent, step })
}

fn range(keys: &mut Keys<'_>, anchor: i64) -> Result<(i64, i64)> {
    let allowed = "a span from the anchor such as -30d, or a time such as 2026-01-01T00:00:00Z";
    let read = |value: &toml::Value| {
        keys::span(value).and_then(|span| anchor.checked_add(span)).or(keys::moment(value))
    };
    let (from, to) = (keys.required("from", allowed, read)?, keys.required("to", allowed, read)?);
    ordered(keys, from, to)?;
    Ok((from, to))
}

fn ordered(keys: &Keys<'_>, from: i64, to: i64) -> Result<()> {
    if from <= to { Ok(()) } else { Err(keys.error("the range ends before it begins")) }
}

fn positive(keys: &mut Keys<'_>, key: &str) -> Result<Option<u64>> {
    keys.optional(key, "a whole number from 1 to 1000000", |value| {
        keys::unsigned(value).filter(|number| (1..=1_000_000).contains(number))
    })
}

fn plain(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Boolean(value) => Some(value.to_string()),
        _ => None,
    }
}
