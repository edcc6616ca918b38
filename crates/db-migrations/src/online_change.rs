//! Changes of a table that no statement of the application waits for, as migrations in several parts.
//!
//! Each is the text of a migration in several transactions, cut by BEGIN and COMMIT: what scans the table
//! holds no lock that stops reads or writes, and what takes such a lock changes the catalogue only. What an
//! application must do between two migrations of a change is said in [`Files::then`].

mod facts;
mod shadow;
mod sql;

use db_core::Error;
use diesel_async::AsyncPgConnection;

use crate::error::MigrationError;
use facts::Facts;

/// A change of a table.
///
/// ```no_run
/// # async fn run(conn: &mut diesel_async::AsyncPgConnection) -> Result<(), Box<dyn std::error::Error>> {
/// use db_migrations::online_change::OnlineChange;
///
/// let change = OnlineChange::NotNull { table: "users".to_owned(), column: "email".to_owned() };
/// let files = change.files(conn).await?;
/// println!("{}\n{}", files.up, files.down);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnlineChange {
    /// A column may not be NULL any more: through a check that is validated before.
    NotNull {
        /// The table.
        table: String,
        /// The column.
        column: String,
    },
    /// A foreign key: added NOT VALID, then validated.
    ForeignKey {
        /// The table that refers.
        table: String,
        /// Its columns.
        columns: Vec<String>,
        /// The table that is referred to, by its primary key.
        references: String,
        /// What is done when the row that is referred to goes, such as `CASCADE`.
        on_delete: Option<OnDelete>,
    },
    /// A unique constraint: from an index that is built concurrently.
    Unique {
        /// The table.
        table: String,
        /// The columns.
        columns: Vec<String>,
    },
    /// A table's name: a view keeps the old one for the code that still runs.
    Rename {
        /// The table.
        table: String,
        /// Its new name.
        to: String,
    },
    /// The view goes that kept a table's old name.
    EndRename {
        /// The old name.
        table: String,
        /// The table's name.
        to: String,
    },
    /// A column's type: a shadow column of the new type, which a trigger keeps in step.
    Type {
        /// The table.
        table: String,
        /// The column.
        column: String,
        /// The new type, as SQL.
        to: String,
        /// How a value is made of the old one, as SQL over the row; none casts it.
        using: Option<String>,
    },
    /// The shadow column takes the place of the old one, which is kept in step as far as its type can.
    SwapType {
        /// The table.
        table: String,
        /// The column.
        column: String,
    },
    /// The old column goes.
    EndType {
        /// The table.
        table: String,
        /// The column.
        column: String,
    },
}

/// What is done with rows that refer to a row that goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnDelete {
    /// They go, too.
    Cascade,
    /// Their columns become NULL.
    SetNull,
    /// The row may not go.
    Restrict,
}

/// The files of a migration.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Files {
    /// What the migration is called, without a version.
    pub name: String,
    /// Its up.sql.
    pub up: String,
    /// Its down.sql.
    pub down: String,
    /// What comes next, in order: commands and what the application must do.
    pub then: Vec<String>,
}

/// Why a change cannot be made so.
///
/// ```
/// use db_migrations::online_change::ChangeError;
///
/// let error = ChangeError::NoTable { table: "usres".to_owned() };
/// assert!(error.to_string().contains("usres"));
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChangeError {
    /// There is no such table.
    #[error("there is no table {table}: write it as in SQL, with its schema")]
    NoTable {
        /// The table as it was given.
        table: String,
    },
    /// There is no such column.
    #[error("the table {table} has no column {column}")]
    NoColumn {
        /// The table.
        table: String,
        /// The column.
        column: String,
    },
    /// It would not be right, or not without blocking.
    #[error("{what}: {reason}")]
    Refused {
        /// What was asked for.
        what: String,
        /// Why not, and what to do.
        reason: String,
    },
    /// The database could not be asked.
    #[error(transparent)]
    Database(#[from] Error),
}

impl From<diesel::result::Error> for ChangeError {
    fn from(error: diesel::result::Error) -> Self {
        ChangeError::Database(error.into())
    }
}

impl From<ChangeError> for MigrationError {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::Database(error) => MigrationError::Database(error),
            error => MigrationError::Source { reason: error.to_string() },
        }
    }
}

impl OnlineChange {
    /// The migration that makes the change, for the table as it is in this database. Reads only.
    ///
    /// # Errors
    /// [`ChangeError::NoTable`], [`ChangeError::NoColumn`], [`ChangeError::Database`], and
    /// [`ChangeError::Refused`] where the change cannot be made without blocking, or would lose something.
    pub async fn files(&self, conn: &mut AsyncPgConnection) -> Result<Files, ChangeError> {
        match self {
            OnlineChange::NotNull { table, column } => {
                let facts = Facts::of(conn, table, std::slice::from_ref(column)).await?;
                sql::not_null(&facts, column)
            }
            OnlineChange::ForeignKey { table, columns, references, on_delete } => {
                let facts = Facts::of(conn, table, columns).await?;
                let to = Facts::of(conn, references, &[]).await?;
                sql::foreign_key(&facts, columns, &to, *on_delete)
            }
            OnlineChange::Unique { table, columns } => {
                sql::unique(&Facts::of(conn, table, columns).await?, columns)
            }
            OnlineChange::Rename { table, to } => {
                let facts = Facts::of(conn, table, &[]).await?;
                let grants = facts.grants(conn).await?;
                sql::rename(&facts, to, &grants)
            }
            OnlineChange::EndRename { table, to } => {
                let facts = Facts::of(conn, to, &[]).await?;
                let grants = facts.grants(conn).await?;
                Ok(sql::end_rename(&facts, table, &grants))
            }
            OnlineChange::Type { table, column, to, using } => {
                let facts = Facts::of(conn, table, std::slice::from_ref(column)).await?;
                facts.refuse_bound(conn, column).await?;
                shadow::begin(&facts, column, to, using.as_deref())
            }
            OnlineChange::SwapType { table, column } => {
                let columns = [column.clone(), shadow::shadow_of(column)];
                let facts = Facts::of(conn, table, &columns).await?;
                facts.refuse_bound(conn, column).await?;
                let left = facts.any_null(conn, column, &columns[1]).await?;
                shadow::swap(&facts, column, left)
            }
            OnlineChange::EndType { table, column } => {
                let columns = [column.clone(), shadow::old_of(column)];
                shadow::end(&Facts::of(conn, table, &columns).await?, column)
            }
        }
    }
}
