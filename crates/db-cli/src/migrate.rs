//! `dbctl migrate`.

use db_platform::migrations::{Migrations, Migrator, MigratorConfig, Step};
use serde_json::{Value, json};

use crate::args::{Database, Migrate, Source};
use crate::connect;
use crate::error::CliError;

pub(crate) async fn run(command: Migrate, database: &Database) -> Result<(), CliError> {
    let source = match &command {
        Migrate::Plan(source) | Migrate::Apply(source) | Migrate::Status(source) | Migrate::Redo(source) => {
            source
        }
        Migrate::Undo { source, .. } => source,
    };
    let migrator = Migrator::new(Migrations::read(&source.dir)?, MigratorConfig::default());
    let mut conn = connect::connect(&connect::config(database)?).await?;
    match &command {
        Migrate::Plan(Source { json, .. }) => {
            let plan = migrator.plan(&mut conn).await?;
            let pending = plan.pending.iter().map(|planned| {
                json!({
                    "version": planned.version.as_str(),
                    "name": planned.name,
                    "run_in_transaction": planned.run_in_transaction,
                })
            });
            print(*json, &plan.to_string(), json!({ "pending": pending.collect::<Vec<_>>() }));
        }
        Migrate::Status(Source { json, .. }) => {
            let status = migrator.status(&mut conn).await?;
            let entries = status.entries.iter().map(|entry| {
                json!({ "version": entry.version.as_str(), "name": entry.name, "applied": entry.applied })
            });
            print(*json, &status.to_string(), json!({ "migrations": entries.collect::<Vec<_>>() }));
        }
        Migrate::Apply(Source { json, .. }) => {
            let steps = migrator.apply(&mut conn, |step| eprintln!("{}", line(step))).await?;
            print_steps(*json, &steps);
        }
        Migrate::Undo { source, count } => {
            let steps = migrator.undo(&mut conn, *count as usize, |step| eprintln!("{}", line(step))).await?;
            print_steps(source.json, &steps);
        }
        Migrate::Redo(Source { json, .. }) => {
            let steps = migrator.redo(&mut conn, |step| eprintln!("{}", line(step))).await?;
            print_steps(*json, &steps);
        }
    }
    Ok(())
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
    print(json, &text, json!({ "steps": steps.collect::<Vec<_>>() }));
}

fn line(step: &Step) -> String {
    let verb = if step.undone { "undone " } else { "applied" };
    format!("{verb}  {}_{}  {:.0?}", step.version, step.name, step.elapsed)
}

fn print(json: bool, text: &str, value: Value) {
    if json {
        println!("{value}");
    } else {
        println!("{text}");
    }
}
