//! Verification: every object is read and checked, and what is wrong is a typed finding.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::{StreamExt, TryStreamExt, stream};

use crate::backup_id::BackupId;
use crate::buffers::{Buffers, LogBuffers};
use crate::chunk::{ChunkRef, PackRef};
use crate::cluster::Cluster;
use crate::error::{BackupError, Result};
use crate::finding::Finding;
use crate::manifest::{Manifest, Summary};
use crate::opened::Unpacker;
use crate::reader::{open_index, read_part};
use crate::verify_scope::{VerifyScope, chosen, new_since};
use crate::wal_store::StoredWal;

/// What is verified.
///
/// ```
/// use std::time::Duration;
/// use db_backup::VerifyOptions;
///
/// let nightly = VerifyOptions { newest_within: Some(Duration::from_secs(26 * 3_600)), ..VerifyOptions::default() };
/// assert!(nightly.contents);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VerifyOptions {
    /// Whether packs and segments are read and every chunk is checked; without it only manifests, sizes and
    /// names are.
    pub contents: bool,
    /// Of which of them the contents are read.
    pub scope: VerifyScope,
    /// How many objects are read at once. Each takes about 8 MiB, and one of the log its stored
    /// size and 4 MiB.
    pub workers: usize,
    /// How old the newest backup may be.
    pub newest_within: Option<Duration>,
    /// How long ago the newest segment may have been archived.
    pub wal_within: Option<Duration>,
}

/// What verification found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Whether contents were read.
    pub contents: bool,
    /// Of which objects.
    pub scope: VerifyScope,
    /// When it began, by the store's clock.
    pub began: Option<DateTime<Utc>>,
    /// What is wrong. Nothing is what one wants to see.
    pub findings: Vec<Finding>,
    /// How many backups were looked at.
    pub backups: u64,
    /// How many objects were looked at.
    pub objects: u64,
    /// Of how many the contents were read.
    pub read: u64,
    /// How many bytes were read.
    pub bytes: u64,
}

impl Default for VerifyOptions {
    fn default() -> Self {
        VerifyOptions {
            contents: true,
            scope: VerifyScope::All,
            workers: 2,
            newest_within: None,
            wal_within: None,
        }
    }
}

impl Verdict {
    /// Whether nothing is wrong: the exit status of a command.
    pub fn holds(&self) -> bool {
        self.findings.is_empty()
    }
}

