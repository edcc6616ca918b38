//! Compares a live database with what its applied migrations make.

use diesel::sql_types::{Array, Text};
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use serde::Serialize;

use super::difference::Difference;
use super::error::CheckError;
use super::fingerprint::Fingerprint;
use super::lawful;
use super::rehearse::Stage;
use super::run::server_version;
use super::server::{Databases, Scratch};
use crate::ledger::Ledger;
use crate::location::quoted;
use crate::source::{Migration, Migrations, Version};
use crate::split::split;
use crate::statement::Words;

/// How a live database differs from what its applied migrations make.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Drift {
    /// What the migrations make and the database lacks is lost, what it has beyond them is left over.
    pub differences: Vec<Difference>,
    /// Versions that are applied there and have no file: what they made is left over.
    pub unknown: Vec<String>,
    /// Versions that are not applied there, and were not applied for the comparison.
    pub pending: Vec<String>,
}

impl Drift {
    /// Whether the database is what its migrations make.
    pub fn is_none(&self) -> bool {
        self.unknown.is_empty() && self.differences.iter().all(|difference| difference.cosmetic)
    }
}

/// How a live database is compared.
///
/// ```
/// use db_migrations::check::DriftConfig;
/// let config = DriftConfig { before: Some("CREATE ROLE app NOLOGIN".to_owned()), ..DriftConfig::default() };
/// assert!(config.ledger_schema.is_none());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DriftConfig {
    /// The ledger's schema, as in [`MigratorConfig`](crate::MigratorConfig).
    pub ledger_schema: Option<String>,
    /// SQL that runs before the first migration, for what they do not make themselves: roles, extensions.
    pub before: Option<String>,
}

/// Compares the database of `live` with what its applied migrations make on `server`, in a database of the
/// check's own.
///
/// Left out is what differs by rights: owners and grants, since roles are the server's; `search_path`; our
/// own tables; partitions of a table that both have. `server` need not be the live one, and must be of the
/// same major version. Reads only, on `live`.
///
/// # Errors
/// [`CheckError::OtherVersion`]; [`CheckError::Failed`] where a migration cannot be applied; and where a
/// server cannot be used.
pub async fn drift<S: Databases>(
    server: &S,
    migrations: &Migrations,
    live: &mut AsyncPgConnection,
    config: &DriftConfig,
) -> Result<Drift, CheckError> {
    let (ledger, state) = Ledger::read(live, config.ledger_schema.as_deref()).await?;
    let place = Place::of(live, migrations, &ledger).await?;
    let found = Fingerprint::of(live).await?;
    let live_version = server_version(live).await?;
    let is_applied = |migration: &&Migration| match migration.version.is_repeatable() {
        true => state.checksums.get(&migration.version) == Some(&migration.checksum),
        false => state.applied.contains(&migration.version),
    };
    let all = || migrations.iter().chain(migrations.repeatable());
    let gone = |version: &&Version| migrations.get(version).is_none();
    let repeatable = state.checksums.keys().filter(|version| version.is_repeatable());
    let mut drift = Drift {
        unknown: state.applied.iter().chain(repeatable).filter(gone).map(ToString::to_string).collect(),
        pending: all().filter(|one| !is_applied(one)).map(|one| one.version.to_string()).collect(),
        ..Drift::default()
    };
    let mut stage = Stage::open(Scratch::open(server, std::time::Duration::ZERO).await?).await?;
    let made = async {
        let version = server_version(stage.conn().await?).await?;
        if major(&version) != major(&live_version) {
            return Err(CheckError::OtherVersion { live: live_version, here: version });
        }
        stage.conn().await?.batch_execute(&place.sql).await?;
        if let Some(before) = &config.before {
            stage.before(before).await?;
        }
        stage.search_path = Some(place.search_path);
        stage.reset().await?;
        for migration in all().filter(is_applied) {
            if let Some(failure) = stage.apply(migration).await? {
                let file = migration.up_file();
                return Err(CheckError::Failed { file, line: failure.line, message: failure.message });
            }
        }
        Fingerprint::of(stage.conn().await?).await
    }
    .await;
    stage.close().await?;
    let mut made = made?;
    let mut found = found;
    lawful::leave_out(&mut made, &mut found);
    drift.differences = made.diff(&found);
    Ok(drift)
}

/// Where the migrations made what they made.
struct Place {
    /// With the role's own name where it says `$user`.
    search_path: String,
    /// Makes the schemas that were there before the migrations.
    sql: String,
}

#[derive(QueryableByName)]
struct PlaceRow {
    #[diesel(sql_type = Text)]
    search_path: String,
    #[diesel(sql_type = Array<Text>)]
    schemas: Vec<String>,
}

impl Place {
    async fn of(
        live: &mut AsyncPgConnection,
        migrations: &Migrations,
        ledger: &Ledger,
    ) -> Result<Place, CheckError> {
        let row: PlaceRow = sql_query(
            "SELECT pg_catalog.replace(pg_catalog.current_setting('search_path'), '\"$user\"', \
             pg_catalog.quote_ident(current_user)) AS search_path, ARRAY(SELECT s::text FROM \
             pg_catalog.unnest(pg_catalog.current_schemas(false)) AS s)::text[] AS schemas",
        )
        .get_result(live)
        .await?;
        let made: Vec<String> = migrations
            .iter()
            .flat_map(|migration| split(&migration.up))
            .filter_map(|statement| schema_made(statement.text))
            .collect();
        let there = row.schemas.into_iter().chain([ledger.schema().to_owned()]);
        let sql: String = there
            .filter(|schema| !made.iter().any(|made| made.trim_matches('"') == *schema))
            .map(|schema| format!("CREATE SCHEMA IF NOT EXISTS {};", quoted(&schema)))
            .collect();
        Ok(Place { search_path: row.search_path, sql })
    }
}

/// The schema that a statement makes.
fn schema_made(sql: &str) -> Option<String> {
    let mut words = Words::of(sql);
    let makes = words.take_all(&["create", "schema"]);
    words.take_all(&["if", "not", "exists"]);
    if makes { words.name() } else { None }
}

fn major(version: &str) -> &str {
    version.split('.').next().unwrap_or_default()
}
