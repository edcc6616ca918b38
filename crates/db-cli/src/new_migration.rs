//! `dbctl migrate new`: makes the directory of a migration, and fills it from `schema.rs` if asked.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use chrono::{NaiveDateTime, SubsecRound as _, TimeDelta, Utc};
use db_platform::migrations::online_change::OnlineChange;
use db_platform::migrations::schema::{Schema, SchemaDiff, difference};
use db_platform::migrations::{MigrationError, Migrations, Version};
use db_platform::retry::marker;
use serde_json::json;

use crate::args::Options;
use crate::connect;
use crate::error::CliError;
use crate::{say, vars};

/// What the new migration is to hold.
pub(crate) enum Contents {
    Empty,
    /// What leads from the database to this `schema.rs`.
    FromSchema(PathBuf),
    /// The table of marker rows.
    CommitMarkers,
}

pub(crate) async fn run(
    directory: &Path,
    name: &str,
    contents: Contents,
    options: &Options,
) -> Result<ExitCode, CliError> {
    if name.is_empty() || !name.chars().all(|one| one.is_ascii_alphanumeric() || one == '_' || one == '-') {
        return Err(CliError::Name { name: name.to_owned() });
    }
    let files = match contents {
        Contents::FromSchema(file) => from_schema(&file, options).await?,
        Contents::CommitMarkers => commit_markers(options)?,
        Contents::Empty => {
            let files = ["-- What this does, and why.\n", "-- Undoes up.sql exactly.\n"];
            files.map(str::to_owned)
        }
    };
    let [up, down] = files;
    let migration = NewMigration { name: name.to_owned(), up, down, metadata: String::new() };
    let paths = write_all(directory, &[migration])?;
    let shown = paths.iter().map(|path| path.display().to_string()).collect::<String>();
    say::result(options.json, &shown, &json!({ "path": shown }));
    Ok(ExitCode::SUCCESS)
}

fn commit_markers(options: &Options) -> Result<[String; 2], CliError> {
    let vars = vars::all(options)?;
    let schema = vars.into_iter().find(|(name, _)| name == "DB_MARKER_SCHEMA").map(|(_, schema)| schema);
    let schema = schema.filter(|schema| !schema.is_empty()).unwrap_or_else(|| "public".to_owned());
    let table = marker::table_in(&schema);
    let up = format!(
        "-- Transactions leave a row here with their COMMIT (DB_COMMIT_MARKERS): it is known by it, also after a\n\
         -- failover, whether they committed. Old rows are removed by the services.\n{table};\n"
    );
    Ok([up, format!("{};\n", marker::drop_in(&schema))])
}

/// Writes the migration of a change that is made beside the application.
pub(crate) async fn change(
    directory: &Path,
    change: &OnlineChange,
    options: &Options,
) -> Result<ExitCode, CliError> {
    let (mut conn, ..) = connect::connect(&connect::config(options)?).await?;
    let files = change.files(&mut conn).await?;
    let fits = |one: char| if one.is_ascii_alphanumeric() { one.to_ascii_lowercase() } else { '_' };
    let name: String = files.name.chars().map(fits).collect();
    let migration = NewMigration { name, up: files.up, down: files.down, metadata: String::new() };
    let paths = write_all(directory, &[migration])?;
    let shown = paths.iter().map(|path| path.display().to_string()).collect::<String>();
    let text = [shown.clone()].into_iter().chain(files.then.iter().cloned()).collect::<Vec<_>>().join("\n");
    say::result(options.json, &text, &json!({ "path": shown, "then": files.then }));
    Ok(ExitCode::SUCCESS)
}

async fn from_schema(file: &Path, options: &Options) -> Result<[String; 2], CliError> {
    let text = fs::read_to_string(file).map_err(CliError::file(file))?;
    let wanted = Schema::parse(&text)?;
    let (mut conn, ..) = connect::connect(&connect::config(options)?).await?;
    let schemas: Vec<&str> = wanted.tables.iter().filter_map(|table| table.schema.as_deref()).collect();
    let live = Schema::read(&mut conn, &schemas).await?;
    let migration: SchemaDiff = difference(&live, &wanted);
    if migration.is_empty() {
        return Err(CliError::NoDifference { file: file.to_owned() });
    }
    Ok([migration.up, migration.down])
}

/// So far ahead of the clock a version may be for another one to come behind it.
const AHEAD: TimeDelta = TimeDelta::minutes(1);

/// The time that a version is made of.
fn time_of(version: &str) -> Option<NaiveDateTime> {
    NaiveDateTime::parse_from_str(version, "%Y%m%d%H%M%S").ok()
}

/// A migration to write.
pub(crate) struct NewMigration {
    pub(crate) name: String,
    pub(crate) up: String,
    pub(crate) down: String,
    /// Empty: no such file.
    pub(crate) metadata: String,
}

/// Writes migrations that come after all others, in this order; the directories.
pub(crate) fn write_all(directory: &Path, migrations: &[NewMigration]) -> Result<Vec<PathBuf>, CliError> {
    fs::create_dir_all(directory).map_err(CliError::file(directory))?;
    let newest = Migrations::read(directory)?.iter().last().map(|newest| newest.version.clone());
    let mut at = Utc::now();
    // Several are written within a second: each comes behind the one before.
    if let Some(last) = newest.as_ref().and_then(|newest| time_of(newest.as_str()))
        && last >= at.naive_utc().trunc_subsecs(0)
        && last - at.naive_utc() < AHEAD
    {
        at = last.and_utc() + TimeDelta::seconds(1);
    }
    let mut paths = Vec::new();
    for migration in migrations {
        let version = at.format("%Y-%m-%d-%H%M%S").to_string();
        // Two of one second would have one version.
        at += TimeDelta::seconds(1);
        let name = &migration.name;
        if let Some(newest) = newest.as_ref().filter(|newest| **newest >= Version::of(&version)) {
            let migration = format!("{version}_{name}");
            return Err(MigrationError::OutOfOrder { migration, newest: newest.clone() }.into());
        }
        let path = directory.join(format!("{version}_{name}"));
        fs::create_dir(&path).map_err(CliError::file(&path))?;
        let files = [
            ("up.sql", &migration.up),
            ("down.sql", &migration.down),
            ("metadata.toml", &migration.metadata),
        ];
        for (file, text) in files.into_iter().filter(|(_, text)| !text.is_empty()) {
            let file = path.join(file);
            fs::write(&file, text).map_err(CliError::file(&file))?;
        }
        paths.push(path);
    }
    Ok(paths)
}
