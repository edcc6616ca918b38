//! What tables look like, in diesel's `schema.rs` and in a database, and the migration between the two.

mod diff;
mod joins;
mod live;
mod print;
mod rust_name;
mod rust_type;
mod rustfmt;
mod schema_rs;
mod sql_name;

pub use diff::{SchemaDiff, difference};
pub use print::{ColumnOrder, Docs, LeftOut, PrintConfig, PrintedSchema, SameQuery, print};

/// A set of tables, as far as `schema.rs` knows them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Schema {
    /// The tables, in the order in which they were found.
    pub tables: Vec<Table>,
    /// Types of the database's own: in `schema.rs` those that it names, in a database all that it knows.
    pub own_types: Vec<OwnType>,
    /// The schemas that the database has; `schema.rs` does not know them.
    pub schemas: Vec<String>,
}

/// A type of the database's own, such as an enum.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct OwnType {
    /// Its schema; none where it is the one that is searched first.
    pub schema: Option<String>,
    /// Its name in the database.
    pub name: String,
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
    /// Every foreign key of it; `schema.rs` knows only [`references`](Table::references).
    pub foreign_keys: Vec<ForeignKey>,
    /// What it is; `schema.rs` does not know it.
    pub kind: TableKind,
    /// Its comment.
    pub comment: Option<String>,
}

/// What a table is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum TableKind {
    /// A table.
    #[default]
    Table,
    /// A view, a materialized view or a table of another server.
    View,
    /// A partition: it comes and goes with its table.
    Partition,
    /// A table that an extension or one of our own tools keeps.
    Kept,
}

/// A column.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Column {
    /// Its name in the database.
    pub name: String,
    /// Its type as the server names it internally, such as `int4`, `timestamptz` or `text[]`; of a domain
    /// that below it.
    pub sql_type: String,
    /// The schema of that type, `pg_catalog` for the server's own; none where it is the one that is searched
    /// first.
    pub type_schema: Option<String>,
    /// Its type as SQL, with precision and domain; `schema.rs` does not know it.
    pub declared: Option<String>,
    /// Whether its type is a domain that takes no null.
    pub is_filled_by_domain: bool,
    /// The length of a `varchar`, `bpchar` or `bit`, where one is given.
    pub max_length: Option<u32>,
    /// Whether it may be null.
    pub nullable: bool,
    /// Its default; `schema.rs` does not know it.
    pub default: Option<String>,
    /// Whether it is an identity; `schema.rs` does not know it.
    pub is_identity: bool,
    /// Its comment.
    pub comment: Option<String>,
}

/// A foreign key of one column to another table's primary key.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reference {
    /// The column.
    pub column: String,
    /// The other table's schema; none where it is the one that is searched first.
    pub schema: Option<String>,
    /// The other table's name.
    pub table: String,
    /// The name of the constraint; `schema.rs` does not know it.
    pub constraint: Option<String>,
}

/// A foreign key as the database has it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ForeignKey {
    /// The name of the constraint.
    pub name: String,
    /// Its columns.
    pub columns: Vec<String>,
    /// The other table's schema; none where it is the one that is searched first.
    pub schema: Option<String>,
    /// The other table's name.
    pub table: String,
    /// The columns of the other table.
    pub other_columns: Vec<String>,
    /// Its definition as SQL.
    pub definition: String,
    /// Whether it is there because a partitioned table's is.
    pub is_inherited: bool,
}

impl Schema {
    /// A table by its schema and name.
    pub fn table(&self, schema: Option<&str>, name: &str) -> Option<&Table> {
        self.tables.iter().find(|table| table.schema.as_deref() == schema && table.name == name)
    }
}

impl Table {
    /// Whether `schema.rs` has it, as [`print()`] writes it: tables with a primary key, but not those whose
    /// name begins with two underscores.
    pub fn is_printed(&self) -> bool {
        self.kind == TableKind::Table && !self.primary_key.is_empty() && !self.name.starts_with("__")
    }

    fn is_printed_partition(&self) -> bool {
        self.kind == TableKind::Partition && !self.primary_key.is_empty() && !self.name.starts_with("__")
    }

    /// A column by its name.
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }
}
