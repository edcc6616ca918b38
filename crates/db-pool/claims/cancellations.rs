//! pool-1: callers are dropped at every poll of everything that they can do; the next borrower must not
//! notice.

use std::ops::AsyncFnMut;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use db_pool::{ConnectConfig, Connection, Connector, Pool, PoolConfig, Reset};
use db_testkit::{Polled, TestDatabase, poll_times};
use diesel::sql_types::{BigInt, Text};
use diesel::{IntoSql, QueryableByName, sql_query};
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use serde_json::json;

use crate::leftovers::{leave, leave_nothing};
use crate::{Figure, Size};

/// Callers at once, on fewer connections.
const CALLERS: u64 = 6;
const CONNECTIONS: usize = 4;

/// What the next borrower found.
#[derive(Default)]
struct Found {
    cancelled: AtomicU64,
    completed: AtomicU64,
    open_transactions: AtomicU64,
    foreign_rows: AtomicU64,
    foreign_settings: AtomicU64,
    foreign_locks: AtomicU64,
    failures: AtomicU64,
}

#[derive(QueryableByName)]
struct Probe {
    #[diesel(sql_type = BigInt)]
    token: i64,
    #[diesel(sql_type = Text)]
    search_path: String,
    #[diesel(sql_type = BigInt)]
    locks: i64,
}

pub(crate) fn measure(size: Size) -> Figure {
    let wanted = if size == Size::Nightly { 1_000_000 } else { 20_000 };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (figure, named, far, always, nothing) = runtime.block_on(async {
        let left = if size == Size::Nightly { 200_000 } else { 5_000 };
        let far = Duration::from_millis(20);
        (
            cancel(wanted).await,
            leave(left, Duration::ZERO, Reset::WhenSeen).await,
            leave(left / 100, far, Reset::WhenSeen).await,
            leave(left / 2, Duration::ZERO, Reset::Always).await,
            leave_nothing(left / 2).await,
        )
    });
    let found = named.found + far.found + always.found + nothing.found;
    let mut detail = figure.detail;
    detail["leftovers"] = json!([named.detail, far.detail, always.detail, nothing.detail]);
    Figure { value: figure.value + found as f64, holds: figure.holds && found == 0, detail, ..figure }
}

async fn cancel(wanted: u64) -> Figure {
    let database = TestDatabase::empty().await.unwrap();
    let mut owner = database.connect().await.unwrap();
    owner.batch_execute("CREATE TABLE ledger (n bigint); CREATE TABLE other (n bigint)").await.unwrap();
    let url: db_core::DatabaseUrl = database.url().parse().unwrap();
    let endpoint = url.hosts()[0].clone();
    let config = PoolConfig { max: CONNECTIONS.try_into().unwrap(), ..PoolConfig::default() };
    let pool = Pool::open(Connector::new(url, ConnectConfig::default()), endpoint, config);
    let found = Arc::new(Found::default());
    let callers: Vec<_> = (0..CALLERS)
        .map(|caller| tokio::spawn(call(pool.clone(), Arc::clone(&found), caller, wanted)))
        .collect();
    for caller in callers {
        caller.await.unwrap();
    }
    let status = pool.status();
    let count = |counter: &AtomicU64| AtomicU64::load(counter, Ordering::Relaxed);
    let wrong = count(&found.open_transactions)
        + count(&found.foreign_rows)
        + count(&found.foreign_settings)
        + count(&found.foreign_locks)
        + count(&found.failures);
    let cancelled = count(&found.cancelled);
    Figure {
        value: wrong as f64,
        unit: "borrowers that found anything",
        holds: wrong == 0 && cancelled >= wanted,
        detail: json!({
            "cancelled": cancelled,
            "completed": count(&found.completed),
            "open_transactions": count(&found.open_transactions),
            "foreign_rows": count(&found.foreign_rows),
            "foreign_settings": count(&found.foreign_settings),
            "foreign_locks": count(&found.foreign_locks),
            "failed_borrowers": count(&found.failures),
            "salvaged": status.salvages,
            "closed": status.abandoned,
            "connections_opened": status.creates(),
        }),
    }
}

/// The line whose removal this must notice: `answer_everything(inner, slot, unanswered)` in `clean`, in
/// `returning.rs`.
///
/// Does everything that can be cancelled, in turns, each dropped after one poll, after two, and so on until
/// it is done.
async fn call(pool: Pool, found: Arc<Found>, caller: u64, wanted: u64) {
    let mut token = i64::try_from(caller).unwrap() << 40;
    while AtomicU64::load(&found.cancelled, Ordering::Relaxed) < wanted {
        each_poll(&pool, &found, &mut token, transaction).await;
        each_poll(&pool, &found, &mut token, savepoint).await;
        each_poll(&pool, &found, &mut token, rows).await;
        each_poll(&pool, &found, &mut token, raw_begin).await;
        each_poll(&pool, &found, &mut token, copy_out).await;
        each_poll(&pool, &found, &mut token, settings).await;
        each_poll(&pool, &found, &mut token, pipelined).await;
    }
}

