//! `dbctl advise`: which indexes would help a workload, and which help nobody.

use std::process::ExitCode;

use db_platform::insight::indexes::{Advice, AdviceConfig, Prove, advise, read_workload};

use crate::advise_args::{Advise, How, Indexes};
use crate::args::Options;
use crate::error::CliError;
use crate::{connect, input, say};

pub(crate) async fn run(command: Advise, options: &Options) -> Result<ExitCode, CliError> {
    let Advise::Indexes(command) = command;
    indexes(command, options).await
}

async fn indexes(command: Indexes, options: &Options) -> Result<ExitCode, CliError> {
    let path = &command.workload;
    let text = input::text(path)?;
    let workload =
        read_workload(&text).map_err(|source| CliError::Workload { path: path.clone(), source })?;
    let (mut conn, ..) = connect::connect(&connect::config(options)?).await?;
    let config = AdviceConfig {
        least_gain: command.least_gain,
        build_within: command.build_within,
        prove: match command.prove {
            How::Auto => Prove::Auto,
            How::Model => Prove::Model,
            How::Build => Prove::Build,
        },
        ..AdviceConfig::default()
    };
    let advice = advise(&mut conn, &workload, &config).await?;
    // Names, texts and numbers cannot fail to become JSON.
    say::result(options.json, &shown(&advice), &serde_json::to_value(&advice).unwrap_or_default());
    Ok(ExitCode::SUCCESS)
}

fn shown(advice: &Advice) -> String {
    let mut lines = Vec::new();
    for one in &advice.suggestions {
        let gain = one.gain * 100.0;
        let case = one.case.as_str().map_or_else(|| one.case.to_string(), str::to_owned);
        lines.push(format!("{case}: {gain:.0} % less, {:.0} % sure ({})", one.confidence * 100.0, one.proof));
        lines.extend(one.requires.iter().map(|needed| format!("    {needed};")));
        lines.push(format!("    {};", one.create.replace('\n', "\n    ")));
        lines.extend(one.notes.iter().map(|note| format!("    note: {note}")));
    }
    for drop in &advice.drops {
        lines.push(format!("drop {} ({}): {}\n    {};", drop.index, drop.kind, drop.why, drop.sql));
    }
    for note in &advice.notes {
        let case = if note.case.is_null() { String::new() } else { format!("{}: ", note.case) };
        lines.push(format!("note: {case}{}", note.message));
    }
    if advice.suggestions.is_empty() && advice.drops.is_empty() {
        lines.push("no index would help enough, and none can go".to_owned());
    }
    lines.join("\n")
}
