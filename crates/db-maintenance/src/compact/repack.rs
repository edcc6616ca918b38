//! REPACK (CONCURRENTLY), since PostgreSQL 19: the server makes a new copy beside the load, and swaps.
//!
//! It is no work of ours but for what it does not say before it begins: who would see the table empty, and
//! what makes it fail at its end. The swap waits for its lock only briefly; where it does not get it, all of
//! the copy is in vain, so it is tried a few times, with pauses that grow.

use std::time::{Duration, Instant};

use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::disk::room;
use super::preflight::Target;
use super::{Compact, Compacted};
use crate::error::{MaintenanceError, Result};
use crate::session::{Session, is_conflict, millis};

/// The first version that has it.
pub(super) const SINCE: i32 = 190_000;

/// A session that has had its snapshot for longer reads on, and would see the table empty if it came to it
/// after the swap.
pub(super) const OLDEST_SNAPSHOT: Duration = Duration::from_secs(5);

/// So often the whole table is copied, where the swap did not get its lock.
const ATTEMPTS: u32 = 5;

/// Behind the first attempt; twice as long behind each other one.
const PAUSE: Duration = Duration::from_secs(1);

/// How the server finds a row again that was changed while it copied: none, or what is missing.
const IDENTITY: &str = "SELECT CASE c.relreplident \
    WHEN 'f' THEN 'its replica identity is FULL: ALTER TABLE … REPLICA IDENTITY DEFAULT' \
    WHEN 'n' THEN 'it has REPLICA IDENTITY NOTHING: ALTER TABLE … REPLICA IDENTITY DEFAULT' \
    WHEN 'i' THEN CASE WHEN EXISTS (SELECT FROM pg_catalog.pg_index AS i WHERE i.indrelid = c.oid \
      AND i.indisreplident) THEN NULL ELSE 'the index of its replica identity is gone' END \
    ELSE CASE WHEN EXISTS (SELECT FROM pg_catalog.pg_index AS i WHERE i.indrelid = c.oid AND i.indisprimary \
      AND i.indimmediate) THEN NULL ELSE 'it has no primary key that is not deferrable: add one, or name a \
      unique index, ALTER TABLE … REPLICA IDENTITY USING INDEX' END END \
    FROM pg_catalog.pg_class AS c WHERE c.oid = $1";

const INVALID: &str = "SELECT 'its index ' || quote_ident(x.relname) || ' is INVALID: REINDEX or drop it' \
    FROM pg_catalog.pg_index AS i JOIN pg_catalog.pg_class AS x ON x.oid = i.indexrelid \
    WHERE i.indrelid = $1 AND NOT i.indisvalid";

/// What the server is set to that leaves no slot for it.
const SERVER: &str = "SELECT CASE WHEN pg_catalog.current_setting('wal_level') = 'minimal' \
    THEN 'wal_level is minimal: set it to replica' \
    WHEN pg_catalog.current_setting('max_repack_replication_slots', true) = '0' \
    THEN 'max_repack_replication_slots is 0' END";

/// Everything that makes the server refuse it.
pub(super) async fn refusals(
    client: &Client,
    table: u32,
    persistence: &str,
    refusals: &mut Vec<String>,
) -> Result<()> {
    if persistence == "u" {
        refusals.push("it is unlogged, which REPACK (CONCURRENTLY) does not do: say --move-rows".to_owned());
    }
    let identity: Option<String> = client.query_one(IDENTITY, &[&table]).await?.try_get(0)?;
    let server: Option<String> = client.query_one(SERVER, &[]).await?.try_get(0)?;
    refusals.extend(identity.into_iter().chain(server).map(|why| format!("{why}, or say --move-rows")));
    for row in client.query(INVALID, &[&table]).await? {
        refusals.push(row.try_get(0)?);
    }
    Ok(())
}

/// Has the server do it. When `stop` ends, it is cancelled where `probes` can: then nothing has changed.
pub(super) async fn run(
    compact: &Compact,
    session: &mut Session<'_>,
    target: &Target,
    probes: Option<&Client>,
    stop: impl Future<Output = ()> + Send,
) -> Result<Compacted> {
    let started = Instant::now();
    let what = format!("REPACK of {}", compact.table);
    let pid = session.client().query_one("SELECT pg_catalog.pg_backend_pid()", &[]).await?;
    let pid: i32 = pid.try_get(0)?;
    let mut stopped = None;
    let repacks = async {
        let done = repeated(compact, session, target, &what, started).await;
        (done, session)
    };
    let mut repacks = std::pin::pin!(repacks);
    let (done, session) = tokio::select! {
        biased;
        done = &mut repacks => done,
        () = stop => {
            stopped = Some("it was told to stop, and the table is as it was".to_owned());
            if let Some(probes) = probes {
                probes.execute("SELECT pg_catalog.pg_cancel_backend($1)", &[&pid]).await?;
            }
            repacks.await
        }
    };
    if !session.client().is_closed() {
        session.client().batch_execute("SET statement_timeout = 0").await?;
    }
    match done {
        Ok(()) => stopped = None,
        Err(error) if is_cancelled(&error) => {
            stopped = stopped.or(Some("its time was over, and the table is as it was".to_owned()));
        }
        Err(error) => return Err(room(error, &what)),
    }
    let after = compact.look(session).await?.plan;
    Ok(Compacted {
        bytes_before: target.plan.bytes,
        bytes_after: after.bytes,
        live_bytes: after.live_bytes,
        rows_moved: 0,
        elapsed: started.elapsed(),
        stopped,
    })
}

async fn repeated(
    compact: &Compact,
    session: &mut Session<'_>,
    target: &Target,
    what: &str,
    started: Instant,
) -> Result<()> {
    let sql = format!("REPACK (CONCURRENTLY, ANALYZE) {}", target.name);
    let waits = session.patience().lock_timeout;
    let mut pause = PAUSE;
    for attempt in 1..=ATTEMPTS {
        if let Some(budget) = compact.config.budget {
            let left = budget.saturating_sub(started.elapsed());
            let limit = format!("SET statement_timeout = {}", millis(left));
            session.client().batch_execute(&limit).await?;
        }
        match session.alone(what, Some(&target.owner), &sql, waits).await {
            Err(error) if is_conflict(&error) => tracing::debug!(attempt, %error, "the swap had no lock"),
            ended => return ended,
        }
        if attempt < ATTEMPTS {
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
    }
    Err(MaintenanceError::Busy { what: what.to_owned(), waited: waits, attempts: ATTEMPTS })
}

fn is_cancelled(error: &MaintenanceError) -> bool {
    let MaintenanceError::Step { source, .. } = error else { return false };
    source.code() == Some(&SqlState::QUERY_CANCELED)
}
