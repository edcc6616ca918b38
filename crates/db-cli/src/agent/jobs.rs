//! The agent's jobs: what the schedules of the settings name, each one library call.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use db_platform::backup::rehearse::RehearseConfig;
use db_platform::backup::{BackupId, Cluster, JobLease, Kind, OpenCluster, Progress, VerifyOptions};
use db_platform::schedule::{BoxError, Cron, Job, Run};

use super::ground::Ground;
use crate::backup::{checking, rehearsal, removing, taking};
use crate::backup_args::Take;
use crate::connect;
use crate::error::CliError;
use crate::hooks::Hooked;

/// So long behind its budget routine upkeep is done with what it had begun.
const UPKEEP_END: Duration = Duration::from_secs(600);

/// The names of the jobs that take backups.
const FULL: &str = "backup";
const INCREMENTAL: &str = "incremental";

/// All jobs, in the order in which a status shows them.
pub(super) async fn all(ground: &Arc<Ground>) -> Result<Vec<Job>, CliError> {
    let schedules = &ground.schedules;
    let last = match schedules.full {
        None => None,
        Some(_) => match ground.cluster().await {
            Ok((_, cluster)) => last_success(&cluster).await,
            Err(error) => {
                tracing::warn!("whether a backup is overdue is not known yet: {error}");
                None
            }
        },
    };
    let mut jobs = Vec::new();
    if let Some(cron) = &schedules.full {
        let mut job = job(ground, FULL, cron, |ground, _| take(ground, false)).last_success(last);
        if let Some(age) = schedules.max_age {
            job = job.expect_within(age);
        }
        jobs.push(leased(ground, job, Some(Kind::Full)));
    }
    if let Some(cron) = &schedules.incremental {
        let job = job(ground, INCREMENTAL, cron, |ground, _| take(ground, true));
        jobs.push(leased(ground, job, Some(Kind::Incremental)));
    }
    if let Some(cron) = &schedules.verify {
        jobs.push(leased(ground, job(ground, "verify", cron, |ground, _| verify(ground)), None));
    }
    if let Some(cron) = &schedules.rehearse {
        jobs.push(leased(ground, job(ground, "rehearse", cron, |ground, _| rehearse_newest(ground)), None));
    }
    if let Some(cron) = &schedules.expire {
        jobs.push(leased(ground, job(ground, "expire", cron, |ground, _| expire(ground)), None));
    }
    if let Some(cron) = &ground.config.partitions.schedule {
        jobs.push(job(ground, "partitions", cron, |ground, _| partitions(ground)));
    }
    if let Some(cron) = &ground.config.upkeep.schedule {
        // A run ends by its own budget.
        let longest = ground.config.upkeep.budget.saturating_add(UPKEEP_END);
        jobs.push(job(ground, "upkeep", cron, |ground, _| upkeep(ground)).timeout(longest));
    }
    Ok(jobs)
}

pub(super) fn job<F>(
    ground: &Arc<Ground>,
    name: &str,
    cron: &Cron,
    work: impl Fn(Arc<Ground>, Run) -> F + Send + Sync + 'static,
) -> Job
where
    F: Future<Output = Result<String, CliError>> + Send + 'static,
{
    let (shared, schedules) = (Arc::clone(ground), &ground.schedules);
    Job::new(name, cron.clone(), move |run: Run| {
        let cancelled = run.clone();
        let work = work(Arc::clone(&shared), run);
        async move {
            // Dropping the library's future publishes nothing, and what it left behind is collected by the
            // next expiry.
            tokio::select! {
                done = work => done.map_err(|error| Box::new(error) as BoxError),
                () = cancelled.cancelled() => Err("it was to end before it was done".into()),
            }
        }
    })
    .jitter(schedules.jitter)
    .timeout(schedules.timeout)
}

/// One host at a time, by a lock in the repository. A host that may only add cannot see a lock: give one of
/// them the schedule.
fn leased(ground: &Arc<Ground>, job: Job, kind: Option<Kind>) -> Job {
    if ground.settings.keys.keys.is_none() {
        return job;
    }
    let shared = Arc::clone(ground);
    let open: OpenCluster = Arc::new(move || {
        let ground = Arc::clone(&shared);
        Box::pin(async move {
            let (_, cluster) = ground.cluster().await.map_err(|error| Box::new(error) as BoxError)?;
            Ok(cluster)
        })
    });
    let lease = JobLease::new(open, ground.holder());
    job.lease(Arc::new(match kind {
        Some(kind) => lease.taking(kind),
        None => lease,
    }))
}

/// One maintainer at a time, by a lock of the database: the upkeep itself takes it.
async fn partitions(ground: Arc<Ground>) -> Result<String, CliError> {
    let Some(keeper) = db_platform::partitions_of(&ground.config.partitions)? else {
        return Err(CliError::NoPolicy);
    };
    let report = keeper.apply(&mut connect::connect_for_copy(&ground.config).await?).await?;
    let is_well = report.is_well();
    if is_well { Ok(report.summary()) } else { Err(CliError::Upkeep(report.summary())) }
}

