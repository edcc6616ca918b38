//! Waits until a restored server has reached its target, and says which point that is.
//!
//! The server is the one that runs on the directory: its address is read from its `postmaster.pid`, so that
//! no URL of another server can be taken for it. Recovery has ended once the server has removed
//! `recovery.signal`.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use db_core::{DatabaseUrl, Endpoint};
use serde::Serialize;

use super::place::server_on;
use crate::physical_error::PhysicalError;
use crate::session::{Dial, Session, SessionError};

/// The point that a restored server has reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reached {
    /// Whether it takes writes; else it waits at the target and answers reads.
    pub takes_writes: bool,
    /// The timeline that it writes; `None` where it takes no writes.
    pub timeline: Option<u32>,
    /// The position up to which the log was replayed, as in `16/B374D848`; `None` where it was started again
    /// since.
    pub position: Option<String>,
    /// The newest commit that was replayed; `None` where there was none behind the backup, or it was started
    /// again since.
    pub newest_commit: Option<DateTime<Utc>>,
}

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(200);

/// Waits until the server on this directory has ended its recovery, or waits at its target. It is logged in
/// to as `login` says: its user, password and database count, and its address does not.
///
/// A server that is not started yet is waited for, too.
///
/// # Errors
/// [`PhysicalError::Ended`] where the server that was seen is gone; [`PhysicalError::NotReady`] where it does
/// not get there within `within`, with what it answers.
///
/// # Cancel safety
/// Dropping the future stops the waiting.
pub async fn reached(
    directory: &Path,
    login: &DatabaseUrl,
    dial: &dyn Dial,
    within: Duration,
) -> Result<Reached, PhysicalError> {
    let began = Instant::now();
    let mut was_seen = false;
    loop {
        let said = match address(directory) {
            None if was_seen => return Err(PhysicalError::Ended { directory: directory.to_owned() }),
            None => "no server runs on it: start it".to_owned(),
            Some(endpoint) => {
                was_seen = true;
                match look(directory, &login.clone().with_endpoint(endpoint), dial).await {
                    Ok(Some(reached)) => return Ok(reached),
                    Ok(None) => "it still replays".to_owned(),
                    Err(error) => error.to_string(),
                }
            }
        };
        if began.elapsed() >= within {
            return Err(PhysicalError::NotReady { waited: within, said });
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Tells the server on this directory that its settings have changed, once [`tidy`](super::tidy) has taken
/// those of the restore out. Else it has them until it is started again.
///
/// # Errors
/// [`PhysicalError::Ended`] where no server runs on it, [`PhysicalError::Session`] where the role may not.
///
/// # Cancel safety
/// Dropping the future may leave it told.
pub async fn reload(directory: &Path, login: &DatabaseUrl, dial: &dyn Dial) -> Result<(), PhysicalError> {
    let Some(endpoint) = address(directory) else {
        return Err(PhysicalError::Ended { directory: directory.to_owned() });
    };
    let mut session = Session::open_for_sql(&login.clone().with_endpoint(endpoint), dial).await?;
    session.value("SELECT pg_catalog.pg_reload_conf()").await?;
    session.close().await;
    Ok(())
}

/// Whether the recovery of a restored directory is still to begin or to end.
pub(super) fn still_recovers(directory: &Path) -> bool {
    ["recovery.signal", "standby.signal"].iter().any(|name| directory.join(name).exists())
}

/// Where the server on a directory listens: at its socket, else at its address.
pub(super) fn address(directory: &Path) -> Option<Endpoint> {
    server_on(directory)?;
    endpoint(&fs::read_to_string(directory.join("postmaster.pid")).ok()?)
}

/// The address in the text of a `postmaster.pid`.
fn endpoint(text: &str) -> Option<Endpoint> {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let port = lines.get(3)?.parse().ok()?;
    let host = match (*lines.get(4)?, *lines.get(5)?) {
        ("", "*" | "0.0.0.0") => "127.0.0.1",
        ("", "::") => "::1",
        ("", host) => host,
        (socket, _) => socket,
    };
    Some(Endpoint::new(host, port))
}

async fn look(directory: &Path, url: &DatabaseUrl, dial: &dyn Dial) -> Result<Option<Reached>, SessionError> {
    let mut session = Session::open_for_sql(url, dial).await?;
    let sql = "SELECT pg_catalog.pg_is_in_recovery(), pg_catalog.pg_last_wal_replay_lsn()::text, pg_catalog.to_char(\
               pg_catalog.pg_last_xact_replay_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')";
    let rows = session.rows(sql).await?;
    let field = |at: usize| rows.first().and_then(|row| row.get(at).cloned().flatten());
    let takes_writes = field(0).as_deref() == Some("f");
    let timeline = if takes_writes {
        let file = "SELECT pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn())";
        let file = session.value(file).await?;
        file.get(..8).and_then(|timeline| u32::from_str_radix(timeline, 16).ok())
    } else if session.value("SELECT pg_catalog.pg_get_wal_replay_pause_state()").await? == "paused" {
        None
    } else {
        session.close().await;
        return Ok(None);
    };
    session.close().await;
    // What the server says and what is on the disk must agree.
    if takes_writes && still_recovers(directory) {
        return Ok(None);
    }
    let (position, newest_commit) = (field(1), field(2).and_then(|text| text.parse().ok()));
    Ok(Some(Reached { takes_writes, timeline, position, newest_commit }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(socket: &str, address: &str, expected: &str) {
        let text = format!("4711\n/data\n1764339000\n5433\n{socket}\n{address}\n  1 2\nready   \n");
        assert_eq!(endpoint(&text), Some(Endpoint::new(expected, 5433)), "{text}");
    }

    #[test]
    fn a_server_is_reached_at_its_socket_or_else_at_its_address() {
        check("/run/postgresql", "localhost", "/run/postgresql");
        check("", "10.0.0.7", "10.0.0.7");
        check("", "*", "127.0.0.1");
        check("", "::", "::1");
        assert_eq!(endpoint("4711\n/data\n"), None, "it has just begun to write the file");
    }

    #[test]
    fn recovery_lasts_until_its_signal_is_gone() {
        let home = tempfile::tempdir().unwrap();
        assert!(!still_recovers(home.path()));
        fs::write(home.path().join("recovery.signal"), "").unwrap();
        assert!(still_recovers(home.path()));
    }
}
