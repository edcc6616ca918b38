//! A backup that is being taken: it does not exist before its manifest does.

use std::sync::Arc;

use bytes::Bytes;

use crate::backup_id::BackupId;
use crate::chunk::ChunkTable;
use crate::cluster::Cluster;
use crate::error::{BackupError, Result};
use crate::manifest::{File, Manifest, Summary};
use crate::manifest_object;
use crate::store::Put;
use crate::writer::{ChunkWriter, Known, WriterOptions};

/// A backup that is being taken. [`Cluster::begin`] makes one.
///
/// Dropped without [`publish`](Draft::publish) it leaves packs behind that belong to no backup; `expire`
/// removes them after a day, or [`abandon`](Draft::abandon) at once.
#[derive(Debug)]
pub struct Draft {
    cluster: Cluster,
    /// What is known of the backup so far. Fill in what becomes known; its figures are computed.
    pub summary: Summary,
    known: Arc<Known>,
}

impl Draft {
    pub(crate) async fn begin(
        cluster: Cluster,
        mut summary: Summary,
        base: Option<&Manifest>,
    ) -> Result<Self> {
        if summary.server.system_identifier == 0 {
            summary.server.system_identifier = cluster.system_identifier();
        }
        if summary.server.system_identifier != cluster.system_identifier() {
            return Err(BackupError::Misuse(
                "the server is of another cluster than its place in the repository",
            ));
        }
        let mut needs: Vec<BackupId> = base.iter().map(|base| base.summary.id.clone()).collect();
        needs.extend(base.iter().flat_map(|base| base.summary.needs().cloned()));
        cluster.mark(&cluster.running_path(&summary.id), &needs).await?;
        let known = Arc::new(base.map(Known::of).unwrap_or_default());
        Ok(Draft { cluster, summary, known })
    }

    /// The backup's name.
    pub fn id(&self) -> &BackupId {
        &self.summary.id
    }

    /// A writer for its files' bytes. One is enough: it uses several threads.
    ///
    /// # Errors
    /// zstd could not be set up.
    pub fn writer(&self, options: WriterOptions) -> Result<ChunkWriter> {
        self.writer_of_run("", options)
    }

    /// A writer whose packs bear the name of this run, because another run may have left some under the same
    /// backup.
    pub(crate) fn writer_of_run(&self, run: &str, options: WriterOptions) -> Result<ChunkWriter> {
        let stem = format!("{}/{run}", self.cluster.packs_path(&self.summary.id));
        let of_pages = self.summary.kind.is_physical();
        ChunkWriter::new(Arc::clone(&self.cluster.inside), stem, Arc::clone(&self.known), of_pages, options)
    }

    /// Publishes it: from here on it exists. What was written before is durable by then, because each put
    /// was.
    ///
    /// # Errors
    /// An operation of the store failed: then it does not exist, or exists and says so in the next list.
    pub async fn publish(self, files: Vec<File>, content: ChunkTable) -> Result<Summary> {
        let manifest = Manifest::new(self.summary, files, content);
        let path = self.cluster.manifest_path(&manifest.summary.id);
        let object: Bytes = manifest_object::sealed(&self.cluster.inside.ring, &path, &manifest)?;
        match self.cluster.store().put_if_absent(&path, object).await? {
            Put::Created => {}
            // With credentials that may only put, a put that was sent twice cannot be told from another's:
            // but nobody else has this name.
            Put::Exists if self.cluster.inside.writes_only => {}
            Put::Exists => return Err(BackupError::damaged(path, "another manifest is in its place")),
        }
        let receipt = self.cluster.receipt_path(&manifest.summary.id);
        self.cluster.put_sealed(&receipt, manifest.summary.id.as_str().as_bytes()).await?;
        // The marker protects what a published backup protects by itself.
        if !self.cluster.inside.writes_only {
            let marker = self.cluster.running_path(&manifest.summary.id);
            if let Err(error) = self.cluster.store().discard(&marker).await {
                tracing::debug!(%error, "the marker of a published backup stays until the next expiry");
            }
        }
        Ok(manifest.summary)
    }

    /// Gives it up, and removes what was written of it.
    ///
    /// # Errors
    /// The credentials may not delete, or an operation of the store failed: the next expiry removes the rest.
    pub async fn abandon(self) -> Result<()> {
        let directory = self.cluster.path(&format!("backups/{}", self.summary.id));
        for object in self.cluster.store().list(&directory).await? {
            self.cluster.store().delete(&object.path).await?;
        }
        self.cluster.store().remove_empty_directory(&directory);
        self.cluster.store().discard(&self.cluster.running_path(&self.summary.id)).await
    }
}
