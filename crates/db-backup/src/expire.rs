//! Removes what a policy does not keep, in two phases: what goes is marked, and removed when the mark is old
//! enough.
//!
//! Only what can be read and authenticated is a reason to remove anything. An object that somebody overwrote
//! makes expiry stop and say so; it never makes it remove more. What the store itself keeps, by a lock or a
//! retention policy, is left for a later expiry, and is no failure.

mod leftovers;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::backup_id::BackupId;
use crate::cluster::{Backups, Cluster, oldest_first};
use crate::error::{BackupError, Result};
use crate::manifest::Summary;
use crate::retention::{RetentionPlan, RetentionPolicy};
use crate::store::{Object, Put};
use leftovers::Removing;

/// What was begun and never published is removed when nothing was written for so long.
const CRASHED_AFTER: TimeDelta = TimeDelta::hours(24);

/// What an expiry will do. Made by [`Cluster::expiry`], which changes nothing, and done by
/// [`Cluster::expire`].
///
/// ```
/// use db_backup::{Cluster, Result, RetentionPolicy};
///
/// async fn weekly(cluster: &Cluster) -> Result<()> {
///     let policy = RetentionPolicy { days: 7, last: 2, ..RetentionPolicy::NOTHING };
///     let expiry = cluster.expiry(&policy).await?;
///     println!("{} backups go, {} stay", expiry.plan.remove.len(), expiry.plan.keep.len());
///     cluster.expire(&expiry).await?;
///     Ok(())
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expiry {
    /// Which backups and which log stay and go.
    pub plan: RetentionPlan,
    /// The policy that was asked.
    pub policy: RetentionPolicy,
    /// Directories of runs that ended without a backup, and are old enough to be removed.
    pub crashed: Vec<String>,
    /// The size of a segment of the write-ahead log.
    segment_bytes: u32,
}

/// What an expiry did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expired {
    /// The backups that were marked now; a later expiry removes them.
    pub marked: Vec<BackupId>,
    /// The backups that were removed.
    pub removed: Vec<BackupId>,
    /// How many files of the write-ahead log were removed.
    pub wal: u64,
    /// How many objects of runs that had crashed were removed.
    pub garbage: u64,
    /// How many pieces of segments were removed that are stored whole, or that nothing needs.
    pub tails: u64,
    /// How many verdicts of rehearsals were removed.
    pub rehearsals: u64,
    /// How many objects and backups the store itself keeps for now.
    pub locked: u64,
}

/// What a tombstone says.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Tombstone {
    id: BackupId,
    since: DateTime<Utc>,
}

