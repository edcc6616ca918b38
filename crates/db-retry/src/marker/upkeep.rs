//! Removes the marker rows of transactions that nobody asks for any more, and says where their table is
//! missing.

use std::time::Duration;

use db_core::{Ground, Part, Result, Running, SqlState};
use diesel_async::AsyncPgConnection;

use crate::{RetryConfig, marker};

/// A row is needed while somebody may ask for it: far less than an hour.
const KEPT: Duration = Duration::from_secs(3_600);

/// Between two removals of one process. Several processes may remove: each row is removed once.
const EVERY: Duration = Duration::from_secs(600);

/// So many in one statement, which holds no lock that a transaction waits for.
const AT_ONCE: u32 = 5_000;

/// What removes old marker rows beside where every transaction is marked; none where not every one is.
///
/// ```
/// use db_retry::{RetryConfig, marker};
///
/// assert!(marker::part(&RetryConfig::default()).is_none());
/// let part = marker::part(&RetryConfig { commit_markers: true, ..RetryConfig::default() });
/// assert_eq!(part.unwrap().name, "commit markers");
/// ```
pub fn part(retry: &RetryConfig) -> Option<Part> {
    let schema = retry.marker_schema.clone();
    retry.commit_markers.then(|| {
        Part::named("commit markers").starting(move |ground| async move {
            let job = ground.clone();
            ground.spawn(async move {
                loop {
                    match remove(&job, schema.as_deref()).await {
                        Ok(()) => {}
                        Err(error) if error.sqlstate() == Some(SqlState::UNDEFINED_TABLE) => tracing::warn!(
                            %error,
                            "DB_COMMIT_MARKERS is on and its table is missing: every transaction fails until it is there"
                        ),
                        Err(error) => tracing::debug!(%error, "old commit markers stay until the next look"),
                    }
                    tokio::time::sleep(EVERY).await;
                }
            });
            Ok(Running::new())
        })
    })
}

async fn remove(ground: &Ground, schema: Option<&str>) -> Result<()> {
    let mut conn = ground.connect_direct().await?;
    while remove_some(&mut conn, schema).await? >= AT_ONCE as usize {}
    Ok(())
}

async fn remove_some(conn: &mut AsyncPgConnection, schema: Option<&str>) -> Result<usize> {
    match schema {
        None => marker::forget(conn, KEPT, AT_ONCE).await,
        Some(schema) => marker::forget_in(conn, schema, KEPT, AT_ONCE).await,
    }
}
