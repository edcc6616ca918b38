//! Compares a live database with what its applied migrations make.

use diesel_async::AsyncPgConnection;
use serde::Serialize;

use super::difference::Difference;
use super::error::CheckError;
use super::fingerprint::Fingerprint;
use super::rehearse::Stage;
use super::run::server_version;
use super::server::{Databases, Scratch};
use crate::ledger::Ledger;
use crate::source::Migrations;

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

/// Compares the database of `live` with what its applied migrations make on `server`, in a database of the check's own.
///
/// Owners and grants are left out, since roles are the server's: `server` need not be the live one, and must
/// be of the same major version. Reads only, on `live`. `ledger_schema` is as in
/// [`MigratorConfig`](crate::MigratorConfig).
///
/// # Errors
/// [`CheckError::OtherVersion`]; [`CheckError::Failed`] where a migration cannot be applied; and where a server cannot
/// be used.
pub async fn drift<S: Databases>(
    server: &S,
    migrations: &Migrations,
    live: &mut AsyncPgConnection,
    ledger_schema: Option<&str>,
) -> Result<Drift, CheckError> {
    let (_, state) = Ledger::read(live, ledger_schema).await?;
    let found = Fingerprint::of(live).await?.without_privileges();
    let live_version = server_version(live).await?;
    let is_applied = |version: &crate::source::Version| state.applied.contains(version);
    let mut drift = Drift {
        unknown: state
            .applied
            .iter()
            .filter(|version| migrations.get(version).is_none())
            .map(ToString::to_string)
            .collect(),
        pending: migrations
            .iter()
            .map(|one| &one.version)
            .filter(|one| !is_applied(one))
            .map(ToString::to_string)
            .collect(),
        ..Drift::default()
    };
    let mut stage = Stage::open(Scratch::open(server, std::time::Duration::ZERO).await?).await?;
    let made = async {
        let version = server_version(stage.conn().await?).await?;
        if major(&version) != major(&live_version) {
            return Err(CheckError::OtherVersion { live: live_version, here: version });
        }
        for migration in migrations.iter().filter(|migration| is_applied(&migration.version)) {
            if let Some(failure) = stage.apply(migration).await? {
                let file = migration.path.join("up.sql");
                return Err(CheckError::Failed { file, line: failure.line, message: failure.message });
            }
        }
        Fingerprint::of(stage.conn().await?).await
    }
    .await;
    stage.close().await?;
    drift.differences = made?.without_privileges().diff(&found);
    Ok(drift)
}

fn major(version: &str) -> &str {
    version.split('.').next().unwrap_or_default()
}
