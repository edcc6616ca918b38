//! What can go wrong with migrations, and the way out of each.

use std::path::PathBuf;
use std::time::Duration;

use db_core::{Class, Classify, Environment, Error, SqlState};

use crate::layout::Layout;
use crate::source::Version;

/// What went wrong with a migration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MigrationError {
    /// A file or directory cannot be read.
    #[error("cannot read {path}: {source}", path = path.display())]
    Read {
        /// The file or directory.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A file or directory cannot be written.
    #[error("cannot write {path}: {source}", path = path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The directory holds migrations of another tool, which would be passed over.
    #[error(
        "{file} is a migration in the layout of {layout}, and ours are directories VERSION_NAME/up.sql: copy them with \
         `dbctl migrate import {directory} --dir NEW_DIRECTORY`",
        file = file.display(), directory = file.parent().unwrap_or(file).display()
    )]
    OtherLayout {
        /// The first file that was found.
        file: PathBuf,
        /// Whose layout it is.
        layout: Layout,
    },
    /// A directory holds no migration that could be imported.
    #[error(
        "{directory} holds no migration of Flyway (V1__name.sql), golang-migrate or sqlx (1_name.up.sql), sqlx or dbmate \
         (1_name.sql)", directory = directory.display()
    )]
    NothingToImport {
        /// The directory.
        directory: PathBuf,
    },
    /// A migration of another tool cannot be copied.
    #[error("{path} cannot be imported: {reason}", path = path.display())]
    Import {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// A directory's name does not begin with a version.
    #[error("{path} is no migration: its name must be VERSION_NAME, as in 2026-11-02-090000_create_users", path = path.display())]
    Name {
        /// The directory.
        path: PathBuf,
    },
    /// Two directories have one version; diesel would silently run only one of them.
    #[error("{first} and {second} both have version {version}: rename one", first = first.display(), second = second.display())]
    DuplicateVersion {
        /// The version.
        version: Version,
        /// The first directory.
        first: PathBuf,
        /// The second directory.
        second: PathBuf,
    },
    /// A metadata.toml that says nothing, or something unknown; diesel would silently turn the transaction
    /// off.
    #[error("{path}: {reason}; write run_in_transaction = true or false, or remove the file", path = path.display())]
    Metadata {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A file has a placeholder that nobody gave a value.
    #[error(
        "{file}:{line}: the placeholder ${{{name}}} has no value: give it one with `--placeholder {name}=VALUE`",
        file = file.display()
    )]
    Placeholder {
        /// The file.
        file: PathBuf,
        /// The line.
        line: usize,
        /// Its name.
        name: String,
    },
    /// A foreign migration source could not be read, or holds a migration that is no SQL.
    #[error("the migration source cannot be used: {reason}")]
    Source {
        /// What is wrong with it.
        reason: String,
    },
    /// A schema whose name Rust does not have, as `table!` writes it without quotes.
    #[error(
        "schema {schema:?} has no name in Rust, and schema.rs cannot give it one: rename it, or leave it out"
    )]
    Unprintable {
        /// The schema.
        schema: String,
    },
    /// A `schema.rs` that cannot be read.
    #[error(
        "schema.rs, line {line}: found {found:?} where {wanted} must stand; is it as `diesel print-schema` writes it"
    )]
    SchemaRs {
        /// The line.
        line: usize,
        /// What stands there.
        found: String,
        /// What should.
        wanted: String,
    },
    /// An applied migration is not what it was when it was applied.
    #[error(
        "{migration} was edited after it was applied: put its up.sql back and write a new migration; if the database \
         already is as the file says, accept it with `dbctl migrate repair {version}`, or let it be with `--accept edited`"
    )]
    Edited {
        /// The version.
        version: Version,
        /// Version and name.
        migration: String,
    },
    /// A pending migration comes before one that is applied.
    #[error(
        "{migration} is pending, but {newest} is applied: give it a newer version, or apply it with `--accept out-of-order`"
    )]
    OutOfOrder {
        /// Version and name.
        migration: String,
        /// The newest version that is applied.
        newest: Version,
    },
    /// A migration is applied that is not among the files.
    #[error(
        "migration {version} is applied but not in the directory: deploy or undo from the branch that has \
         it, forget it with `dbctl migrate repair {version}`, or let it be with `--accept unknown`, or `--accept newer` \
         where an old release restarts beside a new one; if it is \
         another service's, keep a ledger for each with `--ledger-schema`"
    )]
    Unknown {
        /// The version.
        version: Version,
    },
    /// A version was named that is neither in the directory nor applied.
    #[error("there is no migration {version}: `dbctl migrate status` lists them")]
    NoSuchVersion {
        /// The version as it was given.
        version: String,
    },
    /// A migration of which the first part has run was edited in that part.
    #[error(
        "{migration} stopped after {done} of its parts, and these were edited since: put them back, or, if the database \
         already is as they say, accept them with `dbctl migrate repair {version}`"
    )]
    EditedUnderWay {
        /// The version.
        version: Version,
        /// Version and name.
        migration: String,
        /// How many parts had committed.
        done: usize,
    },
    /// A migration was cut off, and with its session went a temporary table that the rest of it needs.
    #[error(
        "{file}:{line}: the temporary table {table} went with the session of the runner that was cut off, \
         and a table of the same name is not what is meant: make it again before this line (CREATE TEMP \
         TABLE IF NOT EXISTS); what has not run may be edited", file = file.display()
    )]
    TemporaryGone {
        /// The file.
        file: PathBuf,
        /// The line of the statement that needs it.
        line: usize,
        /// The table.
        table: String,
    },
    /// A migration stopped half-way, so nothing can be undone yet.
    #[error("{migration} stopped half-way: finish it with `dbctl migrate apply` first")]
    HalfWay {
        /// Version and name.
        migration: String,
    },
    /// There is nothing to undo.
    #[error("nothing to undo: no migration is applied")]
    NothingApplied,
    /// The migration has no down.sql.
    #[error(
        "migration {version}_{name} has no down.sql, so it cannot be undone: write one, or a new migration that does it"
    )]
    NoDown {
        /// The version.
        version: Version,
        /// The name.
        name: String,
    },
    /// Several schemas have a ledger, and nothing says which one is meant.
    #[error(
        "the schemas {} each have a ledger of applied migrations: name the one that is meant with \
         `--ledger-schema` (DB_LEDGER_SCHEMA), or drop the tables __diesel_schema_migrations and \
         __db_migrations of the other", schemas.join(" and ")
    )]
    SeveralLedgers {
        /// The schemas.
        schemas: Vec<String>,
    },
    /// The schema in which the ledger would be made does not exist.
    #[error(
        "there is no schema {schema} to keep the ledger of applied migrations in: create it, or name another \
         one with `--ledger-schema` (DB_LEDGER_SCHEMA)"
    )]
    NoLedgerSchema {
        /// The schema.
        schema: String,
    },
    /// A table has the name of one of the ledger's, and other columns.
    #[error(
        "{table} is no ledger of applied migrations, only its name is: rename it, or keep the ledger in \
         another schema with `--ledger-schema` (DB_LEDGER_SCHEMA)"
    )]
    NoLedger {
        /// The table with its schema.
        table: String,
    },
    /// The ledger is there, and this role may not read it.
    #[error(
        "{table} says which migrations are applied, and this role may not read it: connect as its owner, \
         GRANT the role USAGE on its schema and SELECT, INSERT, UPDATE and DELETE on the table, or, if \
         another ledger is meant, name its schema with `--ledger-schema` (DB_LEDGER_SCHEMA)"
    )]
    LedgerDenied {
        /// The table with its schema.
        table: String,
    },
    /// The ledger cannot be made where it would be.
    #[error(
        "the ledger of applied migrations cannot be made in the schema {schema}: {source}; GRANT this role \
         USAGE and CREATE on it, or name another schema with `--ledger-schema` (DB_LEDGER_SCHEMA)"
    )]
    LedgerNotMade {
        /// The schema.
        schema: String,
        /// What the server said.
        source: Box<Error>,
    },
    /// Another runner holds the lock.
    #[error(
        "another runner has been migrating this database for more than {waited:?}: wait for it, or look for its session in pg_stat_activity"
    )]
    Locked {
        /// How long we waited.
        waited: Duration,
    },
    /// The connection goes through a proxy that hands each transaction to any server connection.
    #[error(
        "this connection goes through a transaction-pooling proxy, where a lock protects nothing: set \
         DATABASE_DIRECT_URL to the server itself, or to a pool in session mode"
    )]
    Pooled,
    /// The caller's connection is in a transaction.
    #[error(
        "the connection is in a transaction: migrations commit on their own, so give them a connection that is not"
    )]
    InTransaction,
    /// A statement that no migration can have.
    #[error("{file}:{line}: {head}: {why}", file = file.display())]
    Refused {
        /// The file.
        file: PathBuf,
        /// The line.
        line: usize,
        /// How the statement begins.
        head: String,
        /// Why not, and what to do.
        why: &'static str,
    },
    /// The server refused a statement.
    #[error("{file}:{line}: {head}: failed: {source}{hint}", file = file.display(), hint = hint.as_ref().map(|hint| format!("; {hint}")).unwrap_or_default())]
    Sql {
        /// The file.
        file: PathBuf,
        /// The line that the server points at, else the statement's first.
        line: usize,
        /// How the statement begins.
        head: String,
        /// What the server said.
        source: Box<Error>,
        /// What to do about it, in our words or the server's.
        hint: Option<String>,
    },
    /// A lock that a statement needs was never free.
    #[error(
        "{file}:{line}: {head}: its lock was not to be had in {attempts} attempts within {waited:?}: end the session that \
         holds it (pg_blocking_pids), or try again when there is less traffic", file = file.display()
    )]
    LockNotFree {
        /// The file.
        file: PathBuf,
        /// The statement's line.
        line: usize,
        /// How the statement begins.
        head: String,
        /// How often it was tried.
        attempts: u32,
        /// How long that took.
        waited: Duration,
        /// What the server said last.
        source: Box<Error>,
    },
    /// A reset was asked for where data may matter.
    #[error(
        "reset drops everything, so it runs in development and test only; this is {environment} (APP_ENV)"
    )]
    ResetRefused {
        /// Where we are.
        environment: Environment,
    },
    /// A reset was asked for, and nothing says where we are.
    #[error(
        "reset drops everything, so it runs in development and test only, and APP_ENV is not set: set it to \
         development or test if the data may go"
    )]
    ResetNowhere,
    /// The database could not be asked.
    #[error(transparent)]
    Database(#[from] Error),
}

