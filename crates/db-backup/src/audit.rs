//! The audit log: who took, restored, copied or removed what, and when. Entries are authenticated, and never
//! changed.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::backup_id::BackupId;
use crate::chunk::hex;
use crate::cluster::Cluster;
use crate::error::{BackupError, Result};
use crate::seal::random;

/// One entry of the audit log.
///
/// ```
/// use db_backup::{AuditAction, AuditEntry};
///
/// let entry = AuditEntry::new("ada@host-1", AuditAction::Restore).of_backup(None).saying("target", "latest");
/// assert_eq!(entry.details["target"], "latest");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// When, by the clock of the host that did it.
    pub at: DateTime<Utc>,
    /// Who: the operating system's user and the host.
    pub who: String,
    /// What was done.
    pub action: AuditAction,
    /// To which backup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup: Option<BackupId>,
    /// What else is worth knowing, by name. No secrets.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub details: BTreeMap<String, String>,
}

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AuditAction {
    /// A backup was taken.
    Take,
    /// A backup was restored.
    Restore,
    /// What the repository holds was verified.
    Verify,
    /// A backup was restored for rehearsal.
    Rehearse,
    /// Backups or write-ahead log were removed by a policy.
    Expire,
    /// A backup was removed by name.
    Delete,
    /// A backup was copied to another repository.
    Copy,
    /// Backups of another program were brought over.
    Import,
    /// Who may open the repository was changed.
    Keys,
}

impl AuditEntry {
    /// An entry of this moment.
    pub fn new(who: impl Into<String>, action: AuditAction) -> Self {
        AuditEntry { at: Utc::now(), who: who.into(), action, backup: None, details: BTreeMap::new() }
    }

    /// The same about a backup.
    pub fn of_backup(mut self, backup: Option<BackupId>) -> Self {
        self.backup = backup;
        self
    }

    /// The same with one more detail.
    pub fn saying(mut self, name: impl Into<String>, value: impl ToString) -> Self {
        self.details.insert(name.into(), value.to_string());
        self
    }
}

impl Cluster {
    /// Writes an entry. Credentials that may only put suffice.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn record(&self, entry: &AuditEntry) -> Result<()> {
        let name = format!("{}-{}", entry.at.format("%Y%m%dT%H%M%S%6fZ"), hex(&random::<4>()?));
        let text =
            serde_json::to_vec(entry).map_err(|error| BackupError::io("writing an entry", error.into()))?;
        self.put_sealed(&self.path(&format!("audit/{name}")), &text).await.map(drop)
    }

    /// All entries in order, and the paths of those that cannot be read.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn audit(&self) -> Result<(Vec<AuditEntry>, Vec<String>)> {
        self.may_read()?;
        let objects = self.store().list(&self.path("audit")).await?;
        let paths = objects.into_iter().map(|object| object.path).collect();
        let (mut entries, mut damaged) = (Vec::new(), Vec::new());
        for (path, opened) in self.get_all_sealed(paths).await? {
            let entry = opened.ok().flatten().and_then(|text| serde_json::from_slice(&text).ok());
            match entry {
                Some(entry) => entries.push(entry),
                None => damaged.push(path),
            }
        }
        entries.sort_by_key(|entry: &AuditEntry| entry.at);
        Ok((entries, damaged))
    }
}
