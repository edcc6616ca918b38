//! Holes in the write-ahead log: found from names and manifests alone, so that looking costs a few lists.

use std::collections::BTreeMap;

use db_core::Lsn;
use serde::{Deserialize, Serialize};

use crate::chunk::hex;
use crate::cluster::Cluster;
use crate::error::{BackupError, Result};
use crate::finding::Finding;
use crate::manifest::Summary;
use crate::seal::random;
use crate::wal_name::{Segment, WalName};

/// What an expiry says before it removes any log: below this position holes are its doing.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Floor {
    since: u64,
}

impl Cluster {
    /// What is missing of the write-ahead log: for each backup what makes it consistent, and everything
    /// behind the oldest backup's start that is not the doing of an expiry. No segment is opened.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn wal_gaps(&self) -> Result<Vec<Finding>> {
        let backups = self.backups().await?;
        self.gaps_of(&backups.whole).await
    }

    pub(crate) async fn gaps_of(&self, backups: &[Summary]) -> Result<Vec<Finding>> {
        let Some(bytes) = backups.iter().filter(|backup| backup.wal.is_some()).map(segment_bytes).max()
        else {
            return Ok(Vec::new());
        };
        let floor = self.wal_floor().await?;
        let mut findings = Vec::new();
        let mut stored: BTreeMap<u32, Vec<Segment>> = BTreeMap::new();
        for timeline in self.timelines().await? {
            let segments = self.wal(timeline).await?.into_iter().filter(|wal| !wal.beside);
            let names: Vec<WalName> = segments.map(|wal| wal.name).collect();
            if timeline > 1 && !names.contains(&WalName::History(timeline)) && names.iter().any(is_segment) {
                findings.push(Finding::HistoryMissing { timeline });
            }
            stored.insert(timeline, names.iter().filter_map(WalName::segment).collect());
        }
        for backup in backups {
            findings.extend(lacks(backup, &stored));
        }
        let oldest = backups.iter().filter_map(|backup| backup.wal.as_ref()).map(|wal| wal.start).min();
        let since = oldest.unwrap_or_default().max(floor);
        for segments in stored.values() {
            findings.extend(holes(segments, since, bytes));
        }
        Ok(findings)
    }

    /// Says from where on the log is kept, before anything below is removed.
    pub(crate) async fn raise_floor(&self, since: Lsn) -> Result<()> {
        if self.wal_floor().await? >= since {
            return Ok(());
        }
        let text = serde_json::to_vec(&Floor { since: since.0 })
            .map_err(|error| BackupError::io("writing the floor of the log", error.into()))?;
        self.put_sealed(&self.path(&format!("floors/{}", hex(&random::<8>()?))), &text).await.map(drop)
    }

    /// The position below which holes are an expiry's doing.
    pub(crate) async fn wal_floor(&self) -> Result<Lsn> {
        let objects = self.store().list(&self.path("floors")).await?;
        let paths = objects.into_iter().map(|object| object.path).collect();
        let opened =
            self.get_all_sealed(paths).await?.into_iter().filter_map(|(_, opened)| opened.ok().flatten());
        let floors = opened.filter_map(|text| serde_json::from_slice::<Floor>(&text).ok());
        Ok(Lsn(floors.map(|floor| floor.since).max().unwrap_or(0)))
    }
}

fn is_segment(name: &WalName) -> bool {
    name.segment().is_some()
}

fn segment_bytes(backup: &Summary) -> u32 {
    backup.server.wal_segment_bytes
}

/// What a backup needs to be consistent, and is not there.
fn lacks(backup: &Summary, stored: &BTreeMap<u32, Vec<Segment>>) -> Option<Finding> {
    let wal = backup.wal.as_ref()?;
    let bytes = segment_bytes(backup);
    let there = stored.get(&wal.timeline).map(Vec::as_slice).unwrap_or_default();
    let mut segment = Segment::containing(wal.timeline, wal.start, bytes);
    // The stop position may be the first byte of a segment that holds nothing of the backup.
    let last = Segment::containing(wal.timeline, Lsn(wal.stop.0.saturating_sub(1)), bytes);
    while segment <= last {
        if there.binary_search(&segment).is_err() {
            return Some(Finding::WalMissing {
                from: segment,
                to: segment,
                needed_by: Some(backup.id.clone()),
            });
        }
        segment = segment.next(bytes);
    }
    None
}

/// The holes behind a position.
fn holes(segments: &[Segment], since: Lsn, bytes: u32) -> Vec<Finding> {
    let behind = segments.iter().filter(|segment| segment.next(bytes).start(bytes) > since);
    let mut found = Vec::new();
    let mut expected: Option<Segment> = None;
    for segment in behind {
        if let Some(from) = expected.filter(|expected| expected < segment) {
            let to = before(*segment, bytes);
            found.push(Finding::WalMissing { from, to, needed_by: None });
        }
        expected = Some(segment.next(bytes));
    }
    found
}

fn before(segment: Segment, bytes: u32) -> Segment {
    let start = segment.start(bytes).0.saturating_sub(1);
    Segment::containing(segment.timeline, Lsn(start), bytes)
}