/// Where a migration failed, for programs: what stands in [`MigrationError`]'s text, as fields.
///
/// ```
/// # fn of(error: &db_migrations::MigrationError) {
/// if let Some(place) = error.place() {
///     println!("{}:{}", place.file.display(), place.line);
/// }
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Place {
    /// The file.
    pub file: PathBuf,
    /// The line that the server points at, else the statement's first.
    pub line: usize,
    /// How the statement begins.
    pub statement: String,
    /// The server's code, where it said no.
    pub sqlstate: Option<SqlState>,
    /// What to do about it.
    pub hint: Option<String>,
}

impl MigrationError {
    /// Where it is, if it is about a statement of a file.
    pub fn place(&self) -> Option<Place> {
        let place = |file: &PathBuf, line: usize, head: &str| Place {
            file: file.clone(),
            line,
            statement: head.to_owned(),
            sqlstate: None,
            hint: None,
        };
        match self {
            MigrationError::Refused { file, line, head, why } => {
                Some(Place { hint: Some((*why).to_owned()), ..place(file, *line, head) })
            }
            MigrationError::Sql { file, line, head, source, hint } => {
                Some(Place { sqlstate: source.sqlstate(), hint: hint.clone(), ..place(file, *line, head) })
            }
            MigrationError::LockNotFree { file, line, head, .. } => Some(Place {
                sqlstate: Some(SqlState::LOCK_NOT_AVAILABLE),
                hint: Some(
                    "end the session that holds the lock, or try again when there is less traffic".to_owned(),
                ),
                ..place(file, *line, head)
            }),
            MigrationError::TemporaryGone { file, line, table } => Some(place(file, *line, table)),
            MigrationError::Placeholder { file, line, name } => Some(place(file, *line, name)),
            _ => None,
        }
    }
}

impl From<diesel::result::Error> for MigrationError {
    fn from(error: diesel::result::Error) -> Self {
        // The driver's own statements are missing only where another session answers.
        if error.to_string().starts_with("prepared statement") {
            return MigrationError::Pooled;
        }
        MigrationError::Database(error.into())
    }
}

impl Classify for MigrationError {
    fn class(&self) -> Class {
        match self {
            MigrationError::Sql { source, .. } | MigrationError::LockNotFree { source, .. } => source.class(),
            MigrationError::Database(source) => source.class(),
            MigrationError::Locked { .. } => Class::Overloaded,
            _ => Class::Permanent,
        }
    }
}
