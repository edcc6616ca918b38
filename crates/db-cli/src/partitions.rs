//! `dbctl partitions`.

use std::process::ExitCode;

use db_platform::Config;
use db_platform::maintenance::PartitionSettings;
use db_platform::maintenance::partitions::{Conversion, Partitions as Keeper, Plan, Report};
use serde_json::json;

use crate::args::Options;
use crate::error::CliError;
use crate::partitions_args::{Convert, Kept, Partitions};
use crate::{FOUND, connect, say};

/// The exit status where somebody else has the lock.
const LED_BY_ANOTHER: u8 = 5;

pub(crate) async fn run(command: Partitions, options: &Options) -> Result<ExitCode, CliError> {
    let config = connect::config(options)?;
    match command {
        Partitions::Plan(kept) => {
            let keeper = keeper(&config, kept)?;
            let plan = keeper.plan(&mut connect::connect_for_copy(&config).await?).await?;
            print(options, &plan);
            Ok(if plan.is_clean() { ExitCode::SUCCESS } else { ExitCode::from(FOUND) })
        }
        Partitions::Status(kept) => {
            let keeper = keeper(&config, kept)?;
            let plan = keeper.status(&mut connect::connect_for_copy(&config).await?).await?;
            print(options, &plan);
            let is_well = plan.sets.iter().all(|set| set.problem.is_none() && set.health.is_well());
            Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::from(FOUND) })
        }
        Partitions::Apply(kept) => {
            let keeper = keeper(&config, kept)?;
            let report = keeper.apply(&mut connect::connect_for_copy(&config).await?).await?;
            say::result(options.json, &text(&report), &json!(report));
            Ok(status(&report))
        }
        Partitions::Convert(command) => convert(command, &config, options).await,
    }
}

/// What is kept, as the settings or the command line say.
pub(crate) fn keeper(config: &Config, kept: Kept) -> Result<Keeper, CliError> {
    let settings = PartitionSettings {
        policy: kept.policy.or_else(|| config.partitions.policy.clone()),
        archive_dir: kept.archive_dir.or_else(|| config.partitions.archive_dir.clone()),
        ..config.partitions.clone()
    };
    db_platform::partitions_of(&settings)?.ok_or(CliError::NoPolicy)
}

fn print(options: &Options, plan: &Plan) {
    say::result(options.json, &plan.to_string(), &json!(plan));
}

fn text(report: &Report) -> String {
    let mut lines = Vec::new();
    for set in &report.sets {
        lines.push(format!("{}: {}", set.table, set.health));
        lines.extend(set.done.iter().map(|done| format!("  done: {done}")));
        lines.extend(set.failed.iter().map(|failed| format!("  failed: {}: {}", failed.what, failed.why)));
        lines.extend(set.notes.iter().map(|note| format!("  note: {note}")));
    }
    if lines.is_empty() { report.summary() } else { lines.join("\n") }
}

fn status(report: &Report) -> ExitCode {
    let has_failed = report.sets.iter().any(|set| !set.failed.is_empty());
    match () {
        () if has_failed => ExitCode::FAILURE,
        () if !report.is_led && !report.is_standby => ExitCode::from(LED_BY_ANOTHER),
        () if !report.is_well() => ExitCode::from(FOUND),
        () => ExitCode::SUCCESS,
    }
}

async fn convert(command: Convert, config: &Config, options: &Options) -> Result<ExitCode, CliError> {
    let mut conversion =
        Conversion::new(command.table, command.by, command.every).trusted_owners(command.trust);
    if let Some(epoch) = command.epoch {
        conversion = conversion.epoch(epoch.into());
    }
    let mut client = connect::connect_for_copy(config).await?;
    if command.abort {
        conversion.abort(&mut client).await?;
        say::result(options.json, "what was prepared is undone", &json!({ "aborted": true }));
        return Ok(ExitCode::SUCCESS);
    }
    if command.plan {
        let plan = conversion.plan(&mut client).await?;
        say::result(options.json, &plan.to_string(), &json!(plan));
        return Ok(if plan.refusals.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(FOUND) });
    }
    let converted = conversion.apply(&mut client).await?;
    let text = format!(
        "{} is partitioned; its rows are in {}; it was locked exclusively for {:?} at most",
        converted.table, converted.partition, converted.exclusive
    );
    say::result(options.json, &text, &json!(converted));
    Ok(ExitCode::SUCCESS)
}
