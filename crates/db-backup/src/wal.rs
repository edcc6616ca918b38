//! The archive of the write-ahead log: into it, out of it, and whether it is whole.

mod control;
mod error;
mod fetch;
mod history;
mod marks;
mod pages;
mod push;
mod receive;
mod refill;
mod spool;
mod status;
mod tail;

use crate::Cluster;
use crate::error::Result as StoreResult;
use crate::physical_error::PhysicalError;
use crate::wal_name::Segment;
use crate::wal_store::StoredWal;

pub use error::WalError;
pub use fetch::{FATAL_EXIT, FetchConfig, Fetched, fetch, fetched_before};
pub use history::{Ancestor, History};
pub use push::{PushConfig, Pushed, push, pushed_before};
pub use receive::{ReceiveConfig, Received, receive};
pub use refill::{needs_refill, refill};
pub use status::{ArchiveFinding, ArchiveStatus, ServerSide, TimelineStatus, status};

pub(crate) use control::system_of;
pub(crate) use spool::end_beside_log_of;
pub(crate) use tail::{copy as copy_tails, pieces as tail_pieces, tails};

/// The whole segments of a timeline, in order.
pub(crate) async fn segments(cluster: &Cluster, timeline: u32) -> StoreResult<Vec<Segment>> {
    Ok(segments_of(&cluster.wal(timeline).await?))
}

/// The whole segments among what is stored, in order.
pub(crate) fn segments_of(stored: &[StoredWal]) -> Vec<Segment> {
    let mut segments: Vec<Segment> = stored.iter().filter_map(|stored| stored.name.segment()).collect();
    segments.dedup();
    segments
}

/// The histories of all timelines that have one.
pub(crate) async fn histories(cluster: &Cluster) -> Result<Vec<History>, PhysicalError> {
    let mut histories = Vec::new();
    for (timeline, content) in cluster.histories().await? {
        histories.push(History::parse(timeline, &String::from_utf8_lossy(&content))?);
    }
    Ok(histories)
}
