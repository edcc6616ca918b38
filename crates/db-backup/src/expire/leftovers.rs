//! What an expiry removes besides backups and log: pieces of segments that are whole by now, and old verdicts
//! of rehearsals. And what it may not remove yet, because the store locks it.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};

use super::Expiry;
use crate::backup_id::BackupId;
use crate::cluster::Cluster;
use crate::error::{BackupError, Result};
use crate::rehearse;
use crate::store::Object;
use crate::wal_name::WalName;

/// Removes objects, but for those that the store keeps.
pub(super) struct Removing<'a> {
    cluster: &'a Cluster,
    now: DateTime<Utc>,
    /// How many objects the store keeps.
    pub(super) locked: u64,
}

impl<'a> Removing<'a> {
    pub(super) fn new(cluster: &'a Cluster, now: DateTime<Utc>) -> Self {
        Removing { cluster, now, locked: 0 }
    }

    /// Removes an object; 1 if it is gone, 0 if the store keeps it.
    pub(super) async fn remove(&mut self, object: &Object) -> Result<u64> {
        let store = self.cluster.store();
        // Where versions are kept a removal would only hide it, and it would be paid for unseen.
        let is_locked = store.locked_until(object.written).is_some_and(|until| until > self.now);
        let removed = if is_locked { None } else { Some(store.delete(&object.path).await) };
        match removed {
            None | Some(Err(BackupError::Retained { .. })) => {
                self.locked += 1;
                Ok(0)
            }
            Some(removed) => removed.map(|()| 1),
        }
    }
}

impl Cluster {
    /// The backups that the store locks at this moment, and until when: each by what was written of it last.
    pub(super) async fn locked_backups(
        &self,
        now: DateTime<Utc>,
    ) -> Result<BTreeMap<BackupId, DateTime<Utc>>> {
        let mut locked = BTreeMap::new();
        if self.store().locked_until(now).is_none() {
            return Ok(locked);
        }
        for receipt in self.store().list(&self.path("receipts")).await? {
            let id = receipt.path.rsplit('/').next().and_then(|id| id.parse::<BackupId>().ok());
            let until = self.store().locked_until(receipt.written).filter(|until| *until > now);
            locked.extend(id.zip(until));
        }
        Ok(locked)
    }

    /// The pieces of segments that are stored whole, and of those that no kept backup needs.
    pub(super) async fn remove_tails(&self, expiry: &Expiry, removing: &mut Removing<'_>) -> Result<u64> {
        let mut removed = 0;
        for segment in crate::wal::tails(self).await? {
            let name = WalName::Segment(segment);
            if expiry.plan.wal.keeps(name, expiry.segment_bytes) && !self.has_wal(name).await? {
                continue;
            }
            for piece in crate::wal::tail_pieces(self, segment).await? {
                removed += removing.remove(&piece).await?;
            }
        }
        Ok(removed)
    }

    /// The verdicts whose backup is gone and that are older than the policy's days. The newest stays, so that
    /// it is known when a restore was last tried; what cannot be read stays too.
    pub(super) async fn remove_rehearsals(
        &self,
        expiry: &Expiry,
        removing: &mut Removing<'_>,
    ) -> Result<u64> {
        let mut recorded = rehearse::recorded(self).await?;
        recorded.pop();
        let since = TimeDelta::try_days(i64::from(expiry.policy.days))
            .and_then(|days| removing.now.checked_sub_signed(days))
            .unwrap_or(DateTime::<Utc>::MIN_UTC);
        let mut removed = 0;
        for (object, rehearsal) in recorded {
            let Some(rehearsal) = rehearsal else { continue };
            let is_there = rehearsal.backup.is_some_and(|backup| expiry.plan.keep.contains_key(&backup));
            if !is_there && object.written < since {
                removed += removing.remove(&object).await?;
            }
        }
        Ok(removed)
    }
}
