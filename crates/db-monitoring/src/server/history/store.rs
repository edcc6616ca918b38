//! Keeps history in the database: one packed row for each minute and quarter, in daily partitions of a
//! schema of our own.
//!
//! Only the process that leads writes. What it may take is bounded in days, rows and bytes, and pruned
//! before the first row is written; where the server's disk is full it stops for an hour. Tables that are
//! not ours are never touched: what has our name and another owner is refused.

use std::sync::Arc;
use std::time::Duration;

use db_core::{Endpoint, Error, SqlState};
use diesel::sql_types::{BigInt, Bool, Double, Integer, Text};
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};

use crate::server::history::Finished;
use crate::server::{HistoryPoint, OpenConnection, Resolution, SkipReason, Skipped};

/// What history in the database may take.
///
/// ```
/// use db_monitoring::server::HistoryConfig;
///
/// let config = HistoryConfig { retention_days: 14, ..HistoryConfig::default() };
/// assert_eq!(config.most_bytes, 1 << 30);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistoryConfig {
    /// For how many days it is kept; today counts as one.
    pub retention_days: u32,
    /// How many bytes it may take; above, whole days go, the oldest first.
    pub most_bytes: u64,
    /// How many rows it may have; above, whole days go, the oldest first.
    pub most_rows: u64,
    /// How many bytes must be free on the server's disk. That is known only of a server on this machine,
    /// where the role may read `data_directory`; elsewhere history stops when the server says that its disk
    /// is full.
    pub least_free: u64,
}

impl Default for HistoryConfig {
    fn default() -> Self {
        HistoryConfig { retention_days: 30, most_bytes: 1 << 30, most_rows: 1_000_000, least_free: 1 << 30 }
    }
}

/// How often it is looked for what is to go.
const PRUNED_EVERY: Duration = Duration::from_secs(600);
/// How long nothing is written after the server's disk was full.
const AFTER_DISK_FULL: Duration = Duration::from_secs(3_600);
/// The pause after any other failure.
const AFTER_FAILURE: Duration = Duration::from_secs(60);
/// So many points wait in memory while they cannot be written.
const MOST_WAITING: usize = 2_000;

const SETTINGS: &str = "\
SET application_name = 'db-platform monitoring';\
SET statement_timeout = '5s';\
SET lock_timeout = '1s';\
SET idle_in_transaction_session_timeout = '10s';\
SET synchronous_commit = off;\
SET client_min_messages = warning;\
SET search_path = pg_catalog";

const TABLES: &str = "\
CREATE SCHEMA IF NOT EXISTS dbp;\
CREATE TABLE IF NOT EXISTS dbp.history (\
    at timestamptz NOT NULL, every int NOT NULL, server text NOT NULL, point text NOT NULL\
) PARTITION BY RANGE (at)";

/// That the schema may be another's is fine: others of ours share it. The table must be ours.
const OURS: &str = "\
SELECT c.relowner = (SELECT oid FROM pg_roles WHERE rolname = current_user) AS ours, c.relkind = 'p' AS \
partitioned \
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'dbp' AND c.relname = \
  'history'";

#[derive(QueryableByName)]
struct Ours {
    #[diesel(sql_type = Bool)]
    ours: bool,
    #[diesel(sql_type = Bool)]
    partitioned: bool,
}

#[derive(QueryableByName)]
struct Today {
    #[diesel(sql_type = Text)]
    day: String,
    #[diesel(sql_type = Text)]
    next: String,
    #[diesel(sql_type = Text)]
    partition: String,
}

/// The partitions of today and tomorrow, by the server's clock in UTC.
const DAYS: &str = "\
SELECT to_char(d, 'YYYY-MM-DD') AS day, to_char(d + interval '1 day', 'YYYY-MM-DD') AS next, \
       to_char(d, '\"history_\"YYYYMMDD') AS partition \
  FROM generate_series(date_trunc('day', now() AT TIME ZONE 'UTC'), \
                       date_trunc('day', now() AT TIME ZONE 'UTC') + interval '1 day', interval '1 day') \
                       AS d \
 WHERE to_regclass(to_char(d, '\"dbp.history_\"YYYYMMDD')) IS NULL";

#[derive(QueryableByName)]
struct Partition {
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Bool)]
    too_old: bool,
    #[diesel(sql_type = BigInt)]
    bytes: i64,
    #[diesel(sql_type = BigInt)]
    rows: i64,
}