async fn each_poll(
    pool: &Pool,
    found: &Found,
    token: &mut i64,
    mut work: impl AsyncFnMut(&mut AsyncPgConnection) -> diesel::QueryResult<()>,
) {
    for polls in 1.. {
        let mut conn = match pool.get().await {
            Ok(conn) => conn,
            Err(_) => {
                found.failures.fetch_add(1, Ordering::Relaxed);
                return;
            }
        };
        let polled = poll_times(work(&mut conn), polls).await.unwrap();
        drop(conn);
        *token += 1;
        probe(pool, found, *token).await;
        match polled {
            Polled::Cancelled => found.cancelled.fetch_add(1, Ordering::Relaxed),
            Polled::Ready { .. } => {
                found.completed.fetch_add(1, Ordering::Relaxed);
                return;
            }
        };
    }
}

/// Borrows a connection and looks at everything that an earlier borrower could have left.
async fn probe(pool: &Pool, found: &Found, token: i64) {
    let add = |counter: &AtomicU64, wrong: bool| {
        counter.fetch_add(u64::from(wrong), Ordering::Relaxed);
    };
    let probed: Result<Probe, Box<dyn std::error::Error + Send + Sync>> = async {
        let mut conn: Connection = pool.get().await?;
        // A statement that is its own transaction, sent as text, starts when that does; the division fails in
        // another.
        let alone = "SELECT 1 / (transaction_timestamp() = statement_timestamp())::int";
        add(&found.open_transactions, conn.batch_execute(alone).await.is_err());
        Ok(sql_query(
            "SELECT $1 AS token, current_setting('search_path') AS search_path, \
             (SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND (locktype = 'advisory' \
              OR relation IN ('ledger'::regclass, 'other'::regclass))) AS locks",
        )
        .bind::<BigInt, _>(token)
        .get_result(&mut conn)
        .await?)
    }
    .await;
    match probed {
        Ok(probe) => {
            add(&found.foreign_rows, probe.token != token);
            add(&found.foreign_settings, probe.search_path.contains("evil"));
            add(&found.foreign_locks, probe.locks > 0);
        }
        Err(error) => {
            eprintln!("a borrower failed: {error}");
            add(&found.failures, true);
        }
    }
}

async fn transaction(conn: &mut AsyncPgConnection) -> diesel::QueryResult<()> {
    conn.transaction(async |conn| {
        sql_query("INSERT INTO ledger VALUES (1)").execute(conn).await?;
        Ok(())
    })
    .await
}

async fn savepoint(conn: &mut AsyncPgConnection) -> diesel::QueryResult<()> {
    conn.transaction(async |conn| {
        conn.transaction(async |conn| sql_query("INSERT INTO other VALUES (1)").execute(conn).await).await?;
        Ok(())
    })
    .await
}

async fn rows(conn: &mut AsyncPgConnection) -> diesel::QueryResult<()> {
    let rows: Vec<i64> =
        diesel::select(diesel::dsl::sql::<BigInt>("generate_series(1, 3000)")).get_results(conn).await?;
    assert_eq!(rows.len(), 3_000);
    Ok(())
}

async fn raw_begin(conn: &mut AsyncPgConnection) -> diesel::QueryResult<()> {
    conn.batch_execute("BEGIN").await?;
    conn.batch_execute("INSERT INTO ledger VALUES (2); SAVEPOINT s; INSERT INTO other VALUES (2)").await
}

async fn copy_out(conn: &mut AsyncPgConnection) -> diesel::QueryResult<()> {
    // The client library refuses the answer and stops reading it; the server goes on sending.
    let _ = conn.batch_execute("COPY (SELECT generate_series(1, 20000)) TO STDOUT").await;
    Ok(())
}

async fn settings(conn: &mut AsyncPgConnection) -> diesel::QueryResult<()> {
    conn.batch_execute("SET search_path = evil").await?;
    sql_query("SELECT pg_advisory_lock(pg_backend_pid())").execute(conn).await?;
    Ok(())
}

async fn pipelined(conn: &mut AsyncPgConnection) -> diesel::QueryResult<()> {
    let (mut one, mut two) = (&*conn, &*conn);
    let first = diesel::select(1_i64.into_sql::<BigInt>());
    let second = diesel::select(2_i64.into_sql::<BigInt>());
    let both =
        futures_util::future::try_join(first.get_result::<i64>(&mut one), second.get_result::<i64>(&mut two));
    assert_eq!(both.await?, (1, 2));
    Ok(())
}
