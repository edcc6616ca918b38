//! One question to one node: its role, its timeline, and how far its log is.

use std::time::{Duration, Instant};

use db_core::{Class, Classify, Error, Lsn, Result, Role};
use diesel::sql_types::{BigInt, Bool, Double, Nullable, Text};
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};

/// All that a server can tell.
///
/// A primary's timeline is in the name of its current log file: the control file's is stale after a promotion. A standby's
/// is the one that it streams, which takes the role `pg_read_all_stats` to see, or the control file's.
///
/// Source: the PostgreSQL manual, "System Administration Functions" and `pg_stat_wal_receiver`.
const FULL: &str = "SELECT r AS in_recovery, \
    (SELECT system_identifier FROM pg_control_system()) AS system, \
    (extract(epoch FROM pg_postmaster_start_time()) * 1000000)::int8 AS started, \
    CASE WHEN r THEN (SELECT timeline_id FROM pg_control_checkpoint())::int8 \
        ELSE ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int8 END AS timeline, \
    (SELECT received_tli FROM pg_stat_wal_receiver)::int8 AS streamed, \
    CASE WHEN r THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_flush_lsn() END::text AS position, \
    extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp())::float8 AS age_seconds, \
    r AND coalesce(pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn(), false) \
        AND EXISTS (SELECT FROM pg_stat_wal_receiver) AS has_all_received \
    FROM pg_is_in_recovery() AS r";

/// What every platform offers: the role, and a lag in time.
const BASIC: &str = "SELECT r AS in_recovery, NULL::int8 AS system, NULL::int8 AS started, NULL::int8 AS timeline, \
    NULL::int8 AS streamed, NULL::text AS position, \
    extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp())::float8 AS age_seconds, \
    false AS has_all_received FROM pg_is_in_recovery() AS r";

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = Bool)]
    in_recovery: bool,
    #[diesel(sql_type = Nullable<BigInt>)]
    system: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    started: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    timeline: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    streamed: Option<i64>,
    #[diesel(sql_type = Nullable<Text>)]
    position: Option<String>,
    #[diesel(sql_type = Nullable<Double>)]
    age_seconds: Option<f64>,
    #[diesel(sql_type = Bool)]
    has_all_received: bool,
}

/// How much a server is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Extent {
    #[default]
    Full,
    /// It refused the full question: it has no such functions, or we may not call them.
    Basic,
}

/// What a server told of itself.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Answer {
    pub(crate) role: Role,
    pub(crate) system: Option<u64>,
    pub(crate) started: Option<i64>,
    /// 0 where it does not tell.
    pub(crate) timeline: u32,
    /// The timeline that a standby receives now, where it receives and we may know.
    pub(crate) streamed: Option<u32>,
    pub(crate) position: Option<Lsn>,
    /// How long ago the last transaction that a standby has replayed was committed.
    pub(crate) age: Option<Duration>,
    /// Whether a standby has replayed all that it received, and goes on receiving.
    pub(crate) has_all_received: bool,
    pub(crate) asked: Instant,
}

/// How a server is asked.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Manner {
    pub(crate) extent: Extent,
    /// In a transaction each: a pooler in transaction mode gives another server to each statement, and even between
    /// preparing one and running it.
    pub(crate) in_transaction: bool,
    /// Whether it was said that the server refuses the full question.
    pub(crate) told: bool,
}

/// Asks; falls back to the basic question where the server refuses the full one.
///
/// # Errors
/// The connection's: do not use it again.
///
/// # Cancel safety
/// Dropping the future leaves the statement under way: do not use the connection again.
pub(crate) async fn ask(conn: &mut AsyncPgConnection, manner: &mut Manner) -> Result<Answer> {
    // A promotion between two of its functions makes the full question fail as well: only what fails twice is refused.
    for _ in 0..2 {
        match put(conn, *manner).await {
            Err(error) if manner.extent == Extent::Full && is_refusal(&error) => {
                tracing::debug!(%error, "the full question was refused");
            }
            answered => return answered,
        }
    }
    if !std::mem::replace(&mut manner.told, true) {
        tracing::warn!("the server does not tell its log position: lag is known in time only");
    }
    manner.extent = Extent::Basic;
    put(conn, *manner).await
}

fn is_refusal(error: &Error) -> bool {
    error.class() == Class::Permanent && error.report().is_some()
}

async fn put(conn: &mut AsyncPgConnection, manner: Manner) -> Result<Answer> {
    let question = match manner.extent {
        Extent::Full => FULL,
        Extent::Basic => BASIC,
    };
    let asked = Instant::now();
    if !manner.in_transaction {
        return Ok(Answer::new(sql_query(question).get_result(conn).await?, asked));
    }
    conn.batch_execute("BEGIN").await?;
    let row = sql_query(question).get_result(conn).await;
    // After an error it rolls back.
    conn.batch_execute("COMMIT").await?;
    Ok(Answer::new(row?, asked))
}

impl Answer {
    fn new(row: Row, asked: Instant) -> Self {
        let timeline = |number: Option<i64>| number.and_then(|number| u32::try_from(number).ok());
        let streamed = timeline(row.streamed).filter(|number| *number > 0);
        Answer {
            role: if row.in_recovery { Role::Standby } else { Role::Primary },
            system: row.system.map(i64::cast_unsigned),
            started: row.started,
            timeline: timeline(row.timeline).unwrap_or(0).max(streamed.unwrap_or(0)),
            streamed,
            position: row.position.and_then(|text| text.parse().ok()),
            age: row.age_seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds.max(0.0)).ok()),
            has_all_received: row.has_all_received,
            asked,
        }
    }
}
