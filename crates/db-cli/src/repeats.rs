//! `dbctl repeats`: which requests of a trace repeat statements.

use std::process::ExitCode;

use db_platform::insight::repeats::{Finding, Label, read_traces};
use serde_json::{Value, json};

use crate::args::{Options, Repeats};
use crate::error::CliError;
use crate::{FOUND, input, say};

pub(crate) fn run(command: &Repeats, options: &Options) -> Result<ExitCode, CliError> {
    let text = input::text(&command.trace)?;
    let traces =
        read_traces(&text).map_err(|source| CliError::Trace { path: command.trace.clone(), source })?;
    let mut values = Vec::with_capacity(traces.len());
    let mut lines = Vec::new();
    let mut found = false;
    for trace in traces {
        let verdict = trace.verdict();
        found |= verdict.label != Label::Ok;
        let id = trace.id.as_str().map_or_else(|| trace.id.to_string(), str::to_owned);
        lines.push(format!("{id}: {}", verdict.label.as_str()));
        lines.extend(verdict.findings.iter().map(line));
        let findings: Vec<Value> = verdict.findings.iter().map(value).collect();
        values.push(json!({ "id": trace.id, "label": verdict.label.as_str(), "findings": findings }));
    }
    say::result(options.json, &lines.join("\n"), &Value::Array(values));
    Ok(if found && command.exit_code { ExitCode::from(FOUND) } else { ExitCode::SUCCESS })
}

fn line(found: &Finding) -> String {
    let Finding { label, count, distinct, statement, instead, .. } = found;
    let site = found.callsite.as_deref().map(|site| format!(" at {site}")).unwrap_or_default();
    let label = label.as_str();
    format!("    {label}: {count} times, {distinct} different{site}: {statement}\n        {instead}")
}

fn value(found: &Finding) -> Value {
    json!({
        "label": found.label.as_str(),
        "statement": found.statement,
        "fingerprint": found.fingerprint.to_string(),
        "count": found.count,
        "distinct": found.distinct,
        "callsite": found.callsite,
        "scope": found.scope,
        "instead": found.instead,
    })
}
