//! What tables look like, in diesel's `schema.rs` and in a database, and the migration between the two.

mod diff;
mod live;
mod schema_rs;

pub use diff::{SchemaDiff, difference};

/// A set of tables, as far as `schema.rs` knows them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Schema {
    /// The tables, in the order in which they were found.
    pub tables: Vec<Table>,
    /// Types of the database's own: in `schema.rs` those that it names, in a database all that it knows.
    pub own_types: Vec<String>,
}

/// A table.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Table {
    /// Its schema; none where it is the one that is searched first.
    pub schema: Option<String>,
    /// Its name in the database.
    pub name: String,
    /// The columns of its primary key.
    pub primary_key: Vec<String>,
    /// Its columns, in order.
    pub columns: Vec<Column>,
    /// The name of that constraint; `schema.rs` does not know it.
    pub primary_key_name: Option<String>,
    /// Which column refers to which other table.
    pub references: Vec<Reference>,
    /// Whether it is a view or a materialized view; `schema.rs` does not know it.
    pub is_view: bool,
}

/// A column.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Column {
    /// Its name in the database.
    pub name: String,
    /// Its type as the server names it internally, such as `int4`, `timestamptz` or `text[]`.
    pub sql_type: String,
    /// The length of a `varchar` or `bpchar`, where one is given.
    pub max_length: Option<u32>,
    /// Whether it may be null.
    pub nullable: bool,
    /// Its default; `schema.rs` does not know it.
    pub default: Option<String>,
}

/// A foreign key of one column to another table's primary key.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reference {
    /// The column.
    pub column: String,
    /// The other table's name.
    pub table: String,
    /// The name of the constraint; `schema.rs` does not know it.
    pub constraint: Option<String>,
}

impl Schema {
    /// A table by its schema and name.
    pub fn table(&self, schema: Option<&str>, name: &str) -> Option<&Table> {
        self.tables.iter().find(|table| table.schema.as_deref() == schema && table.name == name)
    }
}

impl Table {
    /// A column by its name.
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }
}
