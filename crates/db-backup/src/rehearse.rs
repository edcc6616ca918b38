//! Rehearses a restore: into a throw-away server, to the end of the log, with checks, and with its times
//! measured.
//!
//! A backup that was never restored is a hope. Whatever keeps the rehearsal from its end is a problem in its
//! verdict, and the verdict is recorded in the repository, so that "never rehearsed" and "last one failed"
//! can be told from "fine".

mod checks;
mod dump;
mod home;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::Cluster;
use crate::backup_id::BackupId;
use crate::error::BackupError;
use crate::instance::Instance;
use crate::manifest::{Kind, Summary};
use crate::physical_error::PhysicalError;
use crate::programs::Programs;
use crate::progress::{Observer, Progress};
use crate::restore::{self, Owner, RestoreConfig, Target, TimelineChoice};
use crate::session::Session;
use crate::store::Object;
use home::Home;

pub use checks::{Check, CheckResult, Expect};

/// What is rehearsed.
///
/// ```
/// use db_backup::rehearse::{Check, Expect, RehearseConfig};
///
/// let mut config = RehearseConfig::below("/var/tmp");
/// config.checks.push(Check {
///     name: "there are users".to_owned(),
///     database: "app".to_owned(),
///     sql: "SELECT count(*) FROM users".to_owned(),
///     expect: Expect::AtLeast(1),
/// });
/// ```
#[derive(Debug, Clone)]
pub struct RehearseConfig {
    /// The backup, or a dump; `None` takes the newest physical one from which the target can be reached.
    pub backup: Option<BackupId>,
    /// Up to where the log is replayed.
    pub target: Target,
    /// Which timeline is followed.
    pub timeline: TimelineChoice,
    /// Below which directory the throw-away server lives. It needs the room of the whole cluster.
    pub directory: PathBuf,
    /// What the server runs to get a file of the log, with %f and %p.
    pub restore_command: String,
    /// The directory of PostgreSQL's programs; `None` looks for those of the backup's version.
    pub programs: Option<PathBuf>,
    /// Questions and what their answers must be.
    pub checks: Vec<Check>,
    /// Whether pg_amcheck looks at every table and index.
    pub amcheck: bool,
    /// How long the replay may take.
    pub within: Duration,
    /// How many chunks are fetched at a time.
    pub workers: usize,
}

/// What came of a rehearsal.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Rehearsal {
    /// The backup that was restored; `None` where none could be chosen.
    pub backup: Option<BackupId>,
    /// The target in words.
    pub target: String,
    /// When it began.
    pub began: DateTime<Utc>,
    /// What is wrong; nothing means that the restore works.
    pub problems: Vec<String>,
    /// The checks with their answers.
    pub checks: Vec<CheckResult>,
    /// How long the files took, in seconds.
    pub restore_seconds: Option<f64>,
    /// How long it took from nothing to the first query, in seconds: the RTO.
    pub rto_seconds: Option<f64>,
    /// The newest commit in it.
    pub newest_commit: Option<DateTime<Utc>>,
    /// How much older than the rehearsal's beginning that commit is, in seconds: the RPO where the load never
    /// pauses.
    pub rpo_seconds: Option<f64>,
    /// The position that was reached.
    pub reached: Option<String>,
    /// What a dump could not see or does not hold, so that no rehearsal of it can miss it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unseen: Vec<String>,
    /// Where it ran.
    pub host: String,
}

impl RehearseConfig {
    /// The newest backup to the end of the log, below this directory, with pg_amcheck.
    pub fn below(directory: impl Into<PathBuf>) -> Self {
        RehearseConfig {
            backup: None,
            target: Target::Latest,
            timeline: TimelineChoice::Newest,
            directory: directory.into(),
            restore_command: "dbctl wal fetch %f %p".to_owned(),
            programs: None,
            checks: Vec::new(),
            amcheck: true,
            within: Duration::from_secs(3600),
            workers: 2,
        }
    }
}

impl Rehearsal {
    /// Whether the restore works: no problem, and each check has the answer that it must have.
    pub fn holds(&self) -> bool {
        self.problems.is_empty() && self.checks.iter().all(|check| check.holds)
    }
}

/// Rehearses a restore and records the rehearsal. What earlier rehearsals left that died is removed first.
///
/// # Errors
/// Only where no verdict could be recorded; what is wrong with the backup is a problem in the rehearsal.
pub async fn rehearse(
    cluster: &Cluster,
    config: &RehearseConfig,
    observer: &Observer,
) -> Result<Rehearsal, PhysicalError> {
    let mut rehearsal = Rehearsal {
        backup: None,
        target: config.target.to_string(),
        began: Utc::now(),
        problems: Vec::new(),
        checks: Vec::new(),
        restore_seconds: None,
        rto_seconds: None,
        newest_commit: None,
        rpo_seconds: None,
        reached: None,
        unseen: Vec::new(),
        host: std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned(),
    };
    if let Err(error) = run(cluster, config, observer, &mut rehearsal).await {
        rehearsal.problems.push(error.to_string());
    }
    record(cluster, &rehearsal).await?;
    Ok(rehearsal)
}