/// As [`partitions`], of everything else.
async fn upkeep(ground: Arc<Ground>) -> Result<String, CliError> {
    let config = &ground.config;
    let (conn, _, host) = connect::connect(config).await?;
    let routine = db_platform::with_bloat(config.upkeep.routine(), conn, host).await;
    let routine = routine.map_err(CliError::NotKnown)?;
    let probes = connect::connect_for_copy(config).await?;
    let mut client = connect::connect_for_copy(config).await?;
    let report = routine.apply(&mut client, Some(&probes)).await?;
    if report.failed.is_empty() { Ok(report.summary()) } else { Err(CliError::Upkeep(report.summary())) }
}

async fn verify(ground: Arc<Ground>) -> Result<String, CliError> {
    let (_, cluster) = ground.cluster().await?;
    let wanted = VerifyOptions { scope: ground.schedules.verify_scope, ..VerifyOptions::default() };
    let verdict = checking::once(&cluster, wanted).await?;
    let said = checking::sentence(&verdict);
    if verdict.holds() { Ok(said) } else { Err(CliError::Damaged(said)) }
}

async fn expire(ground: Arc<Ground>) -> Result<String, CliError> {
    let (_, cluster) = ground.cluster().await?;
    let expiry = cluster.expiry(&ground.settings.retention).await?;
    let Hooked { value: expired, after } = removing::once(&cluster, &expiry, &ground.settings).await?;
    match &expiry.plan.held_back {
        None => after.map(|()| removing::sentence(&expired)),
        Some(why) => Err(CliError::Damaged(format!("nothing was removed: {why}"))),
    }
}

async fn take(ground: Arc<Ground>, incremental: bool) -> Result<String, CliError> {
    let repository = ground.settings.open_to_add().await?;
    let command = Take { incremental, workers: 2, ..Take::default() };
    let done = taking::once(&command, &ground.url, &ground.settings, &repository, &quiet).await?;
    let Hooked { value: taken, after } = done;
    ground.figures.taken(&taken.summary);
    ground.warnings.note(if incremental { INCREMENTAL } else { FULL }, &taken.lost);
    let said = taking::sentence(&taken);
    // A damaged page is no success, though the backup is kept.
    if taken.summary.bad_pages.is_empty() { after.map(|()| said) } else { Err(CliError::Damaged(said)) }
}

/// The newest physical backup with its log, and the newest dump, as far as there are any. Both are tried
/// whatever comes of the first.
async fn rehearse_newest(ground: Arc<Ground>) -> Result<String, CliError> {
    let (_, cluster) = ground.cluster().await?;
    let whole = cluster.backups().await?.whole;
    let dump =
        whole.iter().rev().find(|summary| summary.kind == Kind::Logical).map(|summary| summary.id.clone());
    let has_physical = whole.iter().any(|summary| summary.kind.is_physical());
    // Without any backup the rehearsal of the newest physical one says so.
    let physical = (has_physical || dump.is_none()).then_some(None);
    let (mut said, mut wrong) = (Vec::new(), None);
    for backup in physical.into_iter().chain(dump.map(Some)) {
        match rehearse_one(&ground, &cluster, backup).await {
            Ok(sentence) => said.push(sentence),
            Err(error) => {
                said.push(error.to_string());
                wrong.get_or_insert(error);
            }
        }
    }
    match wrong {
        None => Ok(said.join("; ")),
        Some(error) if said.len() == 1 => Err(error),
        Some(_) => Err(CliError::Damaged(said.join("; "))),
    }
}

/// This backup, or the newest physical one.
async fn rehearse_one(
    ground: &Ground,
    cluster: &Cluster,
    backup: Option<BackupId>,
) -> Result<String, CliError> {
    let is_physical = backup.is_none();
    let config = RehearseConfig {
        backup,
        restore_command: ground.restore_command.clone(),
        ..RehearseConfig::below(scratch())
    };
    let Hooked { value: verdict, after } =
        rehearsal::once(cluster, &config, &ground.settings, &quiet).await?;
    // RTO and RPO are those of the cluster.
    if is_physical {
        ground.figures.rehearsed(&verdict);
    }
    let said = rehearsal::sentence(&verdict);
    if verdict.holds() { after.map(|()| said) } else { Err(CliError::Damaged(said)) }
}

/// Where throw-away servers are made.
pub(crate) fn scratch() -> PathBuf {
    std::env::temp_dir()
}

/// Progress goes to the log: nobody watches an agent.
fn quiet(progress: Progress) {
    match progress {
        Progress::Stage(stage) => tracing::debug!("{stage}"),
        Progress::Warning(text) => tracing::warn!("{text}"),
        _ => {}
    }
}

/// When the newest full backup was done.
async fn last_success(cluster: &Cluster) -> Option<DateTime<Utc>> {
    let backups = cluster.backups().await.ok()?;
    backups.whole.iter().rev().find(|summary| summary.kind == Kind::Full).map(|summary| summary.ended)
}
