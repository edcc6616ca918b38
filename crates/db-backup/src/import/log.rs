//! The write-ahead log in an archive of pgBackRest's: what is there, and its way into ours.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};

use super::catalog::Source;
use super::codec::Codec;
use super::decode::{Form, Sha1};
use super::error::ImportError;
use crate::Cluster;
use crate::error::BackupError;
use crate::progress::{Observer, Progress};
use crate::settings::Compression;
use crate::wal_name::{Segment, WalName};
use crate::wal_store::WalPut;

/// No file of the log is larger: it is the largest segment that a server can have.
const MOST_BYTES: u64 = 1 << 30;
const SHA1_DIGITS: usize = 40;

/// A file of the log in their archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LogFile {
    pub(super) path: String,
    /// How many bytes it takes there.
    pub(super) bytes: u64,
    /// Its SHA-1, which its name has; `None` for small files, which have none.
    sha1: Option<String>,
    codec: Codec,
}

/// What their archive has of one cluster.
#[derive(Debug, Clone, Default)]
pub(super) struct Log(BTreeMap<WalName, LogFile>);

impl Log {
    /// What is in these directories.
    pub(super) async fn list(source: &Source, directories: &[String]) -> Result<Log, ImportError> {
        let mut log = Log::default();
        for directory in directories {
            for object in source.store.list(directory).await? {
                let file = object.path.rsplit('/').next().unwrap_or_default();
                // What is being written has a name of its own, which is none of the log's.
                let Some((name, sha1, codec)) = parse(file) else { continue };
                let file = LogFile { path: object.path, bytes: object.bytes, sha1, codec };
                if let Some(other) = log.0.insert(name, file.clone())
                    && other.sha1 != file.sha1
                {
                    let what = format!("{} has this name too, and other bytes", other.path);
                    return Err(ImportError::damaged(file.path, what));
                }
            }
        }
        Ok(log)
    }

    pub(super) fn has(&self, segment: Segment) -> bool {
        self.0.contains_key(&WalName::Segment(segment))
    }

    /// What a restore of a backup that begins with this segment could ask for: all that comes later, whatever
    /// the timeline, and all histories.
    pub(super) fn since(mut self, first: Segment) -> Log {
        let place = |segment: &Segment| (segment.log, segment.number);
        self.0.retain(|name, _| match name {
            WalName::Segment(segment) | WalName::Partial(segment) | WalName::BackupHistory(segment, _) => {
                place(segment) >= place(&first)
            }
            WalName::History(_) => true,
        });
        self
    }

    /// These segments alone.
    pub(super) fn only(&self, segments: &BTreeSet<Segment>) -> Log {
        let wanted = |name: &WalName| name.segment().is_some_and(|segment| segments.contains(&segment));
        Log(self
            .0
            .iter()
            .filter(|(name, _)| wanted(name))
            .map(|(name, file)| (*name, file.clone()))
            .collect())
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &WalName> {
        self.0.keys()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.0.values().map(|file| file.bytes).sum()
    }

    /// Leaves out what our repository has already, but for these segments.
    pub(super) async fn lacking(
        mut self,
        cluster: &Cluster,
        but: &BTreeSet<Segment>,
    ) -> Result<Log, ImportError> {
        let mut there = BTreeSet::new();
        for timeline in cluster.timelines().await? {
            there.extend(
                cluster
                    .wal(timeline)
                    .await?
                    .into_iter()
                    .filter(|stored| !stored.beside)
                    .map(|stored| stored.name),
            );
        }
        let compared = |name: &WalName| name.segment().is_some_and(|segment| but.contains(&segment));
        self.0.retain(|name, _| !there.contains(name) || compared(name));
        Ok(self)
    }

    /// Reads each file, holds it against its checksum, and stores it, the oldest first; how many were not
    /// there yet.
    pub(super) async fn import(
        &self,
        source: &Source,
        cluster: &Cluster,
        compression: Compression,
        workers: usize,
        observer: &Observer,
    ) -> Result<u64, ImportError> {
        let total = Some(self.bytes());
        let (mut done, mut stored) = (0, 0);
        observer(Progress::Bytes { done, total });
        let files = self.0.iter().map(|(name, file)| async move {
            let bytes = read(source, file).await?;
            Ok::<_, ImportError>((cluster.put_wal(*name, bytes, compression).await?, file.bytes))
        });
        let mut files = std::pin::pin!(stream::iter(files).buffered(workers.max(1)));
        while let Some((put, bytes)) = files.try_next().await? {
            done += bytes;
            stored += u64::from(put == WalPut::Stored);
            observer(Progress::Bytes { done, total });
        }
        Ok(stored)
    }
}

async fn read(source: &Source, file: &LogFile) -> Result<Bytes, ImportError> {
    let stored = source.store.require(&file.path).await?;
    let form = Form { passphrase: source.log_key.clone(), codec: file.codec, raw: false };
    let expected = file.sha1.clone();
    let read = tokio::task::spawn_blocking(move || {
        let plain = form.whole(&stored, MOST_BYTES).map_err(|error| error.to_string())?;
        let mut sha1 = Sha1::new();
        sha1.add(&plain);
        match expected {
            Some(expected) if expected != sha1.finish() => {
                Err("its SHA-1 is not what its name says".to_owned())
            }
            _ => Ok(Bytes::from(plain)),
        }
    });
    let read = read.await.map_err(|_| BackupError::PipelineEnded)?;
    read.map_err(|what| ImportError::damaged(&file.path, what))
}

/// What a file's name says: `NAME-SHA1.zst`, or the name alone for histories.
fn parse(file: &str) -> Option<(WalName, Option<String>, Codec)> {
    let codec = Codec::of_file(file);
    let file = file.strip_suffix(codec.suffix())?;
    match file.split_once('-') {
        None => match file.parse().ok()? {
            name @ (WalName::History(_) | WalName::BackupHistory(..)) => Some((name, None, codec)),
            WalName::Segment(_) | WalName::Partial(_) => None,
        },
        Some((name, sha1)) => {
            let name = name.parse().ok()?;
            let fits = sha1.len() == SHA1_DIGITS && sha1.bytes().all(|byte| byte.is_ascii_hexdigit());
            fits.then(|| (name, Some(sha1.to_owned()), codec))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_their_archive_holds_is_known_by_name() {
        let sum = "a2bd8fac15fa6bdb4aa34be2e9ba5d2851b6fca7";
        let check = |file: &str, name: Option<&str>, codec: Codec| {
            let parsed = parse(file);
            assert_eq!(parsed.as_ref().map(|(name, _, _)| name.to_string()).as_deref(), name, "{file}");
            assert!(parsed.is_none_or(|(_, _, found)| found == codec), "{file}");
        };
        let segment = "000000010000000A000000FF";
        check(&format!("{segment}-{sum}.zst"), Some(segment), Codec::Zst);
        check(&format!("{segment}-{sum}"), Some(segment), Codec::None);
        let partial = format!("{segment}.partial");
        check(&format!("{partial}-{sum}.gz"), Some(&partial), Codec::Gz);
        check("00000002.history", Some("00000002.history"), Codec::None);
        check(
            &format!("{segment}.00000028.backup"),
            Some(&format!("{segment}.00000028.backup")),
            Codec::None,
        );
        check(&format!("{segment}-{sum}.zst.pgbackrest.tmp"), None, Codec::None);
        check(&format!("{segment}-abc.zst"), None, Codec::None);
        check(segment, None, Codec::None);
        check("archive.info", None, Codec::None);
    }
}