impl Cluster {
    /// What this policy keeps and removes now, by the store's clock. Nothing is changed but a probe of that
    /// clock.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn expiry(&self, policy: &RetentionPolicy) -> Result<Expiry> {
        let now = self.store_time().await?;
        let backups = self.all_backups().await?;
        let held = self.held(now).await?;
        let mut plan = policy.plan(&backups.whole, &held.backups, now);
        if let Some(damaged) = backups.damaged.first() {
            plan = plan.held_back(format!("the manifest of {} cannot be read: {}", damaged.id, damaged.why));
        } else if let Some(path) = held.unreadable.first() {
            plan = plan.held_back(format!("{path} says what is in use, and cannot be read"));
        }
        let plan = match self.locked_backups(now).await? {
            locked if locked.is_empty() => plan,
            locked => plan.locked(&backups.whole, &locked),
        };
        let crashed = match plan.held_back {
            None => self.crashed(&backups, now).await?,
            Some(_) => Vec::new(),
        };
        let segment_bytes = backups.whole.iter().map(|backup| backup.server.wal_segment_bytes).max();
        Ok(Expiry { plan, policy: *policy, crashed, segment_bytes: segment_bytes.unwrap_or(0) })
    }

    /// Does what was planned. Backups are marked now and removed by the first expiry that comes `grace`
    /// later, so that whatever reads one has time to say so.
    ///
    /// # Errors
    /// Those of the store. What was done stays done, and the next expiry goes on.
    pub async fn expire(&self, expiry: &Expiry) -> Result<Expired> {
        self.expire_after(expiry, TimeDelta::hours(1)).await
    }

    /// [`expire`](Cluster::expire) with another time between the mark and the removal.
    ///
    /// # Errors
    /// Those of [`expire`](Cluster::expire).
    pub async fn expire_after(&self, expiry: &Expiry, grace: TimeDelta) -> Result<Expired> {
        let mut done = Expired::default();
        for id in &expiry.plan.remove {
            if self.bury(id).await? {
                done.marked.push(id.clone());
            }
        }
        // Marks first, then a new look at what is held and needed: whatever began meanwhile is seen now, or
        // saw the mark.
        let now = self.store_time().await?;
        let again = self.expiry(&expiry.policy).await?;
        for (id, written) in self.tombstones().await? {
            if again.plan.keep.contains_key(&id) {
                self.store().discard(&self.tombstone_path(&id)).await?;
                done.marked.retain(|marked| *marked != id);
            } else if again.plan.held_back.is_none() && now.signed_duration_since(written) >= grace {
                done.marked.retain(|marked| *marked != id);
                match self.remove_backup(&id).await {
                    Err(BackupError::Retained { .. }) => done.locked += 1,
                    removed => {
                        removed?;
                        done.removed.push(id);
                    }
                }
            }
        }
        if again.plan.held_back.is_none() {
            let last = self.expiry(&expiry.policy).await?;
            let mut removing = Removing::new(self, now);
            done.wal = self.remove_wal(&last, &mut removing).await?;
            done.garbage = self.remove_crashed(&expiry.crashed, &again.crashed, &mut removing).await?;
            done.garbage += self.store().remove_staged_before((now - CRASHED_AFTER).into());
            done.tails = self.remove_tails(&last, &mut removing).await?;
            done.rehearsals = self.remove_rehearsals(&last, &mut removing).await?;
            done.locked += removing.locked;
        }
        Ok(done)
    }

    /// Removes one backup by its name, whatever the policy says. It is marked and removed at once.
    ///
    /// # Errors
    /// Another backup builds on it, something under way uses it, or an operation of the store failed.
    pub async fn delete(&self, id: &BackupId) -> Result<()> {
        let backups = self.all_backups().await?;
        if !backups.whole.iter().any(|backup| backup.id == *id) {
            return Err(BackupError::NoBackup(id.clone()));
        }
        let kept = |why: String| Err(BackupError::Kept { id: id.clone(), why });
        if let Some(until) = self.locked_backups(self.store_time().await?).await?.get(id) {
            return kept(format!("its store locks it until {}", until.to_rfc3339()));
        }
        if let Some(heir) = backups.whole.iter().find(|backup| backup.needs().any(|needed| needed == id)) {
            return kept(format!("{} builds on it; delete that first", heir.id));
        }
        self.bury(id).await?;
        let held = self.held(self.store_time().await?).await?;
        if held.backups.contains(id) || !held.unreadable.is_empty() {
            self.store().discard(&self.tombstone_path(id)).await?;
            return kept("a backup or a restore that is under way uses it".to_owned());
        }
        self.remove_backup(id).await
    }

    /// All backups, those that are marked included.
    async fn all_backups(&self) -> Result<Backups> {
        let mut backups = self.backups().await?;
        backups.whole.append(&mut backups.expiring);
        oldest_first(&mut backups.whole);
        Ok(backups)
    }

    /// The backups that are marked to be removed, and since when. A mark that was not made with a key marks
    /// nothing.
    pub(crate) async fn tombstones(&self) -> Result<Vec<(BackupId, DateTime<Utc>)>> {
        let objects = self.store().list(&self.path("tombstones")).await?;
        let paths = objects.iter().map(|object| object.path.clone()).collect();
        let opened = self.get_all_sealed(paths).await?;
        let marked = objects.iter().zip(opened).filter_map(|(object, (_, opened))| {
            let tombstone: Tombstone = serde_json::from_slice(&opened.ok()??).ok()?;
            (self.tombstone_path(&tombstone.id) == object.path).then_some((tombstone.id, object.written))
        });
        Ok(marked.collect())
    }

    /// Marks a backup; whether it was not marked before.
    async fn bury(&self, id: &BackupId) -> Result<bool> {
        let tombstone = Tombstone { id: id.clone(), since: Utc::now() };
        let text = serde_json::to_vec(&tombstone)
            .map_err(|error| BackupError::io("writing a tombstone", error.into()))?;
        Ok(self.put_sealed(&self.tombstone_path(id), &text).await? == Put::Created)
    }

    /// The manifest goes first, so that there is never a backup without its packs; the tombstone last, so
    /// that an expiry that was cut short is continued.
    async fn remove_backup(&self, id: &BackupId) -> Result<()> {
        self.store().delete(&self.manifest_path(id)).await?;
        for object in self.store().list(&self.path(&format!("backups/{id}"))).await? {
            self.store().delete(&object.path).await?;
        }
        self.store().remove_empty_directory(&self.path(&format!("backups/{id}")));
        self.store().discard(&self.running_path(id)).await?;
        self.store().delete(&self.receipt_path(id)).await?;
        self.store().delete(&self.tombstone_path(id)).await
    }

    /// The oldest goes first, so that what is left of the log has no hole.
    async fn remove_wal(&self, expiry: &Expiry, removing: &mut Removing<'_>) -> Result<u64> {
        let mut removed = 0;
        let Some(since) = expiry.plan.wal.since else { return Ok(removed) };
        self.raise_floor(since).await?;
        for timeline in self.timelines().await? {
            for stored in self.wal(timeline).await? {
                if !expiry.plan.wal.keeps(stored.name, expiry.segment_bytes) {
                    removed += removing.remove(&stored.object).await?;
                }
            }
        }
        Ok(removed)
    }

    /// The directories of runs that ended without a manifest, where nothing was written for a day.
    async fn crashed(&self, backups: &Backups, now: DateTime<Utc>) -> Result<Vec<String>> {
        let known = |name: &str| {
            backups.whole.iter().any(|backup: &Summary| backup.id.as_str() == name)
                || backups.damaged.iter().any(|backup| backup.id == name)
        };
        let mut crashed = Vec::new();
        for name in self.store().directories(&self.path("backups")).await? {
            if known(&name) {
                continue;
            }
            let objects = self.store().list(&self.path(&format!("backups/{name}"))).await?;
            let is_old = |object: &Object| now.signed_duration_since(object.written) >= CRASHED_AFTER;
            if !objects.is_empty() && objects.iter().all(is_old) {
                crashed.push(name);
            }
        }
        Ok(crashed)
    }

    /// Those that were crashed in both looks: a manifest that appeared in between makes it a backup.
    async fn remove_crashed(
        &self,
        planned: &[String],
        again: &[String],
        removing: &mut Removing<'_>,
    ) -> Result<u64> {
        let mut removed = 0;
        for name in planned.iter().filter(|name| again.contains(name)) {
            for object in self.store().list(&self.path(&format!("backups/{name}"))).await? {
                removed += removing.remove(&object).await?;
            }
            self.store().remove_empty_directory(&self.path(&format!("backups/{name}")));
            self.store().discard(&self.path(&format!("running/{name}"))).await?;
        }
        Ok(removed)
    }
}
