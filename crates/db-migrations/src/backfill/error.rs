//! What can go wrong with a backfill, and the way out of each.

use db_core::{Class, Classify, Error};

use crate::error::MigrationError;

/// What went wrong with a backfill.
///
/// ```
/// use db_migrations::backfill::BackfillError;
///
/// let error = BackfillError::NoTable { table: "usres".to_owned() };
/// assert!(error.to_string().starts_with("there is no table usres"));
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackfillError {
    /// There is no such table, or `search_path` does not lead to it.
    #[error("there is no table {table}: write it as in SQL, with its schema")]
    NoTable {
        /// The table as it was given.
        table: String,
    },
    /// It cannot be backfilled.
    #[error("{table} cannot be filled in batches: {reason}")]
    Refused {
        /// The table.
        table: String,
        /// Why not, and what to do.
        reason: String,
    },
    /// A column cannot be filled.
    #[error("the column {column} of {table} {reason}")]
    Column {
        /// The table.
        table: String,
        /// The column.
        column: String,
        /// Why not.
        reason: &'static str,
    },
    /// Nothing is to be filled.
    #[error("no column to fill was named: write one as COLUMN = EXPRESSION")]
    NothingToFill,
    /// The statement is wrong whatever the rows hold.
    #[error("the server does not take the expressions or the condition: {source}")]
    Statement {
        /// What the server said.
        source: Box<Error>,
    },
    /// A backfill of this name is under way, and it is another one.
    #[error(
        "the backfill {name} is under way with other expressions or another condition: finish that one, \
            forget \
         it with `dbctl backfill forget {name}`, or give this one a name with --name"
    )]
    Changed {
        /// The name.
        name: String,
    },
    /// The same backfill runs elsewhere.
    #[error("the backfill {name} runs in another session: wait for it, or end it (`dbctl backfill status`)")]
    Running {
        /// The name.
        name: String,
    },
    /// There is no backfill of this name.
    #[error("there is no backfill {name}: `dbctl backfill status` lists them")]
    NoSuchBackfill {
        /// The name.
        name: String,
    },
    /// Too many rows cannot be written.
    #[error(
        "{failed} rows could not be written, the last one since {source}; what was filled stays: mend the \
         expression or the rows, and run it again, or let more rows fail with --max-failed"
    )]
    TooManyFailed {
        /// How many.
        failed: u64,
        /// What the server said last.
        source: Box<Error>,
    },
    /// There are standbys, and the role may not see how far behind they are.
    #[error(
        "there are standbys, and this role may not see how far behind they are: GRANT pg_monitor to it, or \
         say --max-lag never"
    )]
    LagHidden,
    /// The tables that keep the progress cannot be found or made.
    #[error(transparent)]
    Ledger(#[from] MigrationError),
    /// The database could not be asked; what was committed stays, and the same backfill goes on from there.
    #[error("{0}; what was filled stays, and the same command goes on from there")]
    Database(Error),
}

impl From<diesel::result::Error> for BackfillError {
    fn from(error: diesel::result::Error) -> Self {
        BackfillError::Database(error.into())
    }
}

impl Classify for BackfillError {
    fn class(&self) -> Class {
        match self {
            BackfillError::Database(source) => source.class(),
            BackfillError::Statement { source } | BackfillError::TooManyFailed { source, .. } => {
                source.class()
            }
            BackfillError::Ledger(error) => error.class(),
            BackfillError::Running { .. } => Class::Overloaded,
            _ => Class::Permanent,
        }
    }
}
