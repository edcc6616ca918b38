//! `dbctl explain`: a plan as a tree, with what is wrong at its nodes.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;
use std::process::ExitCode;

use db_platform::insight::{Plan, Severity, Tip, tips};
use serde_json::json;

use crate::args::Options;
use crate::error::CliError;
use crate::explain_args::Explain;
use crate::{FOUND, say};

pub(crate) async fn run(command: &Explain, options: &Options) -> Result<ExitCode, CliError> {
    let path = command.plan.as_deref().unwrap_or(Path::new("-"));
    let plan =
        Plan::from_bytes(&read(path)?).map_err(|source| CliError::Plan { path: path.to_owned(), source })?;
    let tips = tips(&plan);
    say::result(options.json, text(&plan, &tips).trim_end(), &json!({ "tips": tips }));
    let is_found = tips.iter().any(|tip| tip.severity > Severity::Info);
    Ok(if is_found && command.exit_code { ExitCode::from(FOUND) } else { ExitCode::SUCCESS })
}

/// The file's bytes; those of standard input for `-`.
fn read(path: &Path) -> Result<Vec<u8>, CliError> {
    if path == Path::new("-") {
        let mut bytes = Vec::new();
        std::io::stdin().read_to_end(&mut bytes).map_err(CliError::file(path))?;
        return Ok(bytes);
    }
    std::fs::read(path).map_err(CliError::file(path))
}

/// The plan as a tree with the tips at their nodes, then those that have none.
fn text(plan: &Plan, tips: &[Tip]) -> String {
    let line = |tip: &Tip| format!("{}: {}: {}\nfix: {}", tip.severity, tip.code, tip.evidence, tip.fix);
    let mut notes: BTreeMap<usize, Vec<String>> = BTreeMap::new();
    for tip in tips {
        if let Some(at) = tip.at {
            notes.entry(at).or_default().push(line(tip));
        }
    }
    let mut text = plan.tree(&notes);
    for tip in tips.iter().filter(|tip| tip.at.is_none()) {
        text += &format!("{}\n  >> {}\n", tip.node, line(tip).replace('\n', "\n     "));
    }
    if let (Some(planning), Some(execution)) = (plan.planning_ms, plan.execution_ms) {
        text += &format!("planning {planning:.1} ms, execution {execution:.1} ms\n");
    }
    if tips.is_empty() {
        text += "nothing found\n";
    }
    text
}
