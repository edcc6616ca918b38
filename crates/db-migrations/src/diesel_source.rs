//! Between diesel's `MigrationSource` and ours, both ways.
//!
//! A diesel migration does not show its SQL: it is run, on a connection that only writes down what it is
//! told. What a migration in Rust wants to know of a database it cannot say, so such a migration is refused.

use std::fmt;
use std::path::PathBuf;

use diesel::connection::{
    AnsiTransactionManager, BoxableConnection, CacheSize, Connection, ConnectionSealed, Instrumentation,
    SimpleConnection, TransactionManager,
};
use diesel::migration::{
    Migration as DieselMigration, MigrationMetadata, MigrationName, MigrationSource, MigrationVersion, Result,
};
use diesel::pg::Pg;
use diesel::query_builder::{QueryFragment, QueryId};
use diesel::{ConnectionError, ConnectionResult, QueryResult};

use crate::embed::Embedded;
use crate::error::MigrationError;
use crate::segments::checksum;
use crate::source::{Migration, Migrations, Version};

impl Migrations {
    /// The migrations of any source of diesel's, such as `embed_migrations!`.
    ///
    /// It works, with less: diesel has thrown away what a directory shows, so that of two directories with
    /// one version one is never seen, a misspelt metadata.toml has turned the transaction off, repeatable
    /// migrations are not there, and errors name no file. [`embed!`](crate::embed!) loses nothing.
    ///
    /// # Errors
    /// [`MigrationError::Source`] where the source cannot be read, or where a migration is no SQL.
    pub fn from_source(source: &impl MigrationSource<Pg>) -> std::result::Result<Self, MigrationError> {
        let failed = |reason: String| MigrationError::Source { reason };
        let migrations = source.migrations().map_err(|error| failed(error.to_string()))?;
        tracing::info!(
            "migrations come from diesel's own source: what their directory shows cannot be checked"
        );
        let mut all = Vec::new();
        for migration in migrations {
            let name = migration.name().to_string();
            let mut up = Recorder::default();
            migration.run(&mut up).map_err(|error| failed(format!("{name} is no SQL: {error}")))?;
            let mut down = Recorder::default();
            let down = migration.revert(&mut down).is_ok().then_some(down.sql);
            let version = Version::from_stored(migration.name().version().to_string());
            all.push(Migration {
                checksum: checksum(&up.sql),
                version,
                path: PathBuf::from(&name),
                name: name.split_once('_').map(|(_, name)| name.to_owned()).unwrap_or_default(),
                up: up.sql,
                down,
                run_in_transaction: migration.metadata().run_in_transaction(),
            });
        }
        Migrations::of(all, Vec::new())
    }
}

impl MigrationSource<Pg> for Migrations {
    fn migrations(&self) -> Result<Vec<Box<dyn DieselMigration<Pg>>>> {
        let boxed = |migration: &Migration| Box::new(Shown::of(migration)) as Box<dyn DieselMigration<Pg>>;
        Ok(self.iter().map(boxed).collect())
    }
}

impl MigrationSource<Pg> for Embedded {
    fn migrations(&self) -> Result<Vec<Box<dyn DieselMigration<Pg>>>> {
        self.read()?.migrations()
    }
}

/// A migration of ours, as diesel wants to see it: the whole file is one message.
struct Shown {
    migration: Migration,
    name: Name,
    metadata: Metadata,
}

struct Name {
    version: String,
    label: String,
}

struct Metadata {
    run_in_transaction: bool,
}

impl Shown {
    fn of(migration: &Migration) -> Self {
        // Diesel shows a migration as its directory is called, dashes and all.
        let directory = migration.path.file_name().map(|name| name.to_string_lossy().into_owned());
        let label = directory.unwrap_or_else(|| migration.label());
        let name = Name { version: migration.version.as_str().to_owned(), label };
        let metadata = Metadata { run_in_transaction: migration.run_in_transaction };
        Shown { migration: migration.clone(), name, metadata }
    }
}

impl DieselMigration<Pg> for Shown {
    fn run(&self, conn: &mut dyn BoxableConnection<Pg>) -> Result<()> {
        Ok(conn.batch_execute(&self.migration.up)?)
    }

    fn revert(&self, conn: &mut dyn BoxableConnection<Pg>) -> Result<()> {
        let (version, name) = (self.migration.version.clone(), self.migration.name.clone());
        let down = self.migration.down.as_ref().ok_or(MigrationError::NoDown { version, name })?;
        Ok(conn.batch_execute(down)?)
    }

    fn metadata(&self) -> &dyn MigrationMetadata {
        &self.metadata
    }

    fn name(&self) -> &dyn MigrationName {
        &self.name
    }
}

impl MigrationMetadata for Metadata {
    fn run_in_transaction(&self) -> bool {
        self.run_in_transaction
    }
}

impl MigrationName for Name {
    fn version(&self) -> MigrationVersion<'_> {
        MigrationVersion::from(&self.version)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.label)
    }
}

/// A connection to nowhere that writes down what it is told.
#[derive(Default)]
struct Recorder {
    sql: String,
    transaction: AnsiTransactionManager,
    instrumentation: Option<Box<dyn Instrumentation>>,
}

/// Why a migration cannot be recorded.
#[derive(Debug, thiserror::Error)]
#[error("it asks the database; apply it with diesel's own harness")]
struct Asks;

impl SimpleConnection for Recorder {
    fn batch_execute(&mut self, query: &str) -> QueryResult<()> {
        if !self.sql.is_empty() {
            self.sql.push_str(";\n");
        }
        self.sql.push_str(query);
        Ok(())
    }
}

impl ConnectionSealed for Recorder {}

impl Connection for Recorder {
    type Backend = Pg;
    type TransactionManager = AnsiTransactionManager;

    fn establish(_: &str) -> ConnectionResult<Self> {
        Err(ConnectionError::BadConnection("a recorder connects to nothing".to_owned()))
    }

    fn execute_returning_count<T: QueryFragment<Pg> + QueryId>(&mut self, _: &T) -> QueryResult<usize> {
        Err(diesel::result::Error::QueryBuilderError(Box::new(Asks)))
    }

    fn transaction_state(
        &mut self,
    ) -> &mut <AnsiTransactionManager as TransactionManager<Self>>::TransactionStateData {
        &mut self.transaction
    }

    fn instrumentation(&mut self) -> &mut dyn Instrumentation {
        &mut self.instrumentation
    }

    fn set_instrumentation(&mut self, instrumentation: impl Instrumentation) {
        self.instrumentation = Some(Box::new(instrumentation));
    }

    fn set_prepared_statement_cache_size(&mut self, _: CacheSize) {}
}
