//! Reads what a database holds: tables, columns, indexes, constraints, relations and sizes, as one typed
//! value.
//!
//! It is what the catalogue says, not what a service's `schema.rs` says (`db-migrations` reads that), and
//! it keeps definitions as the server prints them. Tables of extensions are left out, and so are temporary
//! ones.

mod catalog;

use db_core::Error;
use diesel::QueryableByName;
use diesel::sql_types::Text;
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use serde::{Deserialize, Serialize};

/// All that a database holds.
///
/// It becomes JSON and comes back from it without a loss.
///
/// ```
/// use db_insight::introspect::Introspection;
///
/// let text = r#"{"database": "shop", "server_version": 180006, "tables": [], "relations": []}"#;
/// let shop: Introspection = serde_json::from_str(text)?;
/// assert!(shop.table("public", "orders").is_none());
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Introspection {
    /// The database's name.
    pub database: String,
    /// The server's version as a number: 180006 is 18.6.
    pub server_version: i64,
    /// Tables, partitions, views, materialized views and foreign tables, by schema and name.
    pub tables: Vec<Table>,
    /// What refers to what: the foreign keys between tables.
    pub relations: Vec<Relation>,
}

/// A table, or what is read like one.
///
/// ```no_run
/// # async fn show(conn: &mut diesel_async::AsyncPgConnection) -> Result<(),
/// db_insight::introspect::IntrospectError> {
/// for table in db_insight::introspect::introspect(conn).await?.tables {
///     println!("{}.{}: {} bytes", table.schema, table.name, table.sizes.total);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Table {
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: TableKind,
    /// The partitioned table that it is a part of, as `schema.name`, quoted where SQL needs it.
    pub partition_of: Option<String>,
    /// Which rows it takes as a part: `FOR VALUES FROM … TO …`.
    pub partition_bound: Option<String>,
    /// How rows are spread over its parts: `RANGE (created_at)`.
    pub partition_key: Option<String>,
    /// The rows by the statistics; none where it was never analysed.
    pub estimated_rows: Option<f64>,
    /// What it takes up.
    pub sizes: Sizes,
    /// Its comment.
    pub comment: Option<String>,
    /// Its columns, in their order.
    pub columns: Vec<Column>,
    /// Its indexes, by name.
    pub indexes: Vec<Index>,
    /// Its constraints, by name.
    pub constraints: Vec<Constraint>,
}

/// What a table is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TableKind {
    /// A table, also one that is a partition.
    Table,
    /// A partitioned table: its rows are in its parts.
    Partitioned,
    /// A view.
    View,
    /// A materialized view.
    MaterializedView,
    /// A table of another server.
    Foreign,
}

/// What a table takes up, in bytes; of a partitioned table without its parts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Sizes {
    /// The rows, with their free space and visibility maps.
    pub rows: i64,
    /// What was too long for a page (TOAST), with its index.
    pub toast: i64,
    /// All indexes.
    pub indexes: i64,
    /// All of it.
    pub total: i64,
}

/// A column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its type as SQL writes it: `numeric(10,2)`.
    pub sql_type: String,
    /// Whether it may be NULL.
    pub nullable: bool,
    /// Its default as SQL.
    pub default: Option<String>,
    /// The expression that its value comes from, where it is generated.
    pub generated: Option<String>,
    /// `always` or `by default`, where it is an identity.
    pub identity: Option<String>,
    /// Its collation, where it is not that of its type.
    pub collation: Option<String>,
    /// Its comment.
    pub comment: Option<String>,
}

/// An index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Index {
    /// Its name; its schema is that of its table.
    pub name: String,
    /// The statement that makes it, as the server prints it.
    pub definition: String,
    /// `btree`, `gin`, …
    pub method: String,
    /// What it is ordered by: columns and expressions as SQL.
    pub keys: Vec<String>,
    /// The columns that it only holds.
    pub include: Vec<String>,
    /// Which rows it has, where not all.
    pub predicate: Option<String>,
    /// Whether its keys come once.
    pub unique: bool,
    /// Whether it is the primary key's.
    pub primary: bool,
    /// Whether queries may use it: one that was not built to its end is not.
    pub valid: bool,
    /// What it takes up, in bytes.
    pub bytes: i64,
}

/// A constraint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Constraint {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: ConstraintKind,
    /// The columns that it is about; empty for a check of expressions without any.
    pub columns: Vec<String>,
    /// What it says, as SQL.
    pub definition: String,
    /// Whether the rows that were there before are known to keep it.
    pub validated: bool,
    /// Whether it can be checked as late as at COMMIT.
    pub deferrable: bool,
}

/// What a constraint is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ConstraintKind {
    /// `CHECK`.
    Check,
    /// `FOREIGN KEY`.
    ForeignKey,
    /// `PRIMARY KEY`.
    PrimaryKey,
    /// `UNIQUE`.
    Unique,
    /// `EXCLUDE`.
    Exclusion,
}

/// One table refers to another by a foreign key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Relation {
    /// The foreign key's name.
    pub name: String,
    /// The table that refers, as `schema.name`, quoted where SQL needs it.
    pub table: String,
    /// Its columns.
    pub columns: Vec<String>,
    /// The table that is referred to.
    pub referenced_table: String,
    /// Its columns.
    pub referenced_columns: Vec<String>,
    /// What happens when the row that is referred to goes: `no action`, `restrict`, `cascade`, `set null`,
    /// `set default`.
    pub on_delete: String,
    /// And when its key changes.
    pub on_update: String,
    /// Whether at most one row refers to each: its columns are unique.
    pub one_to_one: bool,
}

/// Why a database could not be introspected.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IntrospectError {
    /// The database.
    #[error(transparent)]
    Database(#[from] Error),
    /// The catalogue's answer was not understood.
    #[error("the catalogue's answer is not understood: {0}; report the server's version")]
    Answer(serde_json::Error),
}

impl Introspection {
    /// The table of that schema and name.
    pub fn table(&self, schema: &str, name: &str) -> Option<&Table> {
        self.tables.iter().find(|table| table.schema == schema && table.name == name)
    }
}

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = Text)]
    json: String,
}

/// Reads what the database holds. It takes no lock but for the moment in which a size is read, and changes
/// nothing.
///
/// ```no_run
/// # async fn show(conn: &mut diesel_async::AsyncPgConnection) -> Result<(), Box<dyn std::error::Error>> {
/// let shop = db_insight::introspect::introspect(conn).await?;
/// println!("{}", serde_json::to_string_pretty(&shop)?);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// [`IntrospectError`] where the server does not answer.
pub async fn introspect(conn: &mut AsyncPgConnection) -> Result<Introspection, IntrospectError> {
    let row: Row = diesel::sql_query(catalog::EVERYTHING).get_result(conn).await.map_err(Error::from)?;
    serde_json::from_str(&row.json).map_err(IntrospectError::Answer)
}