/// The partitions that are ours, the newest first. Rows are counted as they are written, a row a minute and
/// one a quarter.
const PARTITIONS: &str = "\
SELECT format('%I.%I', n.nspname, c.relname) AS name, \
       c.relname < to_char((now() AT TIME ZONE 'UTC') - make_interval(days => $1 - 1), \
       '\"history_\"YYYYMMDD') AS too_old, \
       pg_total_relation_size(c.oid) AS bytes, greatest(c.reltuples::int8, s.n_live_tup, 0) AS rows \
  FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
  LEFT JOIN pg_stat_all_tables s ON s.relid = c.oid \
 WHERE i.inhparent = 'dbp.history'::regclass AND n.nspname = 'dbp' AND c.relname ~ '^history_[0-9]{8}$' \
   AND c.relowner = (SELECT oid FROM pg_roles WHERE rolname = current_user) ORDER BY c.relname DESC";

#[derive(QueryableByName)]
struct Kept {
    #[diesel(sql_type = Text)]
    point: String,
}

#[derive(QueryableByName)]
struct Recovering {
    #[diesel(sql_type = Bool)]
    recovering: bool,
}

/// Writes what is finished, while this process leads.
pub(crate) struct Store {
    open: OpenConnection,
    config: HistoryConfig,
    conn: Option<AsyncPgConnection>,
    endpoint: Option<Endpoint>,
    waiting: Finished,
    pruned: Option<tokio::time::Instant>,
    again: Option<tokio::time::Instant>,
}

impl Store {
    pub(crate) fn new(open: OpenConnection, config: HistoryConfig) -> Self {
        Store { open, config, conn: None, endpoint: None, waiting: Vec::new(), pruned: None, again: None }
    }

    /// Takes in points, and writes what waits.
    ///
    /// # Errors
    /// Why nothing is written; the points wait, up to a limit.
    pub(crate) async fn write(&mut self, points: Finished) -> Result<(), Skipped> {
        self.waiting.extend(points);
        let too_many = self.waiting.len().saturating_sub(MOST_WAITING);
        self.waiting.drain(..too_many);
        if self.again.is_some_and(|again| again > tokio::time::Instant::now()) {
            return Err(Skipped::new(SkipReason::TooSoon, "history waits after a failure"));
        }
        let written = self.try_write().await;
        if let Err(error) = &written {
            self.conn = None;
            let pause = if is_disk_full(error) { AFTER_DISK_FULL } else { AFTER_FAILURE };
            self.again = Some(tokio::time::Instant::now() + pause);
            tracing::warn!(%error, ?pause, "history is not written to the database for now");
        }
        written.map_err(Skipped::from)
    }

    /// What earlier processes kept: what fits into memory. Makes and prunes the tables first.
    pub(crate) async fn restore(&mut self) -> Result<Vec<(Resolution, Vec<HistoryPoint>)>, Skipped> {
        if self.again.is_some_and(|again| again > tokio::time::Instant::now()) {
            return Err(Skipped::new(SkipReason::TooSoon, "history waits after a failure"));
        }
        let (minutes, quarters) = (Resolution::Minute, Resolution::Quarter);
        Ok(vec![(minutes, self.read(minutes, 1_440).await?), (quarters, self.read(quarters, 2_880).await?)])
    }

    /// What was kept of a resolution, the newest `most`, oldest first.
    async fn read(&mut self, resolution: Resolution, most: i64) -> Result<Vec<HistoryPoint>, Skipped> {
        let read = async {
            let conn = self.connection().await?;
            let kept: Vec<Kept> =
                sql_query("SELECT point FROM dbp.history WHERE every = $1 ORDER BY at DESC LIMIT $2")
                    .bind::<Integer, _>(seconds(resolution))
                    .bind::<BigInt, _>(most)
                    .load(conn)
                    .await?;
            // A row that a later version wrote is not worth the rest.
            Ok::<_, Error>(
                kept.iter().rev().filter_map(|row| serde_json::from_str(&row.point).ok()).collect(),
            )
        };
        read.await.map_err(Skipped::from)
    }

    async fn try_write(&mut self) -> Result<(), Error> {
        let is_due = self.pruned.is_none_or(|pruned| pruned.elapsed() >= PRUNED_EVERY);
        if is_due && self.conn.is_some() {
            let (config, endpoint) = (self.config, self.endpoint.clone());
            let conn = self.connection().await?;
            if let Some(endpoint) = &endpoint {
                prepare(conn, endpoint, config).await?;
            }
            self.pruned = Some(tokio::time::Instant::now());
        }
        while let Some((resolution, point)) = self.waiting.as_slice().first().cloned() {
            let conn = self.connection().await?;
            match insert(conn, resolution, &point).await {
                // There is no partition for its day: it waited too long, or our clock is far off.
                Err(error) if error.sqlstate() == Some(SqlState::CHECK_VIOLATION) => {
                    tracing::warn!(at = point.at, "a point of history has no partition and is left out");
                }
                inserted => inserted?,
            }
            self.waiting.remove(0);
        }
        Ok(())
    }

