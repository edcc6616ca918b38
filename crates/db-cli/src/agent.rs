//! `dbctl agent`: jobs at their times, metrics on a port of its own, messages to people, an end in good
//! order.

mod exposition;
mod figures;
mod ground;
mod jobs;
mod page;
mod receiver;
mod reports;
mod tell;
mod warnings;
mod watch;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use db_platform::monitoring::server::{Collector, CollectorConfig, Databases};
use db_platform::schedule::{Observer, Scheduler};
use serde_json::json;

use crate::agent_args::{Agent, Collect};
use crate::args::Options;
use crate::error::CliError;
use crate::table::table;
use crate::{interrupt, notify, say};

/// Messages that wait may take this long at the end.
const LAST_MESSAGES: Duration = Duration::from_secs(20);

pub(crate) async fn run(command: Agent, options: &Options) -> Result<ExitCode, CliError> {
    let ground = Arc::new(ground::Ground::read(options)?);
    let mut jobs = jobs::all(&ground).await?;
    if let Some(directory) = &command.reports {
        jobs.extend(reports::jobs(&ground, directory)?);
    }
    let collects = command.collect != Collect::Off && command.metrics.is_some();
    let receives = ground.receive_slot().is_some();
    if jobs.is_empty() && (command.plan || !collects && !receives) {
        return Err(CliError::NoJobs);
    }
    if command.plan {
        let now = Utc::now();
        let next = |job: &db_platform::schedule::Job| job.cron().next_after(now);
        let rows = jobs.iter().map(|job| {
            let at = next(job).map(|at| at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true));
            vec![job.name().to_owned(), job.cron().to_string(), at.unwrap_or_else(|| "never".to_owned())]
        });
        let rows: Vec<Vec<String>> = rows.collect();
        let values: Vec<_> =
            rows.iter().map(|row| json!({ "job": row[0], "schedule": row[1], "next": row[2] })).collect();
        say::result(
            options.json,
            &table(&["JOB", "SCHEDULE", "NEXT"], &rows, &[]),
            &json!({ "jobs": values }),
        );
        return Ok(ExitCode::SUCCESS);
    }
    let notifier = notify::notifier(options)?;
    let tell = Arc::new(tell::Tell::new(notifier.clone(), &ground));
    let observer: Arc<dyn Observer> = Arc::clone(&tell) as _;
    let mut builder = Scheduler::builder().observer(observer);
    for job in jobs {
        builder = builder.job(job);
    }
    let scheduler = builder.start()?;
    let collector = collector(command.collect, command.metrics.is_some(), &ground);
    let _collects = collector.clone().map(|collector| AbortOnDrop(tokio::spawn(collector.run())));
    let _page = match command.metrics {
        Some(address) => {
            Some(page::serve(address, scheduler.watch(), notifier.clone(), &ground, collector).await?)
        }
        None => None,
    };
    let receiver = ground
        .receive_slot()
        .map(|slot| receiver::Receiver::start(Arc::clone(&ground), Arc::clone(&tell), slot.to_owned()));
    let watch = ground.watch_every().map(|every| watch::start(Arc::clone(&ground), tell, every));
    for name in &command.now {
        scheduler.run_now(name)?;
    }
    tracing::info!(jobs = scheduler.status().len(), "the agent runs");
    interrupt::interrupted().await;
    eprintln!("dbctl: ending; what runs may go on for {:?}", command.grace);
    let stopped = tokio::select! {
        stopped = scheduler.stop(command.grace) => stopped,
        // A second signal is a person who does not want to wait.
        () = interrupt::interrupted() => return Ok(ExitCode::from(crate::INTERRUPTED)),
    };
    if let Some(watch) = watch {
        watch.end().await;
    }
    if let Some(receiver) = receiver {
        receiver.end().await;
    }
    notifier.shutdown(LAST_MESSAGES).await;
    for name in &stopped.cancelled {
        eprintln!("dbctl: the run of {name} was cancelled");
    }
    Ok(ExitCode::SUCCESS)
}

/// What looks into the server for the page; without a page nobody would see it.
fn collector(collect: Collect, is_shown: bool, ground: &ground::Ground) -> Option<Collector> {
    let databases = match collect {
        Collect::Off => return None,
        Collect::Own => Databases::Own,
        Collect::All => Databases::All,
    };
    let config = CollectorConfig { databases, ..CollectorConfig::of(&ground.monitoring) };
    is_shown.then(|| Collector::new(Arc::clone(&ground.open), config))
}

/// Ends a task when it is dropped.
struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