impl Cluster {
    /// Reads everything and reports what is wrong with it. An error is only what kept it from looking.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn verify(&self, options: VerifyOptions) -> Result<Verdict> {
        let now = self.store_time().await?;
        let mut backups = self.backups().await?;
        let (log, unreadable) = self.audit().await?;
        let choice = Choice { since: new_since(&log, now), objects: self.written(options).await? };
        let mut verdict = Verdict {
            contents: options.contents,
            scope: options.scope,
            began: Some(now),
            ..Verdict::default()
        };
        for damaged in std::mem::take(&mut backups.damaged) {
            verdict.findings.push(Finding::ManifestDamaged { id: damaged.id, why: damaged.why });
        }
        self.verify_backups(&backups.whole, options, &choice, &mut verdict).await?;
        self.verify_log(&backups.whole, options, &choice, now, &mut verdict).await?;
        verdict.findings.extend(unreadable.into_iter().map(|path| Finding::AuditDamaged { path }));
        let newest = backups.whole.iter().map(|backup| backup.ended).max();
        if let Some(within) = options.newest_within.filter(|within| is_late(newest, *within, now)) {
            verdict.findings.push(Finding::TooOld { newest, within });
        }
        Ok(verdict)
    }

    /// When each object below the backups was written, where that is asked for.
    async fn written(&self, options: VerifyOptions) -> Result<BTreeMap<String, DateTime<Utc>>> {
        if !options.contents || options.scope != VerifyScope::New {
            return Ok(BTreeMap::new());
        }
        let objects = self.store().list(&self.path("backups")).await?;
        Ok(objects.into_iter().map(|object| (object.path, object.written)).collect())
    }

    async fn verify_backups(
        &self,
        backups: &[Summary],
        options: VerifyOptions,
        choice: &Choice,
        verdict: &mut Verdict,
    ) -> Result<()> {
        let mut packs = Packs::default();
        for backup in backups {
            verdict.backups += 1;
            match self.manifest(&backup.id).await {
                Ok(manifest) => packs.add(&manifest),
                Err(error) if error.is_damage() => {
                    let (id, why) = (backup.id.to_string(), error.to_string());
                    verdict.findings.push(Finding::ManifestDamaged { id, why });
                }
                Err(error) => return Err(error),
            }
            let is_there = |parent: &&BackupId| backups.iter().any(|backup| backup.id == **parent);
            if let Some(parent) = backup.parent.iter().find(|parent| !is_there(parent)) {
                verdict
                    .findings
                    .push(Finding::ParentMissing { id: backup.id.clone(), parent: parent.clone() });
            }
        }
        let written: Vec<_> = packs.0.keys().map(|path| choice.objects.get(path).copied()).collect();
        let chosen = self.chosen(&written, options, choice);
        let buffers = &Buffers::default();
        let checks = packs.0.into_iter().zip(chosen).map(|((path, pack), is_read)| async move {
            let found = self.verify_pack(&path, &pack, is_read, buffers).await;
            damage(found).map(|found| (path, pack, is_read, found))
        });
        let mut checks = std::pin::pin!(stream::iter(checks).buffered(options.workers.max(1)));
        while let Some((path, pack, is_read, found)) = checks.try_next().await? {
            verdict.objects += 1;
            verdict.read += u64::from(is_read);
            match found {
                Ok(bytes) => verdict.bytes += bytes,
                Err(why) => {
                    let needed_by = pack.needed_by.into_iter().collect();
                    verdict.findings.push(Finding::PackDamaged { path, needed_by, why });
                }
            }
        }
        Ok(())
    }

    fn chosen(
        &self,
        written: &[Option<DateTime<Utc>>],
        options: VerifyOptions,
        choice: &Choice,
    ) -> Vec<bool> {
        match options.contents {
            true => chosen(written, options.scope, choice.since, self.store().limits().deadline),
            false => vec![false; written.len()],
        }
    }

    /// How many bytes were read of it.
    async fn verify_pack(&self, path: &str, pack: &Pack, contents: bool, buffers: &Buffers) -> Result<u64> {
        if !contents {
            let there = self.store().head(path).await?.ok_or_else(|| BackupError::missing(path))?;
            let same = there.bytes == pack.bytes;
            return if same { Ok(0) } else { Err(BackupError::damaged(path, "it has another size")) };
        }
        match self.read_pack(path, pack, buffers).await {
            // A flip on the way is not in the store.
            Err(BackupError::Damaged { .. }) => self.read_pack(path, pack, buffers).await,
            read => read,
        }
    }

    async fn read_pack(&self, path: &str, pack: &Pack, buffers: &Buffers) -> Result<u64> {
        let object = PackRef { path: path.to_owned(), bytes: pack.bytes, frames: pack.frames };
        let index = Arc::new(open_index(&self.inside, &object).await?);
        if !pack.chunks.iter().all(|chunk| index.holds(chunk)) {
            return Err(BackupError::damaged(path, "it holds other chunks than the manifest names"));
        }
        let (mut sealed, mut plain, mut unpacker) = (buffers.take(), buffers.take(), Unpacker::new()?);
        for frame in 0..index.frames() {
            sealed = read_part(&self.inside, &object, index.place(frame)?, sealed).await?;
            let index = Arc::clone(&index);
            let checked = tokio::task::spawn_blocking(move || {
                plain.clear();
                index.open(frame, &mut sealed, &mut unpacker, &mut plain).map(|()| (sealed, plain, unpacker))
            });
            (sealed, plain, unpacker) = checked.await.map_err(|_| BackupError::PipelineEnded)??;
        }
        buffers.give_back(sealed);
        buffers.give_back(plain);
        Ok(pack.bytes)
    }

    async fn verify_log(
        &self,
        backups: &[Summary],
        options: VerifyOptions,
        choice: &Choice,
        now: DateTime<Utc>,
        verdict: &mut Verdict,
    ) -> Result<()> {
        verdict.findings.append(&mut self.gaps_of(backups).await?);
        let (mut newest, buffers) = (None, &Arc::new(LogBuffers::default()));
        for timeline in self.timelines().await? {
            let stored = self.wal(timeline).await?;
            newest = newest.max(stored.iter().map(|wal| wal.object.written).max());
            let stored: Vec<StoredWal> = stored.into_iter().filter(|wal| !wal.beside).collect();
            let written: Vec<_> = stored.iter().map(|wal| Some(wal.object.written)).collect();
            verdict.objects += stored.len() as u64;
            let read = stored.into_iter().zip(self.chosen(&written, options, choice));
            let read = read.filter_map(|(wal, is_read)| is_read.then_some(wal));
            let checks = read.map(|wal| self.verify_wal(wal, buffers));
            let mut checks = std::pin::pin!(stream::iter(checks).buffered(options.workers.max(1)));
            while let Some((bytes, finding)) = checks.try_next().await? {
                verdict.read += 1;
                verdict.bytes += bytes;
                verdict.findings.extend(finding);
            }
        }
        if let Some(within) = options.wal_within.filter(|within| is_late(newest, *within, now)) {
            verdict.findings.push(Finding::WalLate { newest, within });
        }
        Ok(())
    }

    async fn verify_wal(&self, wal: StoredWal, buffers: &Arc<LogBuffers>) -> Result<(u64, Option<Finding>)> {
        let (name, bytes) = (wal.name, wal.object.bytes);
        let read = self.read_wal(name, buffers, || (), |(), _, _| Ok(())).await;
        let finding = match read {
            Ok(Some(_)) => None,
            Ok(None) => Some(Finding::WalDamaged { name, why: "it was there a moment ago".to_owned() }),
            Err(BackupError::WalConflict { name }) => Some(Finding::WalConflict { name }),
            Err(error) if error.is_damage() => Some(Finding::WalDamaged { name, why: error.to_string() }),
            Err(error) => return Err(error),
        };
        Ok((bytes, finding))
    }
}