    async fn connection(&mut self) -> Result<&mut AsyncPgConnection, Error> {
        if self.conn.is_none() {
            let (endpoint, mut conn) = (self.open)(None).await?;
            conn.batch_execute(SETTINGS).await?;
            prepare(&mut conn, &endpoint, self.config).await?;
            self.endpoint = Some(endpoint);
            self.pruned = Some(tokio::time::Instant::now());
            self.conn = Some(conn);
        }
        self.conn.as_mut().ok_or_else(|| Error::ConnectionLost { reason: "no connection".to_owned() })
    }
}

async fn insert(
    conn: &mut AsyncPgConnection,
    resolution: Resolution,
    point: &Arc<HistoryPoint>,
) -> Result<(), Error> {
    let text = serde_json::to_string(&**point).map_err(|error| Error::Value(Box::new(error)))?;
    sql_query("INSERT INTO dbp.history (at, every, server, point) VALUES (to_timestamp($1), $2, $3, $4)")
        .bind::<Double, _>(point.at)
        .bind::<Integer, _>(seconds(resolution))
        .bind::<Text, _>(&point.server)
        .bind::<Text, _>(text)
        .execute(conn)
        .await?;
    Ok(())
}

fn seconds(resolution: Resolution) -> i32 {
    match resolution {
        Resolution::TenSeconds => 10,
        Resolution::Minute => 60,
        Resolution::Quarter => 900,
    }
}

fn refused(reason: &str) -> Error {
    Error::Client(reason.to_owned().into())
}

/// Makes what is missing, and drops what is too old or too much.
async fn prepare(
    conn: &mut AsyncPgConnection,
    endpoint: &Endpoint,
    config: HistoryConfig,
) -> Result<(), Error> {
    let standby: Recovering = sql_query("SELECT pg_is_in_recovery() AS recovering").get_result(conn).await?;
    if standby.recovering {
        return Err(refused("history is kept in the primary only"));
    }
    conn.batch_execute(TABLES).await?;
    let ours: Vec<Ours> = sql_query(OURS).load(conn).await?;
    if !ours.iter().all(|it| it.ours && it.partitioned) {
        return Err(refused(
            "dbp.history is another role's or no partitioned table: drop it, or collect as its owner",
        ));
    }
    prune(conn, config).await?;
    if let Some(free) = free_space(conn, endpoint).await?
        && free < config.least_free
    {
        return Err(refused(&format!(
            "the server's disk has {free} bytes left: history is pruned and not written"
        )));
    }
    let missing: Vec<Today> = sql_query(DAYS).load(conn).await?;
    for Today { day, next, partition } in missing {
        conn.batch_execute(&format!(
            "CREATE TABLE IF NOT EXISTS dbp.{partition} PARTITION OF dbp.history \
             FOR VALUES FROM ('{day} 00:00:00+00') TO ('{next} 00:00:00+00')"
        ))
        .await?;
    }
    Ok(())
}

#[derive(QueryableByName)]
struct Directory {
    #[diesel(sql_type = Text)]
    setting: String,
}

/// How much room the server's disk has, where it is ours and we may look.
async fn free_space(conn: &mut AsyncPgConnection, endpoint: &Endpoint) -> Result<Option<u64>, Error> {
    if !endpoint.is_local() {
        return Ok(None);
    }
    // Whoever may not read it gets no row.
    let question = "SELECT setting FROM pg_settings WHERE name = 'data_directory' AND setting IS NOT NULL";
    let directories: Vec<Directory> = sql_query(question).load(conn).await?;
    let disk =
        directories.as_slice().first().and_then(|directory| rustix::fs::statvfs(&directory.setting).ok());
    Ok(disk.map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize)))
}

async fn prune(conn: &mut AsyncPgConnection, config: HistoryConfig) -> Result<(), Error> {
    let days = i32::try_from(config.retention_days.max(1)).unwrap_or(i32::MAX);
    let partitions: Vec<Partition> = sql_query(PARTITIONS).bind::<Integer, _>(days).load(conn).await?;
    let (mut bytes, mut rows) = (0_u64, 0_u64);
    for (place, partition) in partitions.iter().enumerate() {
        bytes = bytes.saturating_add(u64::try_from(partition.bytes).unwrap_or_default());
        rows = rows.saturating_add(u64::try_from(partition.rows).unwrap_or_default());
        let too_much = bytes > config.most_bytes || rows > config.most_rows;
        // The newest two are today's and tomorrow's: where they alone are too much, they are emptied.
        if place < 2 && too_much {
            conn.batch_execute(&format!("TRUNCATE {}", partition.name)).await?;
        } else if partition.too_old || too_much {
            conn.batch_execute(&format!("DROP TABLE {}", partition.name)).await?;
            tracing::debug!(partition = partition.name, "history that was too old or too much is gone");
        }
    }
    Ok(())
}

/// Whether the server has no room, in whichever way it says so.
fn is_disk_full(error: &Error) -> bool {
    error.sqlstate().is_some_and(|code| code.as_str() == "53100")
}
