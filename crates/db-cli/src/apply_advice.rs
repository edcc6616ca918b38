//! `dbctl advise apply` and `compare`: accepted advice becomes migrations, and later what came is held
//! against it.

use std::path::Path;
use std::process::ExitCode;

use db_platform::insight::indexes::{Outcome, Promised, Verdict, compare as compare_advice, read_advice};
use serde_json::{Value, json};

use crate::advise_args::{Apply, Compare};
use crate::args::Options;
use crate::error::CliError;
use crate::new_migration::{self, NewMigration};
use crate::{FOUND, advise, check, connect, input, say};

pub(crate) async fn run(command: Apply, options: &Options) -> Result<ExitCode, CliError> {
    let promised = accepted(&command.advice, &command.only)?;
    let migrations = migrations(&promised);
    let dir = &command.source.dir;
    let copy = match command.plan {
        true => Some(copied(dir)?),
        false => None,
    };
    let into = copy.as_ref().map_or(dir.as_path(), tempfile::TempDir::path);
    let paths = new_migration::write_all(into, &migrations)?;
    let versions = paths.iter().filter_map(|path| path.file_name()?.to_str()?.split_once('_'));
    let versions: Vec<String> = versions.map(|(version, _)| version.replace('-', "")).collect();
    let report = check::of_versions(into, versions, command.pg).await?;
    let mut lines = Vec::new();
    for (path, migration) in paths.iter().zip(&migrations) {
        let shown = match command.plan {
            true => path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
            false => path.display().to_string(),
        };
        lines.push(shown);
        lines.extend(migration.up.trim_end().lines().map(|line| format!("    {line}")));
    }
    lines.push(check::human(&report));
    let passes = report.summary.passes;
    let files: Vec<Value> = paths
        .iter()
        .zip(&migrations)
        .map(|(path, one)| json!({ "path": (!command.plan).then_some(path), "name": one.name, "up": one.up, "down": one.down }))
        .collect();
    let value = json!({ "written": !command.plan, "migrations": files, "check": report });
    say::result(options.json, &lines.join("\n"), &value);
    Ok(if passes { ExitCode::SUCCESS } else { ExitCode::from(FOUND) })
}

pub(crate) async fn compare(command: Compare, options: &Options) -> Result<ExitCode, CliError> {
    let promised = accepted(&command.advice, &command.only)?;
    let workload = advise::workload(&command.workload)?;
    let (mut conn, ..) = connect::connect(&connect::config(options)?).await?;
    let outcomes = compare_advice(&mut conn, &promised, &workload).await?;
    let came = outcomes.iter().all(|one| matches!(one.verdict, Verdict::Kept | Verdict::More));
    let lines: Vec<String> = outcomes.iter().map(line).collect();
    say::result(options.json, &lines.join("\n"), &json!({ "came": came, "outcomes": outcomes }));
    Ok(if came { ExitCode::SUCCESS } else { ExitCode::from(FOUND) })
}

/// What a person left in the advice, and named.
fn accepted(path: &Path, only: &[String]) -> Result<Vec<Promised>, CliError> {
    let text = input::text(path)?;
    let mut all =
        read_advice(&text).map_err(|source| CliError::Accepted { path: path.to_owned(), source })?;
    let case = |one: &Promised| one.case.as_str().map_or_else(|| one.case.to_string(), str::to_owned);
    let known: Vec<String> = all.iter().map(|one| format!("{} for {}", one.name(), case(one))).collect();
    if !only.is_empty() {
        all.retain(|one| only.iter().any(|name| name == one.name() || *name == case(one)));
    }
    if all.is_empty() {
        let named = if only.is_empty() { "none".to_owned() } else { only.join(", ") };
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        return Err(CliError::NothingAccepted { named, known });
    }
    Ok(all)
}

/// A migration for each thing that is made, behind those for the extensions that it needs.
fn migrations(promised: &[Promised]) -> Vec<NewMigration> {
    let mut all: Vec<NewMigration> = Vec::new();
    let mut add = |one: NewMigration| {
        if all.iter().all(|known| known.up != one.up) {
            all.push(one);
        }
    };
    for one in promised {
        for needed in &one.requires {
            let extension = needed.rsplit(' ').next().unwrap_or_default().trim_end_matches(';').to_owned();
            let plain: String =
                extension.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
            add(NewMigration {
                name: format!("add_extension_{plain}"),
                up: format!("{needed};\n"),
                down: format!("DROP EXTENSION {extension};\n"),
                metadata: String::new(),
            });
        }
        let migration = &one.migration;
        add(NewMigration {
            name: migration.name.clone(),
            up: migration.up.clone(),
            down: migration.down.clone(),
            metadata: migration.metadata.clone(),
        });
    }
    all
}

/// The directory of migrations once more, where nobody looks.
fn copied(dir: &Path) -> Result<tempfile::TempDir, CliError> {
    let copy = tempfile::tempdir().map_err(CliError::file(dir))?;
    let mut open = vec![(dir.to_owned(), copy.path().to_owned())];
    while let Some((from, to)) = open.pop() {
        std::fs::create_dir_all(&to).map_err(CliError::file(&to))?;
        for entry in std::fs::read_dir(&from).map_err(CliError::file(&from))? {
            let entry = entry.map_err(CliError::file(&from))?;
            let (path, target) = (entry.path(), to.join(entry.file_name()));
            if path.is_dir() {
                open.push((path, target));
            } else {
                std::fs::copy(&path, &target).map_err(CliError::file(&path))?;
            }
        }
    }
    Ok(copy)
}

fn line(one: &Outcome) -> String {
    let verdict = match one.verdict {
        Verdict::Kept => "came as promised",
        Verdict::More => "more came than was promised",
        Verdict::Less => "less came than was promised",
        Verdict::NotUsed => "is there, and the statement does not use it",
        Verdict::NotValid => "is INVALID",
        Verdict::Missing => "is not there",
        _ => "could not be compared",
    };
    let case = one.case.as_str().map_or_else(|| one.case.to_string(), str::to_owned);
    let figures = match one.came {
        Some(came) if one.promised <= 1.0 => {
            format!(" (promised {:.0} % less, came {:.0} %)", one.promised * 100.0, came * 100.0)
        }
        Some(came) => format!(" (rows were {:.0} times wrong, now {came:.1})", one.promised),
        None => String::new(),
    };
    let notes: String = one.notes.iter().map(|note| format!("\n    note: {note}")).collect();
    format!("{case}: {}: {verdict}{figures}{notes}", one.index)
}
