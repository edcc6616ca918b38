//! Applies, undoes and redoes migrations, under the lock.

use std::time::{Duration, Instant};

use db_core::Error;
use diesel_async::{AsyncConnection, AsyncPgConnection, SimpleAsyncConnection};

use crate::error::MigrationError;
use crate::plan::Plan;
use crate::source::{Migration, Migrations, Version};
use crate::status::Status;
use crate::{ledger, lock};

/// What was set at start-up, without the timeouts of a service.
const SESSION: &str = "RESET ALL; SET statement_timeout = 0; SET lock_timeout = 0";

/// How the runner behaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MigratorConfig {
    /// The longest to wait for another runner to finish.
    pub lock_patience: Duration,
}

impl Default for MigratorConfig {
    fn default() -> Self {
        MigratorConfig { lock_patience: Duration::from_secs(300) }
    }
}

/// One migration that was applied or undone.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Step {
    /// Its version.
    pub version: Version,
    /// Its name.
    pub name: String,
    /// Whether it was undone, not applied.
    pub undone: bool,
    /// How long it took.
    pub elapsed: Duration,
}

/// Runs the migrations of one directory.
#[derive(Debug, Clone)]
pub struct Migrator {
    migrations: Migrations,
    config: MigratorConfig,
}

impl Migrator {
    /// A runner of these migrations.
    pub fn new(migrations: Migrations, config: MigratorConfig) -> Self {
        Migrator { migrations, config }
    }

    /// What [`Migrator::apply`] would run now. Reads only.
    ///
    /// # Errors
    /// [`MigrationError::Database`].
    pub async fn plan(&self, conn: &mut AsyncPgConnection) -> Result<Plan, MigrationError> {
        Ok(Plan::of(&self.migrations, &ledger::applied(conn).await?))
    }

    /// Which migrations are applied. Reads only.
    ///
    /// # Errors
    /// [`MigrationError::Database`].
    pub async fn status(&self, conn: &mut AsyncPgConnection) -> Result<Status, MigrationError> {
        Ok(Status::of(&self.migrations, &ledger::applied(conn).await?))
    }

    /// Applies what is pending, in order, and calls `on_step` after each. With nothing pending no lock is taken.
    ///
    /// `conn` must be a direct connection: behind a transaction pooler the lock would protect nothing. Its
    /// `statement_timeout` and `lock_timeout` are lifted for the run and restored after it.
    ///
    /// # Errors
    /// [`MigrationError::Locked`] where another runner does not finish in time; [`MigrationError::Sql`] where the
    /// server refuses a migration: those before it stay applied.
    ///
    /// # Cancel safety
    /// Dropping the future does not stop the statement under way: cancel it through the connection's cancel token, or
    /// the server runs the file to its end before it notices that the client is gone. What was not committed is rolled
    /// back.
    pub async fn apply(
        &self,
        conn: &mut AsyncPgConnection,
        on_step: impl FnMut(&Step) + Send,
    ) -> Result<Vec<Step>, MigrationError> {
        if self.plan(conn).await?.is_empty() {
            return Ok(Vec::new());
        }
        self.locked(conn, async |conn: &mut AsyncPgConnection| {
            let mut on_step = on_step;
            let mut steps = Vec::new();
            for planned in self.plan(conn).await?.pending {
                if let Some(migration) = self.migrations.get(&planned.version) {
                    steps.push(up(conn, migration).await?);
                    steps.last().into_iter().for_each(&mut on_step);
                }
            }
            Ok(steps)
        })
        .await
    }

    /// Undoes the newest `count` applied migrations, and calls `on_step` after each.
    ///
    /// # Errors
    /// [`MigrationError::NothingApplied`], [`MigrationError::Unknown`], [`MigrationError::NoDown`], and as
    /// [`Migrator::apply`].
    ///
    /// # Cancel safety
    /// As [`Migrator::apply`].
    pub async fn undo(
        &self,
        conn: &mut AsyncPgConnection,
        count: usize,
        on_step: impl FnMut(&Step) + Send,
    ) -> Result<Vec<Step>, MigrationError> {
        self.locked(conn, async |conn: &mut AsyncPgConnection| self.undo_newest(conn, count, on_step).await)
            .await
    }

