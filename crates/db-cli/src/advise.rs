//! `dbctl advise`: which indexes would help a workload, and which help nobody.

use std::path::Path;
use std::process::ExitCode;

use db_platform::insight::indexes::{
    Advice, AdviceConfig, Prove, Query, advise, read_workload, statements_of_server,
};

use crate::advise_args::{Advise, How, Indexes};
use crate::args::Options;
use crate::error::CliError;
use crate::{apply_advice, connect, input, say};

pub(crate) async fn run(command: Advise, options: &Options) -> Result<ExitCode, CliError> {
    match command {
        Advise::Indexes(command) => indexes(command, options).await,
        Advise::Apply(command) => apply_advice::run(command, options).await,
        Advise::Compare(command) => apply_advice::compare(command, options).await,
    }
}

async fn indexes(command: Indexes, options: &Options) -> Result<ExitCode, CliError> {
    let given = command.workload.as_deref().map(workload).transpose()?;
    let (mut conn, ..) = connect::connect(&connect::config(options)?).await?;
    let config = AdviceConfig {
        least_gain: command.least_gain,
        build_within: command.build_within,
        sample: command.sample,
        prove: match command.prove {
            How::Auto => Prove::Auto,
            How::Model => Prove::Model,
            How::Build => Prove::Build,
        },
        ..AdviceConfig::default()
    };
    let workload = match given {
        Some(given) => given,
        None => statements_of_server(&mut conn, command.most).await?.ok_or(CliError::NoStatements)?,
    };
    let advice = advise(&mut conn, &workload, &config).await?;
    // Names, texts and numbers cannot fail to become JSON.
    say::result(options.json, &shown(&advice), &serde_json::to_value(&advice).unwrap_or_default());
    Ok(ExitCode::SUCCESS)
}

/// The statements of a file.
pub(crate) fn workload(path: &Path) -> Result<Vec<Query>, CliError> {
    let text = input::text(path)?;
    read_workload(&text).map_err(|source| CliError::Workload { path: path.to_owned(), source })
}

fn shown(advice: &Advice) -> String {
    let mut lines = Vec::new();
    for one in &advice.suggestions {
        let gain = one.gain * 100.0;
        let case = one.case.as_str().map_or_else(|| one.case.to_string(), str::to_owned);
        lines.push(format!(
            "{case}: {gain:.0} % less, {:.0} % sure ({}): {}",
            one.confidence * 100.0,
            one.proof,
            one.kind
        ));
        lines.extend(one.requires.iter().map(|needed| format!("    {needed};")));
        lines.push(format!("    {};", one.create.replace('\n', "\n    ")));
        lines.extend(one.notes.iter().map(|note| format!("    note: {note}")));
    }
    for one in &advice.statistics {
        let [expected, found] = one.rows;
        let case = one.case.as_str().map_or_else(|| one.case.to_string(), str::to_owned);
        lines.push(format!(
            "{case}: {expected:.0} rows are expected of {}, and a sample says {found:.0}",
            one.table
        ));
        lines.push(format!("    {};", one.create.replace('\n', "\n    ")));
        lines.extend(one.notes.iter().map(|note| format!("    note: {note}")));
    }
    for drop in &advice.drops {
        lines.push(format!("drop {} ({}): {}\n    {};", drop.index, drop.kind, drop.why, drop.sql));
        lines.extend(drop.notes.iter().map(|note| format!("    note: {note}")));
    }
    for one in &advice.larger_changes {
        let gain = one.gain.map(|gain| format!(", {:.0} % less", gain * 100.0)).unwrap_or_default();
        lines.push(format!("{} for {}{gain}: {}\n    {}", one.kind, one.tables.join(", "), one.why, one.how));
        lines.extend(one.notes.iter().map(|note| format!("    note: {note}")));
    }
    for note in &advice.notes {
        let case = if note.case.is_null() { String::new() } else { format!("{}: ", note.case) };
        lines.push(format!("note: {case}{}", note.message));
    }
    let is_empty =
        advice.suggestions.is_empty() && advice.statistics.is_empty() && advice.larger_changes.is_empty();
    if is_empty && advice.drops.is_empty() {
        lines.push("no index would help enough, and none can go".to_owned());
    }
    lines.join("\n")
}
