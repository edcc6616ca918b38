//! Checks migrations one after the other, on a server that may be thrown away.

use std::ops::Range;
use std::time::Instant;

use diesel::sql_types::Text;
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};

use super::base::Base;
use super::config::CheckConfig;
use super::error::CheckError;
use super::findings;
use super::halves;
use super::rehearse::Stage;
use super::report::{CheckReport, MigrationCheck, Outcome};
use super::server::{Databases, Scratch};
use crate::schema::Schema;
use crate::source::{Migration, Migrations, Version};

/// Plays every migration up, down and up on databases of its own, and says what each did; `on_migration`
/// hears of each.
///
/// A migration that fails stops none of the others.
///
/// # Errors
/// Where the server cannot be used, or [`CheckError::NoSuchVersion`]. What is wrong with a migration is in
/// the report.
///
/// # Cancel safety
/// A dropped future leaves databases behind, whose names begin with `db_migrations_check_`.
pub async fn check<S: Databases>(
    server: &S,
    migrations: &Migrations,
    config: &CheckConfig,
    on_migration: impl FnMut(&MigrationCheck) + Send,
) -> Result<CheckReport, CheckError> {
    check_until(server, migrations, config, on_migration, std::future::pending()).await
}

/// As [`check`], until `stop` is ready: then its databases are dropped.
///
/// # Errors
/// As [`check`], and [`CheckError::Stopped`].
///
/// # Cancel safety
/// As [`check`]: it is `stop` that ends it without leaving anything behind.
pub async fn check_until<S: Databases>(
    server: &S,
    migrations: &Migrations,
    config: &CheckConfig,
    mut on_migration: impl FnMut(&MigrationCheck) + Send,
    stop: impl Future<Output = ()> + Send,
) -> Result<CheckReport, CheckError> {
    let started = Instant::now();
    let chosen = choose(migrations, config)?;
    let mut on_migration: &mut (dyn FnMut(&MigrationCheck) + Send) = &mut on_migration;
    let mut report = match halves::of(&chosen, config) {
        Some(middle) => halves::check(server, &chosen, config, middle, &mut on_migration, stop).await?,
        None => {
            let mut stage = Stage::open(Scratch::open(server, config.statement_timeout).await?).await?;
            let all = 0..chosen.len();
            let checked = tokio::select! {
                checked = check_on(&mut stage, &chosen, config, 0, all, &mut on_migration) => checked,
                () = stop => Err(CheckError::Stopped),
            };
            stage.close().await?;
            checked?
        }
    };
    report.summarize(config.fail_on);
    report.summary.ms = started.elapsed().as_secs_f64() * 1_000.0;
    Ok(report)
}

/// Checks the chosen ones that are in the range, on a database that has those before `from`; the others
/// between are applied.
pub(super) async fn check_on<S: Databases>(
    stage: &mut Stage<'_, S>,
    chosen: &[(&Migration, bool)],
    config: &CheckConfig,
    from: usize,
    range: Range<usize>,
    on_migration: &mut (dyn FnMut(&MigrationCheck) + Send),
) -> Result<CheckReport, CheckError> {
    let mut report = CheckReport::default();
    report.summary.server_version = server_version(stage.conn().await?).await?;
    let base = Base::of(chosen, config, &report.summary.server_version);
    let mut start = from;
    match base {
        _ if from > 0 => {}
        Some(base) if stage.begin_at(&base).await? => {
            start = base.migrations;
            report.summary.applied_unchecked = start;
        }
        _ => {
            if let Some(before) = &config.before {
                stage.before(before).await?;
            }
        }
    }
    let mut seeded = config.seed.is_none() || from > 0;
    let mut stale = false;
    for (place, (migration, checked)) in chosen.iter().enumerate().take(range.end).skip(start) {
        if let (true, false, Some(seed)) = (*checked, seeded, &config.seed) {
            stage.conn().await?.batch_execute(&format!("{seed}\n;ANALYZE")).await?;
            stage.forget_behind(seed);
            stage.reset().await?;
            stage.forget_sizes();
            seeded = true;
        }
        if !checked || place < range.start {
            stale = true;
            report.summary.applied_unchecked += usize::from(!checked);
            if let (Some(failure), false) = (stage.apply(migration).await?, *checked) {
                let mut check = MigrationCheck::new(migration);
                check.up = Outcome::Error;
                check.error = Some(format!("up.sql:{}: {}", failure.line, failure.message));
                report.migrations.push(check);
            }
            if let Some(base) = base.filter(|base| place + 1 == base.migrations)
                && report.migrations.is_empty()
            {
                stage.keep(&base).await?;
            }
            continue;
        }
        if std::mem::take(&mut stale) {
            stage.look().await?;
        }
        let check = judged(stage.rehearse(migration).await?, migration, config);
        on_migration(&check);
        report.migrations.push(check);
    }
    if let (Some(old_schema), true) = (&config.old_schema, range.end == chosen.len()) {
        report.missing_for_old_code = missing_for_old_code(stage.conn().await?, old_schema, chosen).await?;
    }
    Ok(report)
}

