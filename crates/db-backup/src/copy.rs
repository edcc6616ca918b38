//! Copies backups and the write-ahead log to a second repository, which has keys and a name of its own.
//!
//! Everything is opened and sealed anew: what is damaged here is noticed here, and never copied.

use crate::backup_id::BackupId;
use crate::chunk::hex;
use crate::cluster::Cluster;
use crate::draft::Draft;
use crate::error::{BackupError, Result};
use crate::seal::random;
use crate::settings::Compression;
use crate::wal_store::WalPut;
use crate::writer::WriterOptions;

/// What was copied.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Copied {
    /// The backups, parents first.
    pub backups: Vec<BackupId>,
    /// How many files of the write-ahead log.
    pub wal: u64,
    /// Of how many segments that are not whole the pieces that a receiver had stored.
    pub tails: u64,
}

impl Cluster {
    /// Copies a backup and what it builds on to another repository, under the same names. What is there
    /// already is left.
    ///
    /// # Errors
    /// The backup is damaged or missing, the target is of another cluster, or an operation of a store failed.
    pub async fn copy_backup(&self, id: &BackupId, to: &Cluster, options: WriterOptions) -> Result<Copied> {
        if to.system_identifier() != self.system_identifier() {
            return Err(BackupError::Misuse("a backup is copied to the place of the same cluster"));
        }
        let hold = self.hold(std::slice::from_ref(id)).await?;
        let copied = self.copy_with_parents(id, to, options).await;
        let released = hold.release().await;
        let copied = copied?;
        released?;
        Ok(copied)
    }

    async fn copy_with_parents(&self, id: &BackupId, to: &Cluster, options: WriterOptions) -> Result<Copied> {
        let there = to.backups().await?.whole;
        let mut chain = vec![id.clone()];
        let mut next = self.manifest(id).await?.summary.parent;
        while let Some(parent) = next {
            if chain.contains(&parent) {
                return Err(BackupError::damaged(self.manifest_path(id), "its parents go round in a circle"));
            }
            next = self.manifest(&parent).await?.summary.parent;
            chain.push(parent);
        }
        let mut copied = Copied::default();
        for id in chain.into_iter().rev().filter(|id| !there.iter().any(|backup| backup.id == *id)) {
            self.copy_one(&id, to, options).await?;
            copied.backups.push(id);
        }
        Ok(copied)
    }

    async fn copy_one(&self, id: &BackupId, to: &Cluster, options: WriterOptions) -> Result<()> {
        let manifest = self.manifest(id).await?;
        let newest = to.backups().await?.whole.pop().map(|backup| backup.id);
        let base = match newest {
            Some(newest) => Some(to.manifest(&newest).await?),
            None => None,
        };
        let draft = Draft::begin(to.clone(), manifest.summary.clone(), base.as_ref()).await?;
        // A run that died under this name has left packs, which are sealed otherwise.
        let mut writer = draft.writer_of_run(&format!("{}-", hex(&random::<4>()?)), options)?;
        let reader = self.reader(&manifest, options.workers);
        for number in 0..reader.chunks() {
            writer.write_chunk(&reader.chunk(number).await?).await?;
        }
        let written = writer.finish().await?;
        let mine: Vec<String> = written.content.packs.iter().map(|pack| pack.path.clone()).collect();
        draft.publish(manifest.files, written.content).await?;
        to.remove_other_packs(id, &mine).await
    }

    /// Removes what runs that died have left of a backup that is published now.
    async fn remove_other_packs(&self, id: &BackupId, packs: &[String]) -> Result<()> {
        for object in self.store().list(&self.packs_path(id)).await? {
            if packs.contains(&object.path) {
                continue;
            }
            match self.store().delete(&object.path).await {
                // They stay until the backup goes, and do no harm.
                Err(BackupError::Denied { .. }) => return Ok(()),
                deleted => deleted?,
            }
        }
        Ok(())
    }

    /// Copies the files of the write-ahead log that the other repository lacks, the oldest first, and at last
    /// what a receiver has stored of segments that are not whole. What rehearsals saw of this repository is
    /// not copied: it says nothing of the other one.
    ///
    /// # Errors
    /// One is damaged or in dispute, or an operation of a store failed.
    pub async fn copy_wal(&self, to: &Cluster, compression: Compression) -> Result<Copied> {
        let mut copied = Copied::default();
        for timeline in self.timelines().await? {
            let there: Vec<_> = to.wal(timeline).await?.into_iter().map(|wal| wal.name).collect();
            for wal in self.wal(timeline).await? {
                if there.binary_search(&wal.name).is_ok() || wal.beside {
                    continue;
                }
                let bytes = self.get_wal(wal.name).await?;
                let bytes = bytes.ok_or_else(|| BackupError::missing(&wal.object.path))?;
                if to.put_wal(wal.name, bytes, compression).await? == WalPut::Stored {
                    copied.wal += 1;
                }
            }
        }
        copied.tails = crate::wal::copy_tails(self, to).await?;
        Ok(copied)
    }
}
