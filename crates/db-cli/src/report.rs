//! `dbctl report`.

use std::process::ExitCode;

use db_platform::InsightPages;
use db_platform::insight::Insights;
use db_platform::monitoring::report::Report as ServerReport;
use db_platform::monitoring::server::Snapshot;

use crate::args::Options;
use crate::error::CliError;
use crate::observe_args::{Format, Report};
use crate::watch;

pub(crate) async fn run(command: Report, options: &Options) -> Result<ExitCode, CliError> {
    let collector = watch::collector(options, command.all_databases, None)?;
    let previous = match &command.compare {
        Some(file) => {
            let bytes = std::fs::read(file).map_err(CliError::file(file))?;
            let json = serde_json::from_slice(&bytes)
                .map_err(|source| CliError::EarlierReport { path: file.clone(), source })?;
            Some(json)
        }
        None => None,
    };
    let snapshot = collector.collect_once().await;
    answered(&snapshot)?;
    let open = watch::open(options)?;
    let report = ServerReport::of_visit(&snapshot, &watch::visit(&open).await?, None);
    let insights = Insights::default();
    watch::look(&insights, &open, true).await;
    let report = InsightPages::of(&insights).panels().into_iter().fold(report, ServerReport::section);
    let report = match previous {
        Some(previous) => report.compared_with(&previous),
        None => report,
    };
    let format = if options.json { Format::Json } else { command.format };
    let text = match format {
        Format::Text => report.to_text(),
        Format::Html => report.to_html(),
        Format::Json => report.to_json().to_string() + "\n",
    };
    match &command.out {
        Some(file) => std::fs::write(file, text).map_err(CliError::file(file))?,
        None => print!("{text}"),
    }
    Ok(ExitCode::SUCCESS)
}

/// Fails where the server could not be asked at all: a report of nothing would look like peace.
pub(crate) fn answered(snapshot: &Snapshot) -> Result<(), CliError> {
    match snapshot.server.get() {
        Ok(_) => Ok(()),
        Err(skipped) => Err(CliError::NotAnswered(skipped.detail.clone())),
    }
}
