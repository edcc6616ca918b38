//! Upkeep of a service's database: partitions and routine tasks, at the times of the settings, and watched in
//! between.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use db_core::{Connect as _, Error, Part, PartCheck, Running};
use db_maintenance::partitions::{CommandArchive, DirectoryArchive, Partitions, Policy, Report, checks};
use db_maintenance::routine::{Routine, RoutineReport};
use db_maintenance::{MaintenanceError, PartitionSettings, UpkeepSettings};
use db_pool::{ConnectConfig, Connector};
use db_schedule::{BoxError, Job, Scheduler};
use tokio_postgres::Client;

use crate::config::Config;
use crate::routine_upkeep::with_bloat;
use crate::servers::primary_of;

/// A run that hangs is cancelled after so long; the next one ends what it began.
const LONGEST_RUN: Duration = Duration::from_secs(3_600);

/// So long behind its budget routine upkeep is done with what it had begun.
const LONGEST_END: Duration = Duration::from_secs(600);

/// How long a run may go on when the service ends.
const GRACE: Duration = Duration::from_secs(10);

/// The partitions that these settings name; none where they name no policy.
///
/// ```
/// let settings = db_platform::maintenance::PartitionSettings::default();
/// assert!(db_platform::partitions_of(&settings).unwrap().is_none());
/// ```
///
/// # Errors
/// Where the policy cannot be read, or contradicts itself.
pub fn partitions_of(settings: &PartitionSettings) -> Result<Option<Partitions>, MaintenanceError> {
    let Some(path) = &settings.policy else { return Ok(None) };
    let partitions = Partitions::new(Policy::read(path)?)?;
    Ok(Some(match (&settings.archive_dir, &settings.archive_commands) {
        (Some(directory), _) => partitions.archive(Arc::new(DirectoryArchive::new(directory))),
        (None, Some((store, read))) => partitions.archive(Arc::new(CommandArchive::new(store, read))),
        (None, None) => partitions,
    }))
}

/// Keeps partitions on connections of its own, past any pooler.
#[derive(Clone, Debug)]
pub(crate) struct Upkeep {
    partitions: Option<Partitions>,
    connector: Connector,
    last: Arc<Mutex<Report>>,
}

impl Upkeep {
    /// # Errors
    /// Where the policy cannot be read.
    pub(crate) fn of(config: &Config) -> Result<Self, Error> {
        let partitions = partitions_of(&config.partitions).map_err(|error| Error::Client(Box::new(error)))?;
        // A statement timeout would end what waits for a transaction of the service.
        let options = ConnectConfig {
            statement_timeout: None,
            idle_in_transaction_timeout: None,
            application_name: Some("db-maintenance".to_owned()),
            ..config.connect.clone()
        };
        let connector = Connector::new(config.direct_url.clone(), options);
        Ok(Upkeep { partitions, connector, last: Arc::default() })
    }

    /// One run, now.
    pub(crate) async fn run(&self) -> Result<Report, BoxError> {
        let Some(partitions) = &self.partitions else { return Ok(Report::default()) };
        let mut client = self.connect().await?;
        let report = partitions.apply(&mut client).await?;
        let known = match report.is_led {
            true => report.clone(),
            // Another process keeps them; how they are is seen here as well.
            false => partitions.status(&mut client).await?.into(),
        };
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = known;
        Ok(report)
    }

    /// Whether the settings name sets of partitions.
    #[cfg(feature = "dashboard")]
    pub(crate) fn has_policy(&self) -> bool {
        self.partitions.is_some()
    }

    /// How the sets are now; changes nothing.
    #[cfg(feature = "dashboard")]
    pub(crate) async fn look(&self) -> Result<Report, BoxError> {
        let Some(partitions) = &self.partitions else { return Ok(Report::default()) };
        Ok(partitions.status(&mut self.connect().await?).await?.into())
    }

    /// Routine upkeep, now, with what the statistics call bloated beside what the caller says is.
    pub(crate) async fn tidy(&self, routine: &Routine) -> Result<RoutineReport, BoxError> {
        let primary = primary_of(&self.connector).await?;
        let conn = self.connector.connect(&primary).await?;
        let known = with_bloat(routine.clone(), conn, primary.clone()).await;
        let known = known.map_err(|why| format!("what is bloated is not known: {why}"))?;
        let routine = Routine {
            bloated: known.bloated.into_iter().chain(routine.bloated.iter().cloned()).collect(),
            bloated_tables: known
                .bloated_tables
                .into_iter()
                .chain(routine.bloated_tables.iter().cloned())
                .collect(),
            ..known
        };
        let probes = self.connector.client(&primary).await?;
        let mut client = self.connector.client(&primary).await?;
        Ok(routine.apply(&mut client, Some(&probes)).await?)
    }

    async fn connect(&self) -> Result<Client, BoxError> {
        let primary = primary_of(&self.connector).await?;
        Ok(self.connector.client(&primary).await?)
    }

    fn checks(&self) -> Vec<PartCheck> {
        checks(&self.last.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The part that keeps partitions at the times of the settings; none where there is nothing to keep.
    pub(crate) fn part(&self, settings: &PartitionSettings) -> Option<Part> {
        let cron = settings.schedule.clone().filter(|_| self.partitions.is_some())?;
        let upkeep = self.clone();
        Some(Part::named("partitions").starting(move |_| async move {
            let work = upkeep.clone();
            let job = Job::new("partitions", cron, move |run| {
                let work = work.clone();
                async move {
                    tokio::select! {
                        done = work.run() => said(&done?),
                        () = run.cancelled() => Err("it was to end before it was done".into()),
                    }
                }
            });
            let scheduler = Scheduler::builder().job(job.timeout(LONGEST_RUN)).start();
            let scheduler = scheduler.map_err(|error| Error::Client(Box::new(error)))?;
            // The first look is at once: a partition that is missing now is not to wait for the hour.
            scheduler.run_now("partitions").map_err(|error| Error::Client(Box::new(error)))?;
            Ok(Running::new().with_checks(move || upkeep.checks()).with_stop(move || async move {
                scheduler.stop(GRACE).await;
            }))
        }))
    }

    /// The part that does routine upkeep at the times of the settings; none where they name none.
    pub(crate) fn routine_part(&self, settings: &UpkeepSettings) -> Option<Part> {
        let (cron, routine) = (settings.schedule.clone()?, settings.routine());
        // What is at work when the budget ends is cancelled by then.
        let longest = routine.budget.saturating_add(LONGEST_END);
        let upkeep = self.clone();
        Some(Part::named("upkeep").starting(move |_| async move {
            let job = Job::new("upkeep", cron, move |run| {
                let (upkeep, routine) = (upkeep.clone(), routine.clone());
                async move {
                    tokio::select! {
                        done = upkeep.tidy(&routine) => routine_said(&done?),
                        () = run.cancelled() => Err("it was to end before it was done".into()),
                    }
                }
            });
            let scheduler = Scheduler::builder().job(job.timeout(longest)).start();
            let scheduler = scheduler.map_err(|error| Error::Client(Box::new(error)))?;
            Ok(Running::new().with_stop(move || async move {
                scheduler.stop(GRACE).await;
            }))
        }))
    }
}

/// What a run says; one that leaves something to a person has failed.
fn said(report: &Report) -> Result<String, BoxError> {
    if report.is_well() { Ok(report.summary()) } else { Err(report.summary().into()) }
}

/// As [`said`], of routine upkeep.
fn routine_said(report: &RoutineReport) -> Result<String, BoxError> {
    if report.failed.is_empty() { Ok(report.summary()) } else { Err(report.summary().into()) }
}
