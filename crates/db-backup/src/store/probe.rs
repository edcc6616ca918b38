//! Finds out whether a store keeps the promises that a repository rests on, before anything is kept in it.
//!
//! Some stores ignore the condition of a put, or check it and then write without holding anything in between.
//! Such a store would let two writers win. So it is refused, rather than worked around: every workaround
//! needs clocks that agree.

use bytes::Bytes;
use futures_util::future::join_all;

use super::{Put, Store};
use crate::chunk::hex;
use crate::error::{BackupError, Result};
use crate::seal::random;

/// How many writers race for one object, and how often.
const WRITERS: usize = 8;
const RACES: usize = 4;

/// What a store does not do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unsuitability {
    /// It wrote over an object that it was told to leave.
    Overwrites,
    /// It told several writers that each had created one object, or none.
    ManyWinners,
    /// What was written is not what is read.
    ReadsOther,
    /// A list leaves out what was written before.
    ListsLate,
    /// It answers in another way than a store does.
    Refuses,
}

impl Unsuitability {
    fn error(self) -> BackupError {
        let what = match self {
            Unsuitability::Overwrites => {
                "it writes over an object where it was told to write only if there is none"
            }
            Unsuitability::ManyWinners => {
                "of several writers of one object it told not exactly one that it won"
            }
            Unsuitability::ReadsOther => "it does not read what was written",
            Unsuitability::ListsLate => "its lists leave out what was written before",
            Unsuitability::Refuses => "it does not know puts that write only if there is none",
        };
        let way_out = "use one whose conditional puts are atomic: AWS S3, Google Cloud Storage, Azure Blob, R2, \
                       a newer MinIO or Ceph, or a local directory";
        BackupError::Unsuitable { what: what.to_owned(), way_out }
    }
}

impl Store {
    /// Whether the store keeps what a repository rests on: puts that write only where there is nothing are
    /// atomic, and what was written is read and listed at once. It writes a few small objects below `probe/`,
    /// and removes them where it may.
    ///
    /// # Errors
    /// [`BackupError::Unsuitable`] says what is missing; those of the single operations.
    pub async fn probe(&self) -> Result<()> {
        let directory = format!("probe/{}", hex(&random::<8>()?));
        let verdict = self.probe_below(&directory).await;
        for object in self.list(&directory).await.unwrap_or_default() {
            // What cannot be removed is a few bytes, and says nothing of the store's fitness.
            let _ = self.delete(&object.path).await;
        }
        match verdict? {
            None => Ok(()),
            Some(lack) => Err(lack.error()),
        }
    }

    async fn probe_below(&self, directory: &str) -> Result<Option<Unsuitability>> {
        let path = format!("{directory}/twice");
        let (first, second) = (Bytes::from_static(b"first"), Bytes::from_static(b"second"));
        match self.put_if_absent(&path, first.clone()).await {
            Err(BackupError::Denied { source, .. }) if is_unknown(&source) => {
                return Ok(Some(Unsuitability::Refuses));
            }
            put => {
                put?;
            }
        }
        let again = self.put_if_absent(&path, second).await?;
        if again == Put::Created || self.require(&path).await? != first {
            return Ok(Some(Unsuitability::Overwrites));
        }
        if !self.list(directory).await?.iter().any(|object| object.path == path) {
            return Ok(Some(Unsuitability::ListsLate));
        }
        for race in 0..RACES {
            let lack = self.race(&format!("{directory}/race-{race}")).await?;
            if lack.is_some() {
                return Ok(lack);
            }
        }
        Ok(None)
    }

    async fn race(&self, path: &str) -> Result<Option<Unsuitability>> {
        let writers = (0..WRITERS).map(|writer| async move {
            let bytes = Bytes::from(format!("writer {writer}"));
            self.put_if_absent(path, bytes.clone()).await.map(|put| (put == Put::Created).then_some(bytes))
        });
        let mut winners = Vec::new();
        for won in join_all(writers).await {
            winners.extend(won?);
        }
        let [winner] = winners.as_slice() else { return Ok(Some(Unsuitability::ManyWinners)) };
        let is_there = self.require(path).await?;
        Ok((is_there != *winner).then_some(Unsuitability::ReadsOther))
    }
}

fn is_unknown(error: &object_store::Error) -> bool {
    matches!(error, object_store::Error::NotSupported { .. } | object_store::Error::NotImplemented { .. })
}
