//! What keeps a backup from being removed while something under way builds on it or reads it.
//!
//! The holder writes its mark first and looks for a tombstone after that; expiry writes the tombstone first
//! and looks for marks after that. Stores list what was written, so at least one of the two sees the other,
//! and gives way.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::backup_id::BackupId;
use crate::chunk::hex;
use crate::cluster::Cluster;
use crate::error::{BackupError, Result};
use crate::seal::random;

/// A mark that is older belongs to a process that died.
pub(crate) const MARKS_LAST: TimeDelta = TimeDelta::days(7);

/// Keeps some backups from being removed until it is released, or for seven days.
///
/// ```
/// use db_backup::{BackupId, Cluster, Result};
///
/// async fn restore(cluster: &Cluster, id: &BackupId) -> Result<()> {
///     let hold = cluster.hold(&[id.clone()]).await?;
///     let _manifest = cluster.manifest(id).await?;
///     hold.release().await
/// }
/// ```
#[derive(Debug)]
pub struct Hold {
    cluster: Cluster,
    path: String,
}

/// What a mark says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mark {
    pub(crate) since: DateTime<Utc>,
    /// The backups that must stay.
    pub(crate) holds: Vec<BackupId>,
}

impl Cluster {
    /// Keeps these backups from being removed. A restore takes one first.
    ///
    /// # Errors
    /// One of them is being removed already, or an operation of the store failed.
    pub async fn hold(&self, backups: &[BackupId]) -> Result<Hold> {
        let path = self.path(&format!("running/hold-{}", hex(&random::<8>()?)));
        let hold = Hold { cluster: self.clone(), path };
        if let Err(error) = self.mark(&hold.path, backups).await {
            hold.release().await?;
            return Err(error);
        }
        Ok(hold)
    }

    /// Writes a mark, and looks whether it came too late.
    pub(crate) async fn mark(&self, path: &str, holds: &[BackupId]) -> Result<()> {
        let mark = Mark { since: Utc::now(), holds: holds.to_vec() };
        let text =
            serde_json::to_vec(&mark).map_err(|error| BackupError::io("writing a mark", error.into()))?;
        self.put_sealed(path, &text).await?;
        if holds.is_empty() {
            return Ok(());
        }
        let tombstones = self.tombstones().await?;
        for id in holds {
            if tombstones.iter().any(|(marked, _)| marked == id) {
                let why = "it is being removed; take another backup".to_owned();
                return Err(BackupError::Kept { id: id.clone(), why });
            }
        }
        Ok(())
    }

    /// The backups that something under way holds. A mark that cannot be read holds everything: it may have
    /// been overwritten.
    pub(crate) async fn held(&self, now: DateTime<Utc>) -> Result<Held> {
        let marks = self.store().list(&self.path("running")).await?;
        let fresh = marks.into_iter().filter(|mark| now - mark.written < MARKS_LAST).map(|mark| mark.path);
        let mut held = Held::default();
        for (path, opened) in self.get_all_sealed(fresh.collect()).await? {
            let mark = opened.map(|mark| mark.map(|text| serde_json::from_slice::<Mark>(&text)));
            match mark {
                Ok(Some(Ok(mark))) => held.backups.extend(mark.holds),
                Ok(None) => {}
                Ok(Some(Err(_))) | Err(_) => held.unreadable.push(path),
            }
        }
        held.backups.sort();
        held.backups.dedup();
        Ok(held)
    }

    pub(crate) fn tombstone_path(&self, id: &BackupId) -> String {
        self.path(&format!("tombstones/{id}"))
    }

    pub(crate) fn running_path(&self, id: &BackupId) -> String {
        self.path(&format!("running/{id}"))
    }
}

/// What is held.
#[derive(Debug, Default)]
pub(crate) struct Held {
    pub(crate) backups: Vec<BackupId>,
    pub(crate) unreadable: Vec<String>,
}

impl Hold {
    /// Lets go.
    ///
    /// # Errors
    /// Those of the store; the mark then counts for seven days.
    pub async fn release(self) -> Result<()> {
        self.cluster.store().discard(&self.path).await
    }
}
