//! Receives the log as the server writes it, where the settings name a slot: of several agents one does, by a
//! lock in the repository.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use db_platform::backup::wal::ReceiveConfig;
use db_platform::backup::{BackupError, Cluster, Progress, Repository};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::ground::Ground;
use super::tell::Tell;
use super::watch::Change;
use crate::error::CliError;
use crate::wal::receive_until;

/// A host that dies is followed by another one after so long.
const LOCKED_FOR: Duration = Duration::from_secs(60);
/// How often one that waits looks whether it may, and one that fails tries again.
const AGAIN: Duration = Duration::from_secs(5);
/// What has come is stored within this time at the end.
const END_WITHIN: Duration = Duration::from_secs(10);

/// What is told while nothing is received.
const KEY: &str = "receiving:";

/// A receiver at work, or waiting to be.
pub(super) struct Receiver {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Receiver {
    pub(super) fn start(ground: Arc<Ground>, tell: Arc<Tell>, slot: String) -> Receiver {
        let (stop, stopped) = watch::channel(false);
        let attempts = Attempts { ground, tell, slot, stopped, failing: None, is_told: false };
        Receiver { stop, task: tokio::spawn(attempts.run()) }
    }

    /// Stores what has come, and lets another host go on.
    pub(super) async fn end(mut self) {
        // Nobody listens where it has ended by itself.
        let _ = self.stop.send(true);
        if timeout(END_WITHIN, &mut self.task).await.is_err() {
            tracing::warn!(
                "the receiver did not end in time; the server keeps for its slot what is not stored"
            );
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Attempts {
    ground: Arc<Ground>,
    tell: Arc<Tell>,
    slot: String,
    stopped: watch::Receiver<bool>,
    /// Since when nothing is received.
    failing: Option<Instant>,
    is_told: bool,
}

impl Attempts {
    async fn run(mut self) {
        loop {
            match self.attempt().await {
                Ok(()) => {}
                // Another host receives.
                Err(CliError::Backup(BackupError::Locked { holder, .. })) => {
                    tracing::debug!("{holder} receives the log");
                    (self.failing, self.is_told) = (None, false);
                }
                Err(error) => self.failed(&error),
            }
            let mut stopped = self.stopped.clone();
            tokio::select! {
                _ = stopped.wait_for(|stopped| *stopped) => return,
                () = sleep(AGAIN) => {}
            }
        }
    }

    /// Receives while the lock is this host's.
    async fn attempt(&mut self) -> Result<(), CliError> {
        let (repository, cluster) = self.ground.cluster().await?;
        let mut lease = cluster.lock("receive", &self.ground.holder(), LOCKED_FOR).await?;
        tracing::info!("receives the log by the slot {}", self.slot);
        let lost = async { Err(lease.keep().await.into()) };
        let received = tokio::select! {
            received = self.receive(&repository, &cluster) => received,
            lost = lost => lost,
        };
        // It runs out by itself where the store does not answer.
        if let Err(error) = lease.release().await {
            tracing::debug!(%error, "the receiver's lock runs out by itself");
        }
        received
    }

    async fn receive(&mut self, repository: &Repository, cluster: &Cluster) -> Result<(), CliError> {
        let config = ReceiveConfig {
            slot: Some(self.slot.clone()),
            compression: self.ground.compression(),
            ..ReceiveConfig::new(self.ground.url.clone())
        };
        let mut stopped = self.stopped.clone();
        let stop = pin!(async move {
            let _ = stopped.wait_for(|stopped| *stopped).await;
        });
        let (tell, failing) = (Arc::clone(&self.tell), self.failing.take());
        let was_told = std::mem::take(&mut self.is_told);
        let (figures, system) = (Arc::clone(&self.ground.figures), cluster.system_identifier());
        let going_on = std::sync::Once::new();
        let observer = move |progress: Progress| match progress {
            Progress::Bytes { .. } => {
                figures.received();
                going_on.call_once(|| {
                    tracing::info!("the log of {system} is received");
                    if was_told && failing.is_some() {
                        let text = "the log was not received".to_owned();
                        tell.archive(Change::Over { key: KEY.to_owned(), text });
                    }
                });
            }
            Progress::Warning(text) => tracing::warn!("{text}"),
            _ => {}
        };
        receive_until(repository, &config, stop, &observer).await.map(drop)
    }

    /// Nothing was received: people are told once that has lasted as long as a segment may be late.
    fn failed(&mut self, error: &CliError) {
        tracing::warn!("the log is not received: {error}");
        let since = *self.failing.get_or_insert_with(Instant::now);
        if since.elapsed() >= self.ground.late_after() && !std::mem::replace(&mut self.is_told, true) {
            let text = format!("the log is not received by the slot {}: {error}", self.slot);
            self.tell.archive(Change::Began { key: KEY.to_owned(), text });
        }
    }
}
