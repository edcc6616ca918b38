//! One host at a time for jobs on a repository: the lease of a lock in it, because the database may be gone.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use db_schedule::{BoxError, BoxFuture, Claim, Hold};

use crate::cluster::Cluster;
use crate::error::BackupError;
use crate::lease::Lease;
use crate::manifest::Kind;

/// Opens the repository anew for each run: credentials expire.
pub type OpenCluster = Arc<dyn Fn() -> BoxFuture<'static, Result<Cluster, BoxError>> + Send + Sync>;

/// A host that dies keeps the others waiting for so long.
const LASTS: Duration = Duration::from_secs(60);
/// A host whose clock is late by less comes while the lock is still taken.
const AT_LEAST: Duration = Duration::from_secs(30);
/// A backup that began so long before a due time, by another host's clock, was taken for it.
const EARLY: TimeDelta = TimeDelta::seconds(30);

/// Lets one of many hosts run a job on a repository.
///
/// A backup job also asks whether the backup of a due time was taken already, so that two agents take one
/// backup, however late the second one comes.
///
/// ```
/// use std::sync::Arc;
/// use db_backup::{JobLease, OpenCluster};
/// use db_schedule::Job;
///
/// fn alone(job: Job, open: OpenCluster) -> Job {
///     job.lease(Arc::new(JobLease::new(open, "db1 pid 4711")))
/// }
/// ```
pub struct JobLease {
    open: OpenCluster,
    holder: String,
    kind: Option<Kind>,
}

struct Held {
    lease: Option<Lease>,
    taken: Instant,
}

impl JobLease {
    /// A lease in this repository; `holder` is what other hosts are told.
    pub fn new(open: OpenCluster, holder: impl Into<String>) -> Self {
        JobLease { open, holder: holder.into(), kind: None }
    }

    /// The same for a job that takes backups of this kind: one that is there is not taken again.
    #[must_use]
    pub fn taking(mut self, kind: Kind) -> Self {
        self.kind = Some(kind);
        self
    }

    async fn try_take(&self, job: &str, due: DateTime<Utc>) -> Result<Claim, BoxError> {
        let cluster = (self.open)().await?;
        if let Some(why) = self.taken(&cluster, due).await? {
            return Ok(Claim::Done { why });
        }
        let lease = match cluster.lock(job, &self.holder, LASTS).await {
            Ok(lease) => lease,
            Err(BackupError::Locked { holder, until, .. }) => {
                let until = until.to_rfc3339_opts(SecondsFormat::Secs, true);
                let why = format!(
                    "{holder} holds the lock {job} of the repository, renewed until {until} or later"
                );
                return Ok(Claim::Busy { why });
            }
            Err(BackupError::LeaseLost(_)) => {
                return Ok(Claim::Busy { why: format!("another host was faster to take the lock {job}") });
            }
            Err(error) => return Err(error.into()),
        };
        // It may have been taken between the look and the lock.
        if let Some(why) = self.taken(&cluster, due).await? {
            lease.release().await?;
            return Ok(Claim::Done { why });
        }
        Ok(Claim::Held(Box::new(Held { lease: Some(lease), taken: Instant::now() })))
    }

    /// Which backup is that of this due time.
    async fn taken(&self, cluster: &Cluster, due: DateTime<Utc>) -> Result<Option<String>, BackupError> {
        let Some(kind) = self.kind else { return Ok(None) };
        let backups = cluster.backups().await?;
        let earliest = due.checked_sub_signed(EARLY).unwrap_or(due);
        let taken = backups.whole.iter().find(|backup| backup.kind == kind && backup.began >= earliest);
        Ok(taken.map(|backup| format!("{} was taken for it", backup.id)))
    }
}

impl db_schedule::Lease for JobLease {
    fn try_take<'a>(&'a self, job: &'a str, due: DateTime<Utc>) -> BoxFuture<'a, Result<Claim, BoxError>> {
        Box::pin(JobLease::try_take(self, job, due))
    }
}

impl Hold for Held {
    fn lost(&mut self) -> BoxFuture<'_, String> {
        Box::pin(async {
            let Some(lease) = &mut self.lease else { return "it was given back".to_owned() };
            lease.keep().await.to_string()
        })
    }

    fn release(mut self: Box<Self>) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let Some(lease) = self.lease.take() else { return };
            let left = AT_LEAST.saturating_sub(self.taken.elapsed());
            // Not awaited: the job is done, and only the next host is to wait. At the end of the process the
            // lease runs out.
            tokio::spawn(async move {
                tokio::time::sleep(left).await;
                if let Err(error) = lease.release().await {
                    tracing::debug!(%error, "the lock runs out by itself");
                }
            });
        })
    }
}
