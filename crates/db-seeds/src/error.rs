//! Why a seed set could not be read, planned or loaded.

use std::fmt;
use std::path::{Path, PathBuf};

/// Where in a seed set's files something was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub file: PathBuf,
    /// The line, counted from 1, where one is known.
    pub line: Option<u64>,
    /// The column of the table, where one is known.
    pub column: Option<String>,
}

impl Place {
    pub(crate) fn file(file: &Path) -> Self {
        Place { file: file.to_owned(), line: None, column: None }
    }

    pub(crate) fn line(file: &Path, line: u64) -> Self {
        Place { file: file.to_owned(), line: Some(line), column: None }
    }

    pub(crate) fn column(mut self, column: &str) -> Self {
        self.column = Some(column.to_owned());
        self
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if let Some(column) = &self.column {
            write!(f, ", column {column}")?;
        }
        Ok(())
    }
}

/// Why a plan cannot be applied to this database as it is.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Refusal {
    /// The set is there already, but not this version of it.
    Changed {
        /// What differs, in words: `content`, `seed 1 -> 2`, `scale 1 -> 0.1`.
        differs: Vec<String>,
        /// When the other version was loaded, as the server prints it.
        applied_at: String,
    },
    /// The database has no such table.
    MissingTable {
        /// The file that fills it.
        place: Place,
        /// The table.
        table: String,
    },
    /// The table has no such column.
    MissingColumn {
        /// The file that fills it, and the column.
        place: Place,
        /// The table.
        table: String,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Changed { differs, applied_at } => write!(
                f,
                "another version of this set was loaded at {applied_at} (changed: {}); \
                 rows are never merged: reset the database and seed again",
                differs.join(", ")
            ),
            Refusal::MissingTable { place, table } => {
                write!(f, "{place}: the database has no table {table} (are all migrations applied?)")
            }
            Refusal::MissingColumn { place, table } => {
                write!(f, "{place}: table {table} has no such column (are all migrations applied?)")
            }
        }
    }
}

/// Why a seed set could not be read, planned or loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Seeds are never loaded into production.
    #[error(
        "seed set {name} is refused: APP_ENV is production, where invented rows would mix with real ones \
         and cannot be told apart later; there is no override"
    )]
    Production {
        /// The set.
        name: String,
    },
    /// Nothing says that the database may be filled.
    #[error(
        "seed set {name} is refused: APP_ENV is not set, so this may be production; set it to development, \
         test or staging"
    )]
    Nowhere {
        /// The set.
        name: String,
    },
    /// Several schemas have a table `db_seeds`, and nothing says which one is meant.
    #[error(
        "the schemas {} each have a table db_seeds: name the one that is meant with `--ledger-schema` \
         (DB_LEDGER_SCHEMA), or drop the other table", schemas.join(" and ")
    )]
    SeveralLedgers {
        /// The schemas.
        schemas: Vec<String>,
    },
    /// A table has the ledger's name, and other columns.
    #[error(
        "{table} does not say which sets are loaded, only its name is db_seeds: rename it, or keep the \
         ledger in another schema with `--ledger-schema` (DB_LEDGER_SCHEMA)"
    )]
    NoLedger {
        /// The table with its schema.
        table: String,
    },
    /// The ledger is there, and this role may not read it.
    #[error(
        "{table} says which sets are loaded, and this role may not read it: connect as its owner, or GRANT \
         the role USAGE on its schema and SELECT and INSERT on the table"
    )]
    LedgerDenied {
        /// The table with its schema.
        table: String,
    },
    /// The ledger cannot be made where it would be.
    #[error(
        "the table db_seeds cannot be made in the schema {schema}: {message}; GRANT this role USAGE and \
         CREATE on it, or name another schema with `--ledger-schema` (DB_LEDGER_SCHEMA)"
    )]
    LedgerNotMade {
        /// The schema.
        schema: String,
        /// What the server said.
        message: String,
        /// The server's error.
        source: tokio_postgres::Error,
    },
    /// Rows were lost on the way into a table, or came from nowhere; nothing is loaded.
    #[error(
        "{place}: {planned} rows were planned for {table}, {sent} were sent and {counted} are there: the \
         file changed since, or a trigger of the table keeps rows out; nothing is loaded"
    )]
    Miscounted {
        /// The file.
        place: Place,
        /// The table.
        table: String,
        /// The rows that the plan names.
        planned: u64,
        /// The rows that were sent.
        sent: u64,
        /// The rows that the server took.
        counted: u64,
    },
    /// There is no such set.
    #[error("no seed set {name:?} in {} (there are: {})", dir.display(), available.join(", "))]
    UnknownSet {
        /// The name asked for.
        name: String,
        /// Where sets were looked for.
        dir: PathBuf,
        /// The sets that exist.
        available: Vec<String>,
    },
    /// Rows are asked for a table that is not there, or that several schemas have.
    #[error(
        "{} table {table:?}: name one of {}",
        if *places == 0 { "there is no" } else { "several schemas have a" }, known.join(", ")
    )]
    NoSuchTable {
        /// The name asked for.
        table: String,
        /// How many tables have it.
        places: usize,
        /// The tables that there are, each with its schema.
        known: Vec<String>,
    },
    /// A mask is missing, or cannot be applied; nothing was written.
    #[error("{place} {why}")]
    Mask {
        /// The file, the table or the column.
        place: String,
        /// Why, without a value.
        why: String,
    },
    /// A file could not be read.
    #[error("{} is not readable", file.display())]
    Unreadable {
        /// The file or directory.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file says something that makes no sense.
    #[error("{place}: {found}")]
    Malformed {
        /// Where.
        place: Place,
        /// What was found, and what is allowed.
        found: String,
    },
    /// A scale that is not a positive number.
    #[error("scale {0} is not a number above 0 and at most 1000")]
    Scale(f64),
    /// The plan was refused, or became so since it was made.
    #[error("seed set {name} is refused: {refusal}")]
    Refused {
        /// The set.
        name: String,
        /// Why.
        refusal: Refusal,
    },
    /// The plan was made for other content: the files changed, or it belongs to another set.
    #[error("this plan was made for other content of seed set {name}: plan again")]
    StalePlan {
        /// The set.
        name: String,
    },
    /// `prepare.sql` contains COMMIT or ROLLBACK, so that the set would no longer load as a whole.
    #[error("{}: ends the transaction that the whole set is loaded in", file.display())]
    TransactionEnded {
        /// The file.
        file: PathBuf,
    },
    /// The server rejected a row or a statement of the set.
    #[error("{place}: {message}{}", constraint.as_ref().map(|c| format!(" (constraint {c})")).unwrap_or_default())]
    Rejected {
        /// The file, and the line and column where the server named them.
        place: Place,
        /// The server's primary message. It may quote seed data, never a bind value of anyone else.
        message: String,
        /// The violated constraint.
        constraint: Option<String>,
        /// The server's error.
        source: tokio_postgres::Error,
    },
    /// The database could not be asked.
    #[error("the database did not answer while {doing}")]
    Database {
        /// What was being done.
        doing: &'static str,
        /// Why.
        source: tokio_postgres::Error,
    },
}

/// The result of reading, planning or loading seeds.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub(crate) fn malformed(place: Place, found: impl Into<String>) -> Self {
        Error::Malformed { place, found: found.into() }
    }

    pub(crate) fn unreadable(file: &Path, source: std::io::Error) -> Self {
        Error::Unreadable { file: file.to_owned(), source }
    }

    pub(crate) fn database(doing: &'static str) -> impl FnOnce(tokio_postgres::Error) -> Self {
        move |source| Error::Database { doing, source }
    }
}
