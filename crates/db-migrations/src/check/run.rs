//! Checks migrations one after the other, on a server that may be thrown away.

use std::time::{Duration, Instant};

use diesel::sql_types::Text;
use diesel::{QueryableByName, sql_query};
use diesel_async::{RunQueryDsl, SimpleAsyncConnection};

use super::error::CheckError;
use super::findings;
use super::rehearse::Stage;
use super::report::{CheckReport, MigrationCheck, Outcome};
use super::server::{Databases, Scratch};
use crate::source::{Migration, Migrations};
use crate::stats::Stats;

/// What is checked, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckConfig {
    /// The versions to check, as they are stored; all where it is empty. Those before them are applied unchecked.
    pub only: Vec<String>,
    /// SQL that fills the tables before the first migration that is checked, so that there are rows to lock and read.
    pub seed: Option<String>,
    /// The sizes of production's tables, for what a lock would mean there.
    pub stats: Option<Stats>,
    /// Up to this version only the round trip is judged: what has run everywhere is not indicted for its locks.
    pub start_after: Option<String>,
    /// The longest that one statement may take.
    pub statement_timeout: Duration,
}

impl Default for CheckConfig {
    fn default() -> Self {
        CheckConfig {
            only: Vec::new(),
            seed: None,
            stats: None,
            start_after: None,
            statement_timeout: Duration::from_secs(600),
        }
    }
}

/// Plays every migration up, down and up on databases of its own, and says what each did; `on_migration` hears of each.
///
/// A migration that fails stops none of the others.
///
/// # Errors
/// Where the server cannot be used, or [`CheckError::NoSuchVersion`]. What is wrong with a migration is in the report.
///
/// # Cancel safety
/// A dropped future leaves databases behind, whose names begin with `db_migrations_check_`.
pub async fn check<S: Databases>(
    server: &S,
    migrations: &Migrations,
    config: &CheckConfig,
    mut on_migration: impl FnMut(&MigrationCheck) + Send,
) -> Result<CheckReport, CheckError> {
    let started = Instant::now();
    let chosen = choose(migrations, config)?;
    let scratch = Scratch::open(server, config.statement_timeout).await?;
    let mut stage = match Stage::open(scratch).await {
        Ok(stage) => stage,
        Err((scratch, error)) => {
            scratch.finish().await?;
            return Err(error);
        }
    };
    let checked = check_on(&mut stage, &chosen, config, &mut on_migration).await;
    stage.close().await?;
    let mut report = checked?;
    report.summarize();
    report.summary.ms = started.elapsed().as_secs_f64() * 1_000.0;
    Ok(report)
}

async fn check_on<S: Databases>(
    stage: &mut Stage<'_, S>,
    chosen: &[(&Migration, bool)],
    config: &CheckConfig,
    on_migration: &mut (impl FnMut(&MigrationCheck) + Send),
) -> Result<CheckReport, CheckError> {
    let mut report = CheckReport::default();
    report.summary.server_version = server_version(stage).await?;
    let mut seeded = config.seed.is_none();
    let mut stale = false;
    for (migration, checked) in chosen {
        if !checked {
            stale = true;
            report.summary.applied_unchecked += 1;
            if let Some(failure) = stage.apply(migration).await? {
                let mut check = MigrationCheck::new(migration);
                check.up = Outcome::Error;
                check.error = Some(format!("up.sql:{}: {}", failure.line, failure.message));
                report.migrations.push(check);
            }
            continue;
        }
        if let (false, Some(seed)) = (seeded, &config.seed) {
            stage.conn().await?.batch_execute(&format!("{seed}\n;ANALYZE")).await?;
            stage.reset().await?;
            seeded = true;
        }
        if std::mem::take(&mut stale) {
            stage.look().await?;
        }
        let mut check = stage.rehearse(migration).await?;
        check.findings = findings::of(&check, &migration.up, config.stats.as_ref());
        #[cfg(feature = "lint")]
        super::lint::merge(&mut check, migration);
        if config.start_after.as_deref().is_some_and(|start| migration.version.as_str() <= start) {
            check.findings.retain(|finding| finding.rule == "round-trip");
        }
        on_migration(&check);
        report.migrations.push(check);
    }
    Ok(report)
}

/// The migrations up to the last one that is to be checked, and whether each is.
fn choose<'m>(
    migrations: &'m Migrations,
    config: &CheckConfig,
) -> Result<Vec<(&'m Migration, bool)>, CheckError> {
    let known =
        |version: &&String| !migrations.iter().any(|migration| migration.version.as_str() == **version);
    if let Some(version) = config.only.iter().find(known) {
        return Err(CheckError::NoSuchVersion { version: version.clone() });
    }
    let is_chosen = |migration: &Migration| {
        config.only.is_empty() || config.only.iter().any(|version| version == migration.version.as_str())
    };
    let last = migrations.iter().rposition(is_chosen).map_or(0, |last| last + 1);
    Ok(migrations.iter().take(last).map(|migration| (migration, is_chosen(migration))).collect())
}

async fn server_version<S: Databases>(stage: &mut Stage<'_, S>) -> Result<String, CheckError> {
    #[derive(QueryableByName)]
    struct Version {
        #[diesel(sql_type = Text)]
        version: String,
    }
    let asked = sql_query("SELECT current_setting('server_version') AS version");
    let Version { version } = asked.get_result(stage.conn().await?).await?;
    Ok(version.split(' ').next().unwrap_or_default().to_owned())
}
