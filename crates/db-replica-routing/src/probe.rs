//! One question to one node: its role, its timeline, and how far its log is.

use std::time::{Duration, Instant};

use db_core::{Class, Classify, Error, Lsn, Result, Role};
use diesel::sql_types::{BigInt, Bool, Double, Nullable, Text};
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};

/// All that a server can tell: the name, the expression, and the type.
///
/// A primary's timeline is in the name of its current log file: the control file's is stale after a
/// promotion. A standby's is the one that it streams, which takes the role `pg_read_all_stats` to see, or the
/// control file's. Each function stands in a column of its own, because one that is refused makes the whole
/// statement fail.
///
/// Source: the PostgreSQL manual, "System Administration Functions" and `pg_stat_wal_receiver`.
const COLUMNS: [(&str, &str, &str); 9] = [
    ("system", "(SELECT system_identifier FROM pg_catalog.pg_control_system())", "bigint"),
    (
        "started",
        "(extract(epoch FROM pg_catalog.pg_postmaster_start_time()) OPERATOR(pg_catalog.*) 1000000)::bigint",
        "bigint",
    ),
    (
        "timeline",
        "CASE WHEN NOT r THEN ('x' OPERATOR(pg_catalog.||) pg_catalog.left(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 8))::bit(32)::bigint END",
        "bigint",
    ),
    (
        "checkpointed",
        "CASE WHEN r THEN (SELECT timeline_id FROM pg_catalog.pg_control_checkpoint())::bigint END",
        "bigint",
    ),
    ("streamed", "(SELECT received_tli FROM pg_catalog.pg_stat_wal_receiver)::bigint", "bigint"),
    (
        "flushed",
        "CASE WHEN NOT r THEN pg_catalog.pg_current_wal_flush_lsn() END::pg_catalog.text",
        "pg_catalog.text",
    ),
    (
        "replayed",
        "CASE WHEN r THEN pg_catalog.pg_last_wal_replay_lsn() END::pg_catalog.text",
        "pg_catalog.text",
    ),
    (
        "age_seconds",
        "extract(epoch FROM pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) pg_catalog.pg_last_xact_replay_timestamp())::double precision",
        "double precision",
    ),
    (
        "has_all_received",
        "r AND coalesce(pg_catalog.pg_last_wal_receive_lsn() OPERATOR(pg_catalog.=) pg_catalog.pg_last_wal_replay_lsn(), false) \
            AND EXISTS (SELECT FROM pg_catalog.pg_stat_wal_receiver)",
        "boolean",
    ),
];

/// Some of the columns, a bit each.
type Columns = u16;

const ALL: Columns = (1 << COLUMNS.len()) - 1;

/// The question for these columns; the others are null.
fn question(columns: Columns) -> String {
    let column = |(place, (name, expression, kind)): (usize, &(&str, &str, &str))| match columns & 1 << place
    {
        0 => format!("NULL::{kind} AS {name}"),
        _ => format!("{expression} AS {name}"),
    };
    let asked: Vec<_> = COLUMNS.iter().enumerate().map(column).collect();
    format!("SELECT r AS in_recovery, {} FROM pg_catalog.pg_is_in_recovery() AS r", asked.join(", "))
}

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
    checkpointed: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    streamed: Option<i64>,
    #[diesel(sql_type = Nullable<Text>)]
    flushed: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    replayed: Option<String>,
    #[diesel(sql_type = Nullable<Double>)]
    age_seconds: Option<f64>,
    #[diesel(sql_type = Nullable<Bool>)]
    has_all_received: Option<bool>,
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
#[derive(Debug, Clone)]
pub(crate) struct Manner {
    /// In a transaction each: a pooler in transaction mode gives another server to each statement, and even
    /// between preparing one and running it.
    in_transaction: bool,
    columns: Columns,
    question: String,
    /// What it was said of that the server refuses it.
    told: Columns,
}

impl Manner {
    pub(crate) fn new(in_transaction: bool) -> Self {
        Manner { in_transaction, columns: ALL, question: question(ALL), told: 0 }
    }

    /// Asks for everything again.
    pub(crate) fn ask_all(&mut self) {
        self.ask_for(ALL);
    }

    fn ask_for(&mut self, columns: Columns) {
        if self.columns != columns {
            (self.columns, self.question) = (columns, question(columns));
        }
    }
}

/// Asks; where the server refuses the question, for what it does tell: it lacks a function, or we may not
/// call it.
///
/// # Errors
/// The connection's: do not use it again.
///
/// # Cancel safety
/// Dropping the future leaves the statement under way: do not use the connection again.
pub(crate) async fn ask(conn: &mut AsyncPgConnection, manner: &mut Manner) -> Result<Answer> {
    // A promotion between two of its functions makes the question fail as well: only what fails twice is
    // refused.
    for _ in 0..2 {
        match put(conn, manner.in_transaction, &manner.question).await {
            Err(error) if is_refusal(&error) => tracing::debug!(%error, "the question was refused"),
            answered => return answered,
        }
    }
    let mut granted = 0;
    for (place, (column, ..)) in COLUMNS.into_iter().enumerate() {
        match put(conn, manner.in_transaction, &question(1 << place)).await {
            Ok(_) => granted |= 1 << place,
            Err(error) if is_refusal(&error) => {
                let told = manner.told & 1 << place != 0;
                manner.told |= 1 << place;
                if !told {
                    tracing::warn!(%error, "the server does not tell {column:?}: less is known of it");
                }
            }
            Err(error) => return Err(error),
        }
    }
    manner.ask_for(granted);
    put(conn, manner.in_transaction, &manner.question).await
}

fn is_refusal(error: &Error) -> bool {
    error.class() == Class::Permanent && error.report().is_some()
}

async fn put(conn: &mut AsyncPgConnection, in_transaction: bool, question: &str) -> Result<Answer> {
    let asked = Instant::now();
    if !in_transaction {
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
        let told = [timeline(row.timeline), timeline(row.checkpointed), streamed];
        Answer {
            role: if row.in_recovery { Role::Standby } else { Role::Primary },
            system: row.system.map(i64::cast_unsigned),
            started: row.started,
            timeline: told.into_iter().flatten().max().unwrap_or(0),
            streamed,
            position: row.flushed.or(row.replayed).and_then(|text| text.parse().ok()),
            age: row.age_seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds.max(0.0)).ok()),
            has_all_received: row.has_all_received.unwrap_or(false),
            asked,
        }
    }
}
