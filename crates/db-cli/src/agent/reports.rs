//! The agent's reports on the server: each hour, day and week, into a directory that it keeps tidy.

use std::path::Path;
use std::sync::Arc;

use db_platform::monitoring::report::{Kept, Period, Report, ReportDirectory};
use db_platform::monitoring::server::{Collector, CollectorConfig};
use db_platform::schedule::{Cron, Job};

use super::jobs::{Ground, job};
use crate::error::CliError;

/// When each is made, in UTC, off the full hour, at which everything else runs.
const TIMES: [(&str, &str, Period); 3] = [
    ("hourly report", "7 * * * *", Period::Hourly),
    ("daily report", "15 6 * * *", Period::Daily),
    ("weekly report", "45 6 * * MON", Period::Weekly),
];

pub(super) fn jobs(ground: &Arc<Ground>, directory: &Path) -> Result<Vec<Job>, CliError> {
    let directory = ReportDirectory::new(directory, Kept::default());
    TIMES
        .iter()
        .map(|(name, times, period)| {
            let (directory, period) = (directory.clone(), *period);
            let cron = Cron::parse(times, "UTC")?;
            Ok(job(ground, name, &cron, move |ground, _| report(ground, directory.clone(), period)))
        })
        .collect()
}

async fn report(ground: Arc<Ground>, directory: ReportDirectory, period: Period) -> Result<String, CliError> {
    let config = CollectorConfig { one_leader: false, ..CollectorConfig::default() };
    let snapshot = Collector::new(Arc::clone(&ground.open), config).collect_once().await;
    crate::report::answered(&snapshot)?;
    let report = Report::of_visit(&snapshot, &crate::watch::visit(&ground.open).await?, None);
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
