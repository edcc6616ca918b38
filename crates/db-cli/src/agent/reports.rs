//! The agent's reports on the server: each hour, day and week, into a directory that it keeps tidy.

use std::path::Path;
use std::sync::Arc;

use db_platform::InsightPages;
use db_platform::insight::Insights;
use db_platform::monitoring::report::{Kept, Period, Report, ReportDirectory};
use db_platform::monitoring::server::{Collector, CollectorConfig};
use db_platform::schedule::{Cron, Job};

use super::ground::Ground;
use super::jobs::job;
use crate::error::CliError;

/// When each is made, in UTC, off the full hour, at which everything else runs.
const TIMES: [(&str, &str, Period); 3] = [
    ("hourly report", "7 * * * *", Period::Hourly),
    ("daily report", "15 6 * * *", Period::Daily),
    ("weekly report", "45 6 * * MON", Period::Weekly),
];

pub(super) fn jobs(ground: &Arc<Ground>, directory: &Path) -> Result<Vec<Job>, CliError> {
    let directory = ReportDirectory::new(directory, Kept::default());
    // One for all: each hourly report looks, and the weekly one tells what got slower.
    let insights = Insights::default();
    TIMES
        .iter()
        .map(|(name, times, period)| {
            let (directory, insights, period) = (directory.clone(), insights.clone(), *period);
            let cron = Cron::parse(times, "UTC")?;
            Ok(job(ground, name, &cron, move |ground, _| {
                report(ground, directory.clone(), insights.clone(), period)
            }))
        })
        .collect()
}

async fn report(
    ground: Arc<Ground>,
    directory: ReportDirectory,
    insights: Insights,
    period: Period,
) -> Result<String, CliError> {
    let config = CollectorConfig { one_leader: false, ..CollectorConfig::default() };
    let snapshot = Collector::new(Arc::clone(&ground.open), config).collect_once().await;
    crate::report::answered(&snapshot)?;
    let report = Report::of_visit(&snapshot, &crate::watch::visit(&ground.open).await?, None);
    let advice = period == Period::Weekly || insights.advice().is_none();
    crate::watch::look(&insights, &ground.open, advice).await;
    let report = InsightPages::of(&insights).panels().into_iter().fold(report, Report::section);
    // Writing waits for the disk.
    let written = tokio::task::spawn_blocking(move || directory.write(report, period)).await;
    let files = match written {
        Ok(Ok(files)) => files,
        Ok(Err(source)) => {
            return Err(CliError::Dashboard(format!("the report cannot be written: {source}")));
        }
        Err(_) => return Err(CliError::Interrupted),
    };
    let named = files.first().map_or(String::new(), |file| file.display().to_string());
    Ok(format!("wrote {named}"))
}
