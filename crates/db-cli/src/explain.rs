//! `dbctl explain`: a plan as a tree, with what is wrong at its nodes.

use std::path::Path;
use std::process::ExitCode;

use db_platform::insight::{
    Catalog, ExplainConfig, Plan, Severity, Tip, explain_with_tips, read_catalog, tips_with,
};
use serde_json::json;

use crate::args::Options;
use crate::error::CliError;
use crate::explain_args::Explain;
use crate::{FOUND, connect, input, say};

pub(crate) async fn run(command: &Explain, options: &Options) -> Result<ExitCode, CliError> {
    let (plan, tips) = match &command.sql {
        Some(sql) => on_database(sql, command, options).await?,
        None => stored(command, options).await?,
    };
    let mut shown = text(&plan, &tips);
    if !plan.is_analyzed() {
        shown += NOT_MEASURED;
    }
    say::result(options.json, shown.trim_end(), &json!({ "tips": tips, "measured": plan.is_analyzed() }));
    let is_found = tips.iter().any(|tip| tip.severity > Severity::Info);
    Ok(if is_found && command.exit_code { ExitCode::from(FOUND) } else { ExitCode::SUCCESS })
}

/// What a plan that did not run cannot say.
const NOT_MEASURED: &str = "nothing was run: these are estimates. --analyze runs the statement, in a read-only \
    transaction, and adds what was wrong in them: times, rows that were dropped, sorts and hashes on disk, wrong \
    estimates, workers, and reads\n";

/// A stored plan, judged alone or with the catalogue.
async fn stored(command: &Explain, options: &Options) -> Result<(Plan, Vec<Tip>), CliError> {
    let path = command.plan.as_deref().unwrap_or(Path::new("-"));
    let read = Plan::from_bytes(&input::bytes(path)?);
    let plan = read.map_err(|source| CliError::Plan { path: path.to_owned(), source })?;
    let catalog = if command.stats {
        let (mut conn, ..) = connect::connect(&connect::config(options)?).await?;
        read_catalog(&mut conn, &plan).await?
    } else {
        Catalog::default()
    };
    let tips = tips_with(&plan, &catalog);
    Ok((plan, tips))
}

/// The plan of a statement on the database.
async fn on_database(
    file: &Path,
    command: &Explain,
    options: &Options,
) -> Result<(Plan, Vec<Tip>), CliError> {
    let sql = String::from_utf8_lossy(&input::bytes(file)?).into_owned();
    let config = ExplainConfig {
        analyze: command.analyze,
        writes_too: command.writes_too,
        parameters: command.param.clone(),
    };
    let (mut conn, ..) = connect::connect(&connect::config(options)?).await?;
    Ok(explain_with_tips(&mut conn, &sql, &config).await?)
}

/// The plan as a tree with the tips at their nodes, and how long it took.
fn text(plan: &Plan, tips: &[Tip]) -> String {
    let mut text = plan.tree_with_tips(tips);
    if let (Some(planning), Some(execution)) = (plan.planning_ms, plan.execution_ms) {
        text += &format!("planning {planning:.1} ms, execution {execution:.1} ms\n");
    }
    if tips.is_empty() {
        text += "nothing found\n";
    }
    text
}