    /// Undoes the newest applied migration and applies it again, and calls `on_step` after each.
    ///
    /// # Errors
    /// As [`Migrator::undo`].
    ///
    /// # Cancel safety
    /// As [`Migrator::apply`].
    pub async fn redo(
        &self,
        conn: &mut AsyncPgConnection,
        mut on_step: impl FnMut(&Step) + Send,
    ) -> Result<Vec<Step>, MigrationError> {
        self.locked(conn, async |conn: &mut AsyncPgConnection| {
            let mut steps = self.undo_newest(conn, 1, &mut on_step).await?;
            if let Some(migration) = steps.first().and_then(|step| self.migrations.get(&step.version)) {
                steps.push(up(conn, migration).await?);
                steps.last().into_iter().for_each(&mut on_step);
            }
            Ok(steps)
        })
        .await
    }

    async fn undo_newest(
        &self,
        conn: &mut AsyncPgConnection,
        count: usize,
        mut on_step: impl FnMut(&Step) + Send,
    ) -> Result<Vec<Step>, MigrationError> {
        let applied = ledger::applied(conn).await?;
        if applied.is_empty() {
            return Err(MigrationError::NothingApplied);
        }
        let mut steps = Vec::new();
        for version in applied.iter().rev().take(count) {
            let migration = self.migrations.get(version);
            let migration = migration.ok_or_else(|| MigrationError::Unknown { version: version.clone() })?;
            steps.push(down(conn, migration).await?);
            steps.last().into_iter().for_each(&mut on_step);
        }
        Ok(steps)
    }

    async fn locked<T>(
        &self,
        conn: &mut AsyncPgConnection,
        work: impl AsyncFnOnce(&mut AsyncPgConnection) -> Result<T, MigrationError>,
    ) -> Result<T, MigrationError> {
        lock::lock(conn, self.config.lock_patience).await?;
        let result = async {
            conn.batch_execute(SESSION).await?;
            ledger::create(conn).await?;
            work(conn).await
        }
        .await;
        // A file outside a transaction may have left one open; a lost connection has already forgotten everything.
        let _ = conn.batch_execute("ROLLBACK").await;
        let _ = conn.batch_execute("RESET ALL").await;
        lock::unlock(conn).await;
        result
    }
}

async fn up(conn: &mut AsyncPgConnection, migration: &Migration) -> Result<Step, MigrationError> {
    run(conn, migration, "up.sql", &migration.up).await
}

async fn down(conn: &mut AsyncPgConnection, migration: &Migration) -> Result<Step, MigrationError> {
    let Some(sql) = &migration.down else {
        return Err(MigrationError::NoDown {
            version: migration.version.clone(),
            name: migration.name.clone(),
        });
    };
    run(conn, migration, "down.sql", sql).await
}

/// Runs one file and records it, both in one transaction where the migration runs in one.
async fn run(
    conn: &mut AsyncPgConnection,
    migration: &Migration,
    file: &str,
    sql: &str,
) -> Result<Step, MigrationError> {
    let (started, undone) = (Instant::now(), file == "down.sql");
    let result = if migration.run_in_transaction {
        conn.transaction(async |conn| run_and_record(conn, migration, sql, undone).await).await
    } else {
        run_and_record(conn, migration, sql, undone).await
    };
    result.map_err(|error| MigrationError::Sql {
        file: migration.file(file),
        hint: hint(&error, migration),
        source: Box::new(Error::from(error)),
    })?;
    let step = Step {
        version: migration.version.clone(),
        name: migration.name.clone(),
        undone,
        elapsed: started.elapsed(),
    };
    tracing::info!(version = %step.version, name = %step.name, undone, elapsed = ?step.elapsed, "migration ran");
    Ok(step)
}

async fn run_and_record(
    conn: &mut AsyncPgConnection,
    migration: &Migration,
    sql: &str,
    undone: bool,
) -> Result<(), diesel::result::Error> {
    conn.batch_execute(sql).await?;
    // The file may have set anything, even a search_path that hides the ledger: none of it reaches what comes next.
    conn.batch_execute(SESSION).await?;
    if undone {
        ledger::forget(conn, &migration.version).await
    } else {
        ledger::record(conn, &migration.version).await
    }
}

fn hint(error: &diesel::result::Error, migration: &Migration) -> Option<&'static str> {
    let concurrently = error.to_string().contains("CONCURRENTLY");
    match (concurrently, migration.run_in_transaction) {
        (true, true) => Some("give it a metadata.toml with run_in_transaction = false"),
        (true, false) => {
            Some("a migration outside a transaction must be one statement: split it into several")
        }
        (false, _) => None,
    }
}
