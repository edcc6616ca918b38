//! Migrations that are part of the service: applied when it starts, by whichever process is first.

use db_core::Connect as _;
use db_migrations::{Embedded, MigrationError, Migrator, MigratorConfig, Step};
use db_pool::{ConnectConfig, Connector};

use super::Db;
use crate::primary_of;

impl Db {
    /// Applies what is not applied yet of the service's migrations, and returns what it did.
    ///
    /// It runs on a connection of its own to the primary (`DATABASE_DIRECT_URL`), past pools and poolers,
    /// without `DB_QUERY_TIMEOUT`: an index may take its time. Of several processes that start at once one
    /// applies them, and the others wait for it, for at most five minutes. No process serves meanwhile what
    /// it would serve wrongly: call it before the first request.
    ///
    /// ```no_run
    /// use db_platform::migrations::Embedded;
    /// use db_platform::{Config, Db};
    ///
    /// static MIGRATIONS: Embedded = db_platform::migrations::embed!("$CARGO_MANIFEST_DIR/../../migrations");
    ///
    /// # async fn start() -> Result<Db, Box<dyn std::error::Error>> {
    /// let db = Db::connect(Config::from_env()?).await?;
    /// for step in db.migrate(&MIGRATIONS).await? {
    ///     println!("applied {} in {:?}", step.version, step.elapsed);
    /// }
    /// # Ok(db)
    /// # }
    /// ```
    ///
    /// A database that was made by hand, or by another tool, has no record of what is applied: tell it once
    /// with `dbctl migrate baseline VERSION`, else the first migration fails because its tables are there.
    ///
    /// # Errors
    /// As [`Migrator::apply`]. What committed before the failure stays, and the next start goes on from
    /// there.
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection: the server stops within a second, and rolls back what was
    /// not committed.
    pub async fn migrate(&self, migrations: &Embedded) -> Result<Vec<Step>, MigrationError> {
        let migrations = migrations.read()?;
        let connect = ConnectConfig {
            statement_timeout: None,
            idle_in_transaction_timeout: None,
            ..self.direct.config().clone()
        };
        let direct = Connector::new(self.direct.url().clone(), connect);
        let primary = primary_of(&direct).await?;
        let mut conn = direct.connect(&primary).await?;
        let ledger_schema = self.ledger_schema.as_deref().map(str::to_owned);
        let config = MigratorConfig { ledger_schema, ..MigratorConfig::default() };
        let migrator = Migrator::new(migrations, config).opened_by(direct, primary);
        migrator.apply(&mut conn, |step| tracing::info!(version = %step.version, elapsed = ?step.elapsed, "applied a migration")).await
    }
}
