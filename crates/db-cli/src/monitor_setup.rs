//! `dbctl monitor setup`: makes a server ready to be watched, and takes that back.

use std::process::ExitCode;

use db_platform::monitoring::{ServerLog, SetupPlan};

use crate::args::Options;
use crate::error::CliError;
use crate::inspect_args::{Log, Setup};
use crate::{connect, say};

pub(crate) async fn run(command: Setup, options: &Options) -> Result<ExitCode, CliError> {
    let (mut conn, ..) = connect::connect(&connect::config(options)?).await?;
    let plan = if command.step.undo {
        SetupPlan::undoing(&mut conn, &command.role).await?
    } else {
        let log = match command.log {
            None => ServerLog::AsItIs,
            Some(Log::Events) => ServerLog::Events,
            Some(Log::Slow) => ServerLog::Slow,
            Some(Log::Changes) => ServerLog::Changes,
        };
        SetupPlan::with_log(&mut conn, &command.role, log).await?
    };
    if command.step.apply || command.step.undo {
        plan.apply(&mut conn).await?;
    }
    let does = if command.step.plan { "would" } else { "done " };
    let mut lines = Vec::new();
    for step in plan.steps.iter().chain(&plan.settings) {
        lines.push(format!("{does}    {}\n         {}", step.does, step.sql));
    }
    lines.extend(plan.already.iter().map(|fact| format!("already  {fact}")));
    for step in &plan.to_decide {
        lines.push(format!("decide   {}", step.does));
        if !step.sql.is_empty() {
            lines.push(format!("         {}", step.sql));
        }
    }
    // Strings, which cannot fail to become JSON.
    say::result(options.json, &lines.join("\n"), &serde_json::to_value(&plan).unwrap_or_default());
    Ok(ExitCode::SUCCESS)
}