/// What decides which objects are read.
struct Choice {
    /// What was written later is new.
    since: Option<DateTime<Utc>>,
    /// When each object of the backups was written.
    objects: BTreeMap<String, DateTime<Utc>>,
}

/// The packs of all backups, each once.
#[derive(Default)]
struct Packs(BTreeMap<String, Pack>);

#[derive(Default)]
struct Pack {
    bytes: u64,
    frames: u32,
    chunks: Vec<ChunkRef>,
    needed_by: BTreeSet<BackupId>,
}

impl Packs {
    fn add(&mut self, manifest: &Manifest) {
        for pack in &manifest.content.packs {
            let known = self.0.entry(pack.path.clone()).or_default();
            known.bytes = pack.bytes;
            // A manifest of earlier versions says 0.
            known.frames = known.frames.max(pack.frames);
            known.needed_by.insert(manifest.summary.id.clone());
        }
        for chunk in &manifest.content.chunks {
            let pack = usize::try_from(chunk.pack).ok().and_then(|at| manifest.content.packs.get(at));
            if let Some(known) = pack.and_then(|pack| self.0.get_mut(&pack.path)) {
                known.chunks.push(*chunk);
            }
        }
    }
}

/// Damage is a finding, and everything else an error.
fn damage<T>(found: Result<T>) -> Result<Result<T, String>> {
    match found {
        Ok(found) => Ok(Ok(found)),
        Err(error) if error.is_damage() => Ok(Err(error.to_string())),
        Err(error) => Err(error),
    }
}

fn is_late(newest: Option<DateTime<Utc>>, within: Duration, now: DateTime<Utc>) -> bool {
    let within = TimeDelta::from_std(within).unwrap_or(TimeDelta::MAX);
    newest.is_none_or(|newest| now.signed_duration_since(newest) > within)
}
