//! The steps of a plan: what each does, in words, and in SQL.

use std::fmt;

use serde::Serialize;

use super::catalog::{Child, Table};
use super::siblings::Carried;
use crate::name::{TableName, identifier, literal};

/// One step of a set's plan.
///
/// ```
/// # fn show(plan: &db_maintenance::partitions::Plan) {
/// for step in plan.sets.iter().flat_map(|set| &set.steps) {
///     println!("{step}");
/// }
/// # }
/// ```
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "step", rename_all = "lowercase")]
#[non_exhaustive]
pub enum Step {
    /// Ends a DETACH CONCURRENTLY that was interrupted.
    Finalize {
        /// The partition.
        partition: TableName,
        /// What the catalog knew.
        #[serde(skip)]
        target: Target,
    },
    /// Makes a partition and attaches it.
    Create {
        /// The new table.
        partition: TableName,
        /// Its bounds, as SQL.
        bounds: String,
        /// The tables that divide it again.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        divided: Vec<TableName>,
        /// What is run.
        #[serde(skip)]
        statements: Vec<String>,
        /// The table that it becomes a part of, by its number.
        #[serde(skip)]
        parent: u32,
    },
    /// Moves rows of the default partition into a new one.
    Drain {
        /// The new table.
        partition: TableName,
        /// Its bounds, as SQL.
        bounds: String,
        /// How many rows.
        rows: i64,
        /// What is run.
        #[serde(skip)]
        statements: Vec<String>,
        /// The table that it becomes a part of, by its number.
        #[serde(skip)]
        parent: u32,
    },
    /// Takes a partition out that has outlived its rows; they stay in the table.
    Detach {
        /// The partition.
        partition: TableName,
        /// Its bounds, as SQL.
        bounds: String,
        /// How many rows it has; none where counting took too long.
        rows: Option<i64>,
        /// The greatest value of its key.
        newest: Option<String>,
        /// Whether without an exclusive lock on the set: impossible where there is a default partition.
        concurrently: bool,
        /// What the catalog knew.
        #[serde(skip)]
        target: Target,
    },
    /// Writes the rows of a table that was detached to the archive, and reads them back.
    Archive {
        /// The table.
        partition: TableName,
        /// What the archive calls it.
        name: String,
        /// What the catalog knew.
        #[serde(skip)]
        target: Target,
    },
    /// Drops a table that was detached by an earlier run.
    Drop {
        /// The table.
        partition: TableName,
        /// The rows that were archived; none where no archive is asked for.
        archived_rows: Option<u64>,
        /// What the catalog knew.
        #[serde(skip)]
        target: Target,
    },
}

/// A table as it was when the plan was made: what is no longer so is not touched.
#[derive(Debug, Clone)]
pub struct Target {
    pub(crate) child: Child,
    pub(crate) parent: TableName,
}

impl Step {
    /// What the step is called in reports, and which table it is about.
    pub fn what(&self) -> String {
        match self {
            Step::Finalize { partition, .. } => format!("finalize the detaching of {partition}"),
            Step::Create { partition, .. } => format!("create {partition}"),
            Step::Drain { partition, .. } => format!("drain into {partition}"),
            Step::Detach { partition, .. } => format!("detach {partition}"),
            Step::Archive { partition, .. } => format!("archive {partition}"),
            Step::Drop { partition, .. } => format!("drop {partition}"),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = self.what();
        match self {
            Step::Finalize { .. } => f.write_str(&what),
            Step::Create { bounds, divided, .. } => {
                write!(f, "{what} {bounds}")?;
                match divided.len() {
                    0 => Ok(()),
                    parts => write!(f, ", divided into {parts}"),
                }
            }
            Step::Drain { bounds, rows, .. } => {
                write!(f, "{what} {bounds}: {rows} rows of the default partition")
            }
            Step::Detach { bounds, rows, newest, concurrently, .. } => {
                let rows = rows.map_or_else(|| "many".to_owned(), |rows| rows.to_string());
                let newest = newest.as_deref().unwrap_or("none");
                write!(f, "{what} {bounds}: {rows} rows, the newest {newest}")?;
                if *concurrently { Ok(()) } else { f.write_str(", under a short exclusive lock") }
            }
            Step::Archive { name, .. } => write!(f, "{what} as {name}"),
            Step::Drop { archived_rows: Some(rows), .. } => write!(f, "{what}: {rows} rows are archived"),
            Step::Drop { .. } => f.write_str(&what),
        }
    }
}

/// A new partition.
pub(crate) struct New<'a> {
    pub(crate) parent: &'a Table,
    pub(crate) name: &'a TableName,
    pub(crate) bounds: &'a str,
    pub(crate) carried: &'a Carried,
    /// `PARTITION BY …` where it is divided again, and the parts with their bounds.
    pub(crate) divided: Option<(&'a str, &'a [(TableName, String)])>,
}

impl New<'_> {
    /// The parent's lock comes first: whoever locks children before their parent deadlocks with queries.
    pub(crate) fn locks(&self) -> String {
        format!("LOCK TABLE ONLY {} IN SHARE UPDATE EXCLUSIVE MODE", self.parent.name.quoted())
    }

    /// What makes the table, while nobody sees it.
    pub(crate) fn makes(&self) -> Vec<String> {
        let (parent, new) = (self.parent.name.quoted(), self.name.quoted());
        let (by, options) = match self.divided {
            Some((by, _)) => (format!(" {by}"), ""),
            None => (String::new(), self.carried.options.as_str()),
        };
        // An identity column comes with ATTACH from 17 on, which refuses a table that has its own.
        let create = format!(
            "CREATE TABLE {new} (LIKE {parent} INCLUDING ALL EXCLUDING IDENTITY){by}{options}{}",
            self.carried.tablespace
        );
        let mut statements = vec![create];
        statements.extend(self.carried.statements(&new));
        for (part, bounds) in self.divided.map(|(_, parts)| parts).unwrap_or_default() {
            statements.push(format!("CREATE TABLE {} PARTITION OF {new} {bounds}", part.quoted()));
        }
        statements
    }

    /// What makes it a partition: no exclusive lock on the parent.
    pub(crate) fn attach(&self) -> String {
        format!(
            "ALTER TABLE {} ATTACH PARTITION {} {}",
            self.parent.name.quoted(),
            self.name.quoted(),
            self.bounds
        )
    }
}

/// Bounds as SQL.
pub(crate) fn range(from: &str, to: &str) -> String {
    format!("FOR VALUES FROM ({}) TO ({})", literal(from), literal(to))
}

pub(crate) fn list(values: &[String]) -> String {
    let values: Vec<String> = values.iter().map(|value| literal(value)).collect();
    format!("FOR VALUES IN ({})", values.join(", "))
}

pub(crate) fn hash(modulus: u32, remainder: u32) -> String {
    format!("FOR VALUES WITH (modulus {modulus}, remainder {remainder})")
}

/// A condition that is true for the rows of a range.
pub(crate) fn within(column: &str, from: &str, to: &str) -> String {
    let column = identifier(column);
    format!("{column} >= {} AND {column} < {}", literal(from), literal(to))
}
