//! `dbctl maintain`.

use std::process::ExitCode;
use std::time::Duration;

use chrono::Utc;
use db_platform::Config;
use db_platform::maintenance::compact::CompactConfig;
use db_platform::maintenance::routine::{Routine, RoutineReport};
use serde_json::json;

use crate::args::Options;
use crate::error::CliError;
use crate::maintain_args::{Kept, Maintain};
use crate::{FOUND, compact, connect, say};

/// The exit status where somebody else has the lock.
const LED_BY_ANOTHER: u8 = 5;

pub(crate) async fn run(command: Maintain, options: &Options) -> Result<ExitCode, CliError> {
    let config = connect::config(options)?;
    match command {
        Maintain::Compact(command) => compact::run(&command, options).await,
        Maintain::Plan(kept) => {
            let routine = routine(&config, kept, Duration::ZERO).await?;
            let plan = routine.plan(&mut connect::connect_for_copy(&config).await?).await?;
            say::result(options.json, &plan.to_string(), &json!(plan));
            Ok(if plan.tasks.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(FOUND) })
        }
        Maintain::Apply(command) => {
            let left = match command.window {
                None => Some(command.budget),
                Some(window) => window.left(Utc::now().time()).map(|left| left.min(command.budget)),
            };
            let Some(budget) = left else {
                let value = json!({ "is_led": false, "why": "outside the window" });
                say::result(options.json, "outside the window: nothing was done", &value);
                return Ok(ExitCode::SUCCESS);
            };
            let routine = routine(&config, command.kept, budget).await?;
            let probes = connect::connect_for_copy(&config).await?;
            let mut client = connect::connect_for_copy(&config).await?;
            let report = routine.apply(&mut client, Some(&probes)).await?;
            say::result(options.json, &text(&report), &json!(report));
            Ok(match () {
                () if !report.failed.is_empty() => ExitCode::FAILURE,
                () if !report.is_led => ExitCode::from(LED_BY_ANOTHER),
                () if !report.left.is_empty() => ExitCode::from(FOUND),
                () => ExitCode::SUCCESS,
            })
        }
    }
}

/// What is to be done, with what the statistics call bloated.
async fn routine(config: &Config, kept: Kept, budget: Duration) -> Result<Routine, CliError> {
    let (conn, _, host) = connect::connect(config).await?;
    let compact = CompactConfig {
        repack: !kept.move_rows,
        cancel_standby_readers: kept.cancel_standby_readers,
        ..CompactConfig::default()
    };
    let routine = Routine {
        budget,
        trusted_owners: kept.trust,
        retry_failed: kept.retry_failed,
        cancel_standby_readers: kept.cancel_standby_readers,
        compact,
        ..Routine::default()
    };
    db_platform::with_bloat(routine, conn, host).await.map_err(CliError::NotKnown)
}

fn text(report: &RoutineReport) -> String {
    if !report.is_led {
        return "another maintainer is at work".to_owned();
    }
    let lists = [("done", &report.done), ("failed", &report.failed), ("left for the next run", &report.left)];
    let mut lines: Vec<String> = lists
        .iter()
        .flat_map(|(word, tasks)| tasks.iter().map(move |task| format!("{word}: {task}")))
        .collect();
    lines.extend(report.held.iter().map(|held| format!("{} is left alone: {}", held.name, held.why)));
    if lines.is_empty() { "nothing to do".to_owned() } else { lines.join("\n") }
}