/// With the findings about what was seen.
fn judged(mut check: MigrationCheck, migration: &Migration, config: &CheckConfig) -> MigrationCheck {
    let judged = findings::of(&check, migration, config.stats.as_ref());
    (check.findings, check.accepted) = (judged.findings, judged.accepted);
    #[cfg(feature = "lint")]
    super::lint::merge(&mut check, migration);
    if config.start_after.as_deref().is_some_and(|start| migration.version <= Version::of(start)) {
        check.findings.retain(|finding| finding.rule == "round-trip");
    }
    check
}

/// The migrations up to the last one that is to be checked, and whether each is.
fn choose<'m>(
    migrations: &'m Migrations,
    config: &CheckConfig,
) -> Result<Vec<(&'m Migration, bool)>, CheckError> {
    let all = || migrations.iter().chain(migrations.repeatable());
    let known = |version: &&String| !all().any(|migration| migration.version.as_str() == **version);
    if let Some(version) = config.only.iter().find(known) {
        return Err(CheckError::NoSuchVersion { version: version.clone() });
    }
    let is_past = |migration: &&Migration| config.past.contains(&migration.version);
    let is_chosen = |migration: &&Migration| {
        !is_past(migration)
            && (config.only.is_empty()
                || config.only.iter().any(|version| version == migration.version.as_str()))
    };
    // Those of the past ran before the others, even where a branch brought one with a lower version.
    let order = all().filter(is_past).chain(all().filter(|migration| !is_past(migration)));
    let order: Vec<&Migration> = order.collect();
    let last = order.iter().rposition(is_chosen).map_or(0, |last| last + 1);
    Ok(order.into_iter().take(last).map(|migration| (migration, is_chosen(&migration))).collect())
}

/// What the old code reads and the new schema lacks, unless a migration says `-- contract` in a line of its
/// own.
async fn missing_for_old_code(
    conn: &mut AsyncPgConnection,
    old_schema: &str,
    chosen: &[(&Migration, bool)],
) -> Result<Vec<String>, CheckError> {
    let says_so = |sql: &str| {
        sql.lines().any(|line| line.trim() == "-- contract" || line.trim().starts_with("-- contract:"))
    };
    if chosen.iter().any(|(migration, checked)| *checked && says_so(&migration.up)) {
        return Ok(Vec::new());
    }
    let old = Schema::parse(old_schema)?;
    let names: Vec<&str> = old.tables.iter().filter_map(|table| table.schema.as_deref()).collect();
    let live = Schema::read(conn, &names).await?;
    let mut missing = Vec::new();
    for table in &old.tables {
        match live.table(table.schema.as_deref(), &table.name) {
            None => missing.push(format!("table {}", table.name)),
            Some(now) => {
                let gone = table.columns.iter().filter(|column| now.column(&column.name).is_none());
                missing.extend(gone.map(|column| format!("column {}.{}", table.name, column.name)));
            }
        }
    }
    Ok(missing)
}

/// The version of the server, without what its packager adds.
pub(crate) async fn server_version(conn: &mut AsyncPgConnection) -> Result<String, CheckError> {
    #[derive(QueryableByName)]
    struct Version {
        #[diesel(sql_type = Text)]
        version: String,
    }
    let asked = sql_query("SELECT current_setting('server_version') AS version");
    let Version { version } = asked.get_result(conn).await?;
    Ok(version.split(' ').next().unwrap_or_default().to_owned())
}
