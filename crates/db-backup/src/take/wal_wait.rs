//! Waits until the log that a backup needs is in the archive, and says which segment is not.

use std::time::{Duration, Instant};

use db_core::Lsn;

use super::facts::Server;
use crate::manifest::WalRange;
use crate::physical_error::PhysicalError;
use crate::session::{Session, SessionError};
use crate::wal_name::{Segment, WalName};
use crate::{BackupError, Cluster};

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(100);

/// Waits for each segment of the range.
pub(super) async fn archived(
    cluster: &Cluster,
    session: &mut Session,
    wal: &WalRange,
    server: &Server,
    within: Duration,
) -> Result<(), PhysicalError> {
    let began = Instant::now();
    let mut pause = PAUSE;
    let needed = needed(wal, server.facts.wal_segment_bytes);
    loop {
        let missing = match crate::wal::segments(cluster, wal.timeline).await {
            Ok(there) => needed.iter().find(|segment| !there.contains(segment)),
            // These credentials may only put: then the server's own word has to do.
            Err(BackupError::Misuse(_)) => {
                let last = last_archived(session).await?;
                needed.last().filter(|wanted| last.is_none_or(|last| last < **wanted))
            }
            Err(error) => return Err(error.into()),
        };
        let Some(segment) = missing.copied() else { return Ok(()) };
        if began.elapsed() >= within {
            let failure = failure(session).await?;
            return Err(PhysicalError::NotArchived { segment, waited: began.elapsed(), failure });
        }
        tokio::time::sleep(pause.min(within)).await;
        // A listing costs a store more than a look at the server.
        pause = (pause * 2).min(Duration::from_secs(2));
    }
}

/// The segments of a range.
pub(crate) fn needed(wal: &WalRange, segment_bytes: u32) -> Vec<Segment> {
    let mut segment = Segment::containing(wal.timeline, wal.start, segment_bytes);
    let last = Segment::containing(wal.timeline, Lsn(wal.stop.0.saturating_sub(1)), segment_bytes);
    let mut all = vec![segment];
    while segment < last {
        segment = segment.next(segment_bytes);
        all.push(segment);
    }
    all
}

/// What the server says of the last file that could not be archived, where that is newer than its last
/// success.
async fn failure(session: &mut Session) -> Result<Option<String>, SessionError> {
    let sql = "SELECT format('%s failures, the last at %s with %s', failed_count, last_failed_time, last_failed_wal) \
               FROM pg_stat_archiver WHERE last_failed_time > coalesce(last_archived_time, '-infinity')";
    let rows = session.rows(sql).await?;
    Ok(rows.into_iter().next().and_then(|row| row.into_iter().next().flatten()))
}

/// The segment that the server has archived last.
async fn last_archived(session: &mut Session) -> Result<Option<Segment>, SessionError> {
    let rows = session.rows("SELECT last_archived_wal FROM pg_stat_archiver").await?;
    let name = rows.into_iter().next().and_then(|row| row.into_iter().next().flatten());
    Ok(name.and_then(|name| name.split('.').next()?.parse::<WalName>().ok()?.segment()))
}