/// The verdicts of all rehearsals, the oldest first.
///
/// # Errors
/// Those of the store; a verdict that cannot be read is left out.
pub async fn rehearsals(cluster: &Cluster) -> Result<Vec<Rehearsal>, BackupError> {
    Ok(recorded(cluster).await?.into_iter().filter_map(|(_, rehearsal)| rehearsal).collect())
}

/// The recorded verdicts with their objects, the oldest first; `None` where one cannot be read.
pub(crate) async fn recorded(cluster: &Cluster) -> Result<Vec<(Object, Option<Rehearsal>)>, BackupError> {
    let objects = cluster.store().list(&cluster.path("rehearsals")).await?;
    let paths = objects.iter().map(|object| object.path.clone()).collect();
    let read = cluster.get_all_sealed(paths).await?.into_iter();
    let of = |(_, read): (String, Result<Option<bytes::Bytes>, BackupError>)| {
        serde_json::from_slice(&read.ok().flatten()?).ok()
    };
    Ok(objects.into_iter().zip(read.map(of)).collect())
}

async fn record(cluster: &Cluster, rehearsal: &Rehearsal) -> Result<(), PhysicalError> {
    let name = format!("{}-{:08x}", rehearsal.began.format("%Y%m%dT%H%M%S%3fZ"), rand::random::<u32>());
    let text =
        serde_json::to_vec(rehearsal).map_err(|error| BackupError::io("writing a verdict", error.into()))?;
    cluster.put_sealed(&cluster.path(&format!("rehearsals/{name}")), &text).await?;
    Ok(())
}

async fn run(
    cluster: &Cluster,
    config: &RehearseConfig,
    observer: &Observer,
    rehearsal: &mut Rehearsal,
) -> Result<(), PhysicalError> {
    if let Some(id) = &config.backup {
        let manifest = cluster.manifest(id).await?;
        if manifest.summary.kind == Kind::Logical {
            rehearsal.backup = Some(id.clone());
            return dump::run(cluster, config, &manifest, observer, rehearsal).await;
        }
    }
    let began = Instant::now();
    let home = Home::below(&config.directory)?;
    let mut restore = RestoreConfig {
        backup: config.backup.clone(),
        target: config.target.clone(),
        timeline: config.timeline,
        restore_command: config.restore_command.clone(),
        programs: config.programs.clone(),
        workers: config.workers,
        ..RestoreConfig::to(home.data())
    };
    let summary = summary(cluster, &mut restore, &home, observer).await?;
    rehearsal.backup = Some(summary.id.clone());
    let plan = restore::plan(cluster, &restore).await?;
    restore::apply(cluster, &restore, &plan, observer).await?;
    rehearsal.restore_seconds = Some(began.elapsed().as_secs_f64());
    observer(Progress::Stage("replaying the log"));
    let programs = Programs::find(summary.server.version / 10_000, config.programs.as_deref())?;
    let superuser = summary.notes.get("superuser").and_then(serde_json::Value::as_str).unwrap_or("postgres");
    let owner = Owner::of(&home.data())?;
    let mut server = Instance::start(&programs, &home.data(), &home.server()?, superuser, owner)?;
    server.ready(config.within).await?;
    let database = summary.databases.first().map_or("template1", String::as_str);
    let mut session = server.session(database).await?;
    session.value("SELECT 1").await?;
    rehearsal.rto_seconds = Some(began.elapsed().as_secs_f64());
    reached(&mut session, rehearsal).await?;
    observer(Progress::Stage("checking"));
    let questions = config.checks.iter();
    for check in questions {
        rehearsal.checks.push(checks::ask(&server, check).await);
    }
    if config.amcheck {
        rehearsal.problems.extend(checks::amcheck(&server).await);
    }
    session.close().await;
    let refused = server.log_lines("invalid page");
    rehearsal.problems.extend(refused.into_iter().take(3));
    Ok(())
}

/// The backup that will be restored, with its tablespaces mapped into the throw-away directory.
async fn summary(
    cluster: &Cluster,
    restore: &mut RestoreConfig,
    home: &Home,
    observer: &Observer,
) -> Result<Summary, PhysicalError> {
    observer(Progress::Stage("choosing a backup"));
    let summary = restore::chosen(cluster, restore).await?;
    restore.backup = Some(summary.id.clone());
    restore.tablespaces =
        summary.tablespaces.iter().map(|place| (place.oid, home.tablespace(place.oid))).collect();
    Ok(summary)
}

async fn reached(session: &mut Session, rehearsal: &mut Rehearsal) -> Result<(), PhysicalError> {
    let sql = "SELECT to_char(pg_last_xact_replay_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'), \
               pg_last_wal_replay_lsn()::text";
    let rows = session.rows(sql).await?;
    let field = |at: usize| rows.first().and_then(|row| row.get(at).cloned().flatten());
    rehearsal.newest_commit = field(0).and_then(|text| text.parse().ok());
    rehearsal.reached = field(1);
    let age = rehearsal.newest_commit.map(|commit| rehearsal.began.signed_duration_since(commit));
    rehearsal.rpo_seconds = age.map(|age| age.as_seconds_f64().max(0.0));
    Ok(())
}
