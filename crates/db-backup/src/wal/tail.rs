//! The end of the log that is not a whole segment yet: pieces, as a receiver stores them.
//!
//! Each run of a receiver has a directory of its own in that of the segment, because another run cuts
//! elsewhere. The longest run counts. Once the whole segment is stored nobody looks at its pieces any more.

use bytes::Bytes;

use crate::error::Result;
use crate::store::Object;
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

    /// Removes the pieces of a segment that is stored whole. Where the credentials may not, they stay and do
    /// no harm.
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
    let mut longest = longest(cluster, segment).await?;
    let Some(header) = SegmentHeader::of(&longest) else { return Ok(None) };
    longest.resize(header.segment_bytes as usize, 0);
    let unfit = SegmentHeader::unfit(segment, cluster.system_identifier(), &longest);
    let directory = directory(cluster, segment);
    unfit.map_or(Ok(Some(Bytes::from(longest))), |what| Err(BackupError::damaged(directory, what)))
}

/// Copies to another repository what a restore could use: the pieces of segments that neither has whole,
/// where the other one has fewer. How many segments they are of.
pub(crate) async fn copy(from: &Cluster, to: &Cluster) -> Result<u64> {
    let mut copied = 0;
    for segment in tails(from).await? {
        if from.has_wal(WalName::Segment(segment)).await? || to.has_wal(WalName::Segment(segment)).await? {
            continue;
        }
        let bytes = longest(from, segment).await?;
        if bytes.len() > longest(to, segment).await?.len() {
            Tail::new(to).put(segment, 0, &bytes).await?;
            copied += 1;
        }
    }
    Ok(copied)
}

/// The pieces of a segment, as the store has them.
pub(crate) async fn pieces(cluster: &Cluster, segment: Segment) -> Result<Vec<Object>> {
    cluster.store().list(&directory(cluster, segment)).await
}

/// The longest run of pieces of a segment, from its beginning on.
async fn longest(cluster: &Cluster, segment: Segment) -> Result<Vec<u8>> {
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
    Ok(longest)
}

/// The segments of which there are pieces.
pub(crate) async fn tails(cluster: &Cluster) -> Result<Vec<Segment>> {
    let names = cluster.store().directories(&cluster.path("tail")).await?;
    Ok(names.iter().filter_map(|name| name.parse::<WalName>().ok()?.segment()).collect())
}

fn directory(cluster: &Cluster, segment: Segment) -> String {
    cluster.path(&format!("tail/{segment}"))
}
