//! The end of the log that is not a whole segment yet: pieces, as a receiver stores them.
//!
//! Each run of a receiver has a directory of its own in that of the segment, because another run cuts elsewhere. The
//! longest run counts. Once the whole segment is stored nobody looks at its pieces any more.

use bytes::Bytes;

use crate::error::Result;
use crate::wal_name::{Segment, WalName};
use crate::wal_page::SegmentHeader;
use crate::{BackupError, Cluster};

/// Stores the pieces of one run.
#[derive(Debug, Clone)]
pub(super) struct Tail {
    cluster: Cluster,
    run: String,
}

impl Tail {
    pub(super) fn new(cluster: &Cluster) -> Tail {
        Tail { cluster: cluster.clone(), run: format!("{:016x}", rand::random::<u64>()) }
    }

    /// Stores the bytes of a segment from `offset` on. They are durable when this returns.
    pub(super) async fn put(&self, segment: Segment, offset: u32, bytes: &[u8]) -> Result<()> {
        let path = format!("{}/{}/{offset:08X}", directory(&self.cluster, segment), self.run);
        self.cluster.put_sealed(&path, bytes).await?;
        Ok(())
    }

    /// Removes the pieces of a segment that is stored whole. Where the credentials may not, they stay and do no harm.
    pub(super) async fn forget(&self, segment: Segment) -> Result<()> {
        for object in self.cluster.store().list(&directory(&self.cluster, segment)).await? {
            match self.cluster.store().delete(&object.path).await {
                Err(BackupError::Denied { .. }) => return Ok(()),
                deleted => deleted?,
            }
        }
        Ok(())
    }
}

/// What is stored of a segment that is not whole, filled up with zeros to the size that its own header names.
pub(super) async fn assembled(cluster: &Cluster, segment: Segment) -> Result<Option<Bytes>> {
    let mut longest: Vec<u8> = Vec::new();
    let directory = directory(cluster, segment);
    for run in cluster.store().directories(&directory).await? {
        let mut objects = cluster.store().list(&format!("{directory}/{run}")).await?;
        objects.sort_by(|one, other| one.path.cmp(&other.path));
        let mut content: Vec<u8> = Vec::new();
        for object in objects {
            let offset = object.path.rsplit('/').next().and_then(|name| usize::from_str_radix(name, 16).ok());
            // What comes behind a hole is of no use: replay ends there.
            if offset != Some(content.len()) {
                break;
            }
            let Some(piece) = cluster.get_sealed(&object.path).await? else { break };
            content.extend_from_slice(&piece);
        }
        if content.len() > longest.len() {
            longest = content;
        }
    }
    let Some(header) = SegmentHeader::of(&longest) else { return Ok(None) };
    longest.resize(header.segment_bytes as usize, 0);
    let unfit = SegmentHeader::unfit(segment, cluster.system_identifier(), &longest);
    unfit.map_or(Ok(Some(Bytes::from(longest))), |what| Err(BackupError::damaged(directory, what)))
}

/// The segments of which there are pieces.
pub(crate) async fn tails(cluster: &Cluster) -> Result<Vec<Segment>> {
    let names = cluster.store().directories(&cluster.path("tail")).await?;
    Ok(names.iter().filter_map(|name| name.parse::<WalName>().ok()?.segment()).collect())
}

fn directory(cluster: &Cluster, segment: Segment) -> String {
    cluster.path(&format!("tail/{segment}"))
}
