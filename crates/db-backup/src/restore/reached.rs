//! Waits until a restored server takes writes, and says which point it has reached.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use db_core::{DatabaseUrl, Lsn};
use serde::Serialize;

use crate::physical_error::PhysicalError;
use crate::session::{Dial, Session, SessionError};

/// The point that a restored server has reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reached {
    /// The timeline that it writes now.
    pub timeline: u32,
    /// The position up to which the log was replayed, as in `16/B374D848`.
    pub position: String,
    /// The newest commit that was replayed; `None` where there was none behind the backup.
    pub newest_commit: Option<DateTime<Utc>>,
}

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(200);

/// Waits until the server that was started on restored data has ended its recovery. Until then it lets nobody in.
///
/// # Errors
/// [`PhysicalError::NotReady`] where it does not within `within`, with what it answers; the server's log says more.
///
/// # Cancel safety
/// Dropping the future stops the waiting.
pub async fn reached(url: &DatabaseUrl, dial: &dyn Dial, within: Duration) -> Result<Reached, PhysicalError> {
    let began = Instant::now();
    loop {
        let said = match look(url, dial).await {
            Ok(Some(reached)) => return Ok(reached),
            Ok(None) => "it still replays".to_owned(),
            Err(error) => error.to_string(),
        };
        if began.elapsed() >= within {
            return Err(PhysicalError::NotReady { waited: within, said });
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn look(url: &DatabaseUrl, dial: &dyn Dial) -> Result<Option<Reached>, SessionError> {
    let mut session = Session::open(url, dial).await?;
    let sql = "SELECT pg_is_in_recovery(), pg_last_wal_replay_lsn()::text, to_char(pg_last_xact_replay_timestamp() AT TIME \
               ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')";
    let rows = session.rows(sql).await?;
    let field = |at: usize| rows.first().and_then(|row| row.get(at).cloned().flatten());
    if field(0).as_deref() != Some("f") {
        return Ok(None);
    }
    let identity = session.rows("IDENTIFY_SYSTEM").await?;
    let timeline = identity.first().and_then(|row| row.get(1).cloned().flatten());
    session.close().await;
    Ok(Some(Reached {
        timeline: timeline.and_then(|text| text.parse().ok()).unwrap_or(0),
        position: field(1).unwrap_or_else(|| Lsn::default().to_string()),
        newest_commit: field(2).and_then(|text| text.parse().ok()),
    }))
}
