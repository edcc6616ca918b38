//! What the database's catalogue says of the tables of a plan, so that tips are certain where the plan is
//! not.

use std::collections::{BTreeMap, HashMap};

/// What the catalogue says of the tables of a plan. Empty where no database was at hand.
///
/// ```
/// use db_insight::{Catalog, TableFacts};
///
/// let mut catalog = Catalog::default();
/// catalog.insert("public", "orders", TableFacts { rows: 300_000.0, ..TableFacts::default() });
/// assert_eq!(catalog.table(None, "orders").map(|orders| orders.rows), Some(300_000.0));
/// assert!(catalog.table(Some("sales"), "orders").is_none());
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Catalog {
    tables: HashMap<String, Vec<(String, TableFacts)>>,
}

impl Catalog {
    /// Adds what is known of a table.
    pub fn insert(&mut self, schema: &str, name: &str, facts: TableFacts) {
        self.tables.entry(name.to_owned()).or_default().push((schema.to_owned(), facts));
    }

    /// What is known of a table. Without a schema only if there is one table of this name.
    #[must_use]
    pub fn table(&self, schema: Option<&str>, name: &str) -> Option<&TableFacts> {
        let found = self.tables.get(name)?;
        match (schema, found.as_slice()) {
            (Some(schema), found) => found.iter().find(|(of, _)| of == schema).map(|(_, facts)| facts),
            (None, [(_, only)]) => Some(only),
            (None, _) => None,
        }
    }
}

/// What the catalogue says of one table.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TableFacts {
    /// Columns and their types, such as `character varying(20)`.
    pub columns: BTreeMap<String, String>,
    /// Its indexes.
    pub indexes: Vec<IndexFacts>,
    /// Its foreign keys to other tables.
    pub foreign_keys: Vec<ForeignKeyFacts>,
    /// How many rows the planner believes that it has; below 0 if nobody ever counted.
    pub rows: f64,
    /// How many rows changed since it was last analyzed.
    pub changed_since_analyze: f64,
    /// Whether it was ever analyzed, as far as the server's counters reach.
    pub was_analyzed: bool,
    /// How many rows are alive, by the counters.
    pub live_rows: f64,
}

impl TableFacts {
    /// Whether the statistics are older than a tenth of the rows, or there are none.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        let rows = self.live_rows.max(self.rows);
        rows >= 1000.0 && (!self.was_analyzed || self.changed_since_analyze > rows / 10.0)
    }

    /// A valid index whose first column is this one.
    #[must_use]
    pub fn index_on(&self, column: &str) -> Option<&IndexFacts> {
        self.indexes
            .iter()
            .find(|index| index.is_valid && index.keys.first().is_some_and(|key| key == column))
    }
}

/// What the catalogue says of one index.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct IndexFacts {
    /// Its name.
    pub name: String,
    /// How it works: `btree`, `gin` and so on.
    pub method: String,
    /// Whether it can be used.
    pub is_valid: bool,
    /// Its columns and expressions, in order.
    pub keys: Vec<String>,
    /// Of which rows it is.
    pub predicate: Option<String>,
}

/// What the catalogue says of one foreign key.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ForeignKeyFacts {
    /// The constraint's name.
    pub name: String,
    /// The columns that refer.
    pub columns: Vec<String>,
    /// The table that has it, as SQL has its name.
    pub table: String,
    /// Whether an index begins with its columns.
    pub has_index: bool,
}

impl Catalog {
    /// The foreign key of this name.
    #[must_use]
    pub fn foreign_key(&self, constraint: &str) -> Option<&ForeignKeyFacts> {
        let tables = self.tables.values().flatten();
        tables.flat_map(|(_, facts)| &facts.foreign_keys).find(|key| key.name == constraint)
    }
}
