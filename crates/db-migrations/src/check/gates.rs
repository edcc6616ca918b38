//! Watches the locks of a statement that runs outside a transaction, and so holds none of them when it is
//! done.
//!
//! Such a statement waits for others before it goes on: CREATE INDEX CONCURRENTLY for old snapshots, DROP
//! INDEX CONCURRENTLY for whoever uses the table. Two sessions give it something to wait for, in turns, and
//! look at its locks while it waits. What does not wait, such as VACUUM, finds its tables locked and shows
//! what it asks for.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use diesel::sql_types::{Array, BigInt, Bool, Integer, Text};
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};

use super::error::CheckError;
use super::snapshot::{Kind, Snapshot};
use super::trace::Mode;

const POLL: Duration = Duration::from_millis(1);

/// What was seen of a statement outside a transaction.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// The strongest lock on each relation.
    pub(crate) modes: BTreeMap<i64, Mode>,
    /// How long it was made to wait.
    pub(crate) waited: Duration,
}

/// Two sessions that a statement has to wait for.
pub(crate) struct Gates {
    pub(crate) first: AsyncPgConnection,
    pub(crate) second: AsyncPgConnection,
}

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = BigInt)]
    relation: i64,
    #[diesel(sql_type = Array<Text>)]
    modes: Vec<String>,
    #[diesel(sql_type = Bool)]
    waits_for_us: bool,
}

/// The process that serves a connection.
pub(crate) async fn pid_of(conn: &mut AsyncPgConnection) -> Result<i32, CheckError> {
    #[derive(QueryableByName)]
    struct Pid {
        #[diesel(sql_type = Integer)]
        pid: i32,
    }
    Ok(sql_query("SELECT pg_backend_pid() AS pid").get_result::<Pid>(conn).await?.pid)
}

impl Gates {
    /// Runs a statement on `conn`, whose process is `pid`, and sees the locks that it takes on what `origin`
    /// has.
    ///
    /// The outer error is of the watching, the inner one of the statement.
    pub(crate) async fn watch(
        &mut self,
        conn: &mut AsyncPgConnection,
        pid: i32,
        sql: &str,
        origin: &Snapshot,
    ) -> Result<(Seen, diesel::QueryResult<()>), CheckError> {
        let mode = if waits_for_nobody(sql) { "SHARE UPDATE EXCLUSIVE" } else { "ACCESS SHARE" };
        let tables = names(origin);
        let mut seen = Seen::default();
        close(&mut self.first, mode, &tables).await;
        let mut statement = Box::pin(conn.batch_execute(sql));
        let result = loop {
            if let Ok(result) = tokio::time::timeout(POLL, &mut statement).await {
                break result;
            }
            if self.look(pid, &mut seen).await? {
                let since = Instant::now();
                close(&mut self.second, "ACCESS SHARE", &tables).await;
                open(&mut self.first).await?;
                std::mem::swap(&mut self.first, &mut self.second);
                seen.waited += since.elapsed();
            }
        };
        drop(statement);
        open(&mut self.first).await?;
        open(&mut self.second).await?;
        Ok((seen, result))
    }

    /// Notes the locks that the statement has or asks for; says whether it waits for the closed gate.
    async fn look(&mut self, pid: i32, seen: &mut Seen) -> Result<bool, CheckError> {
        let rows: Vec<Row> = sql_query(
            "SELECT coalesce(held.relation, 0)::int8 AS relation, coalesce(held.modes, '{}') AS modes, waits_for_us \
             FROM (SELECT pg_backend_pid() = ANY (pg_blocking_pids($1)) AS waits_for_us) waits \
             LEFT JOIN (SELECT relation, array_agg(mode) AS modes FROM pg_locks WHERE pid = $1 AND locktype = 'relation' \
                AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) GROUP BY relation) held ON true",
        )
        .bind::<Integer, _>(pid)
        .get_results(&mut self.first)
        .await?;
        for row in &rows {
            let strongest = row.modes.iter().filter_map(|name| Mode::from_pg_locks(name)).max();
            if let Some(mode) = strongest {
                let noted = seen.modes.entry(row.relation).or_insert(mode);
                *noted = mode.max(*noted);
            }
        }
        Ok(rows.iter().any(|row| row.waits_for_us))
    }
}

/// Whether a statement takes its locks without waiting for readers: it must meet a lock that stops it.
fn waits_for_nobody(sql: &str) -> bool {
    sql.split_whitespace()
        .next()
        .is_some_and(|word| word.eq_ignore_ascii_case("vacuum") || word.eq_ignore_ascii_case("cluster"))
}

fn names(origin: &Snapshot) -> String {
    let lockable = |kind: Kind| matches!(kind, Kind::Table | Kind::Partitioned);
    let names = origin.relations.values().filter(|relation| lockable(relation.kind));
    names.map(|relation| relation.full_name.as_str()).collect::<Vec<_>>().join(", ")
}

/// Takes a snapshot and locks on all tables, or on none where the statement has locked one for itself.
async fn close(conn: &mut AsyncPgConnection, mode: &str, tables: &str) {
    let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1";
    let lock = format!("LOCK TABLE {tables} IN {mode} MODE NOWAIT");
    if conn.batch_execute(begin).await.is_ok()
        && !tables.is_empty()
        && conn.batch_execute(&lock).await.is_err()
    {
        let _ = conn.batch_execute("ROLLBACK; BEGIN").await;
    }
}

async fn open(conn: &mut AsyncPgConnection) -> Result<(), CheckError> {
    Ok(conn.batch_execute("ROLLBACK").await?)
}
