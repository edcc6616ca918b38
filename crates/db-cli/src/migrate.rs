//! `dbctl migrate`.

use std::path::Path;
use std::process::ExitCode;

use db_platform::migrations::{
    Accept, Imported, MigrationError, Migrator, MigratorConfig, Plan, Planned, Repaired, Status, Step, Until,
    Version, import,
};
use diesel_async::AsyncPgConnection;
use serde_json::{Value, json};

use crate::FOUND;
use crate::args::Options;
use crate::check;
use crate::check_text;
use crate::connect::{self, Aloud};
use crate::consent;
use crate::error::CliError;
use crate::migrate_args::{Locks, Migrate, Source};
use crate::new_migration::{self, Contents};
use crate::progress::Progress;
use crate::say;

/// What the commands do to data.
const RESETS: &str = "drops everything in the database";
const UNDOES: &str = "runs down.sql, which drops columns and tables with their data";

pub(crate) async fn run(command: Migrate, options: &Options) -> Result<ExitCode, CliError> {
    let wanted = (command.accepted(), command.locks());
    let json = options.json;
    match command {
        Migrate::Plan { source, exit_code, .. } => {
            let (migrator, mut conn) = open(&source, wanted, options).await?;
            let plan = migrator.plan(&mut conn).await?;
            if json {
                say::result(json, "", &plan_value(&plan));
            } else {
                say::lines(&plan);
            }
            if exit_code && !plan.is_empty() {
                return Ok(ExitCode::from(FOUND));
            }
        }
        Migrate::Status(source) => {
            let (migrator, mut conn) = open(&source, wanted, options).await?;
            let status = migrator.status(&mut conn).await?;
            say::result(json, &say::coloured(&status.to_string()), &status_value(&status));
        }
        Migrate::Validate { source, .. } => {
            let (migrator, mut conn) = open(&source, wanted, options).await?;
            let found = migrator.validate(&mut conn).await?;
            print_found(json, &found);
            return Ok(check::verdict(found.is_empty()));
        }
        Migrate::Apply { source, to, steps, .. } => {
            let until = match (to, steps) {
                (Some(version), _) => Until::Version(Version::of(&version)),
                (None, Some(steps)) => Until::Steps(steps as usize),
                (None, None) => Until::All,
            };
            let (migrator, mut conn) = open(&source, wanted, options).await?;
            let mut progress = Progress::of(names(&migrator, &mut conn).await);
            let steps = migrator.apply_until(&mut conn, &until, |step| progress.done(step)).await;
            progress.finish();
            print_steps(json, &steps?);
        }
        Migrate::Undo { source, count, .. } => {
            consent::environment(&connect::config(options)?, UNDOES).await?;
            let (migrator, mut conn) = open(&source, wanted, options).await?;
            print_steps(json, &migrator.undo(&mut conn, count as usize, Progress::tell).await?);
        }
        Migrate::Redo(source) => {
            consent::environment(&connect::config(options)?, UNDOES).await?;
            let (migrator, mut conn) = open(&source, wanted, options).await?;
            print_steps(json, &migrator.redo(&mut conn, Progress::tell).await?);
        }
        Migrate::Reset { source, .. } => {
            let environment = consent::environment(&connect::config(options)?, RESETS).await?;
            let (migrator, mut conn) = open(&source, wanted, options).await?;
            print_steps(json, &migrator.reset(&mut conn, Some(environment), Progress::tell).await?);
        }
        Migrate::Repair { source, versions } => {
            let (migrator, mut conn) = open(&source, wanted, options).await?;
            print_repaired(json, &migrator.repair(&mut conn, &versions).await?);
        }
        Migrate::Baseline { source, version } => {
            let (migrator, mut conn) = open(&source, wanted, options).await?;
            print_repaired(json, &migrator.baseline(&mut conn, &version).await?);
        }
        Migrate::Import { from, source } => print_imported(json, &import(&from, &source.dir)?, &source.dir),
        Migrate::New { source, name, diff_schema, commit_markers } => {
            let contents = match diff_schema {
                Some(file) => Contents::FromSchema(file),
                None if commit_markers => Contents::CommitMarkers,
                None => Contents::Empty,
            };
            return new_migration::run(&source.dir, &name, contents, options).await;
        }
        Migrate::Expand { source, change } => {
            return new_migration::change(&source.dir, &change.into(), options).await;
        }
        Migrate::Contract { source, change } => {
            return new_migration::change(&source.dir, &change.into(), options).await;
        }
        Migrate::Check(wanted) => return check::run(wanted, options).await,
        Migrate::Drift(wanted) => return check::drift(wanted, options).await,
        Migrate::Lint(wanted) => return check_text::lint(&wanted, options),
        Migrate::Rules { rule, markdown } => check_text::rules(rule.as_deref(), markdown, options)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The runner of a directory's migrations, and the connection that it runs them on.
async fn open(
    source: &Source,
    (accept, locks): (Accept, Locks),
    options: &Options,
) -> Result<(Migrator, AsyncPgConnection), CliError> {
    let migrations = source.migrations()?;
    let config = connect::config(options)?;
    let Aloud { conn, connector, host, ear } = connect::connect_aloud(&config).await?;
    let ledger_schema = config.ledger_schema;
    let config = locks.over(MigratorConfig { accept, ledger_schema, ..MigratorConfig::default() });
    let migrator = Migrator::new(migrations, config).with_progress(|progress| eprintln!("{progress}"));
    // A transaction-pooling proxy is noticed only from a second connection.
    Ok((migrator.opened_by(connector, host).with_codes(move || ear.last_code()), conn))
}

fn print_found(json: bool, found: &[MigrationError]) {
    let lines: Vec<String> = found.iter().map(ToString::to_string).collect();
    let text = if lines.is_empty() { "nothing is wrong".to_owned() } else { lines.join("\n") };
    say::result(
        json,
        &text,
        &json!({ "findings": found.iter().map(CliError::of_migration).collect::<Vec<_>>() }),
    );
}

fn print_imported(json: bool, imported: &[Imported], directory: &Path) {
    let value = |one: &Imported| {
        json!({
            "version": one.version.as_str(),
            "path": one.path.display().to_string(),
            "from": one.from.iter().map(|file| file.display().to_string()).collect::<Vec<_>>(),
            "remarks": one.remarks,
        })
    };
    let mut text: Vec<String> = Vec::new();
    for one in imported {
        text.push(one.path.display().to_string());
        text.extend(one.remarks.iter().map(|remark| format!("  {remark}")));
    }
    text.push(format!("{} imported", imported.len()));
    let newest = imported.iter().map(|one| &one.version).filter(|version| !version.is_repeatable()).max();
    if let Some(newest) = newest {
        let directory = directory.display();
        text.push(format!(
            "a database that has them already is told so once: dbctl migrate baseline {newest} --dir {directory}"
        ));
    }
    say::result(json, &text.join("\n"), &Value::Array(imported.iter().map(value).collect()));
}

/// What will run, for the progress bar; whatever is wrong is said by `apply`.
async fn names(migrator: &Migrator, conn: &mut AsyncPgConnection) -> Vec<String> {
    let plan = migrator.plan(conn).await.unwrap_or_default();
    plan.pending.iter().map(|planned| planned.version.with_name(&planned.name)).collect()
}

fn plan_value(plan: &Plan) -> Value {
    let pending = |planned: &Planned| {
        let statements = planned.statements.iter().map(|statement| {
            json!({
                "line": statement.line,
                "head": statement.head,
                "part": statement.part,
                "in_transaction": statement.in_transaction,
                "lock": statement.lock,
            })
        });
        json!({
            "version": planned.version.as_str(),
            "name": planned.name,
            "run_in_transaction": planned.run_in_transaction,
            "parts_done": planned.parts_done,
            "statements": statements.collect::<Vec<_>>(),
        })
    };
    json!({
        "pending": plan.pending.iter().map(pending).collect::<Vec<_>>(),
        "unfinished_undo": plan.unfinished_undo.iter().map(|version| version.as_str()).collect::<Vec<_>>(),
    })
}

fn status_value(status: &Status) -> Value {
    let entries = status.entries.iter().map(|entry| {
        json!({
            "version": entry.version.as_str(),
            "name": entry.name,
            "applied": entry.applied,
            "edited": entry.edited,
            "out_of_order": entry.out_of_order,
            "cut_off_after": entry.cut_off_after,
        })
    });
    json!({ "migrations": entries.collect::<Vec<_>>() })
}

fn print_steps(json: bool, steps: &[Step]) {
    let undone = steps.iter().filter(|step| step.undone).count();
    let text = match (steps.len() - undone, undone) {
        (0, 0) => "nothing to do".to_owned(),
        (applied, 0) => format!("{applied} applied"),
        (0, undone) => format!("{undone} undone"),
        (applied, undone) => format!("{undone} undone, {applied} applied"),
    };
    let steps = steps.iter().map(|step| {
        json!({
            "version": step.version.as_str(),
            "name": step.name,
            "undone": step.undone,
            "ms": step.elapsed.as_secs_f64() * 1_000.0,
        })
    });
    say::result(json, &text, &json!({ "steps": steps.collect::<Vec<_>>() }));
}

fn print_repaired(json: bool, repaired: &[Repaired]) {
    let pairs: Vec<_> = repaired
        .iter()
        .filter_map(|one| match one {
            Repaired::Accepted(version) => Some(("accepted", version)),
            Repaired::Baselined(version) => Some(("recorded as applied", version)),
            Repaired::Forgotten(version) => Some(("forgotten", version)),
            _ => None,
        })
        .collect();
    let lines: Vec<_> = pairs.iter().map(|(what, version)| format!("{version} {what}")).collect();
    let text = if lines.is_empty() { "nothing to do".to_owned() } else { lines.join("\n") };
    let values = pairs.iter().map(|(what, version)| json!({ "version": version.as_str(), "what": what }));
    say::result(json, &text, &json!({ "repaired": values.collect::<Vec<_>>() }));
}
