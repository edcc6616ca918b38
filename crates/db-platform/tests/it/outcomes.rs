//! What became of a transaction is told rightly, whatever answers in the server's place and whatever its work
//! does.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use db_platform::{Class, Classify, Config, Db, Environment, Error, Resolve, Result};
use db_testkit::{Cluster, CommitCut, Proxy, TestDatabase, at_commit, until};
use diesel::sql_query;
use diesel_async::{AsyncPgConnection, SimpleAsyncConnection};

use crate::Number;

const LEDGER: &str = "CREATE TABLE ledger (n int)";

async fn number(conn: &mut AsyncPgConnection, sql: &str) -> i64 {
    use diesel_async::RunQueryDsl;
    sql_query(sql).get_result::<Number>(conn).await.unwrap().n
}

async fn rows(conn: &mut AsyncPgConnection) -> i64 {
    number(conn, "SELECT count(*) AS n FROM ledger").await
}

/// A cluster with a ledger, which may have markers.
async fn cluster() -> (Cluster, AsyncPgConnection) {
    with_ledger(Cluster::builder().start().await.unwrap()).await
}

async fn with_ledger(cluster: Cluster) -> (Cluster, AsyncPgConnection) {
    let mut conn = cluster.connect(0).await.unwrap();
    make_ledger(&mut conn).await;
    (cluster, conn)
}

async fn make_ledger(conn: &mut AsyncPgConnection) {
    conn.batch_execute(LEDGER).await.unwrap();
    conn.batch_execute(db_platform::retry::marker::TABLE).await.unwrap();
}

/// A cluster whose COMMITs wait for a standby that is not there, and a connection whose own do not.
async fn waiting_cluster() -> (Cluster, AsyncPgConnection) {
    // From its start: after a reload, commits wait only once the checkpointer has read the setting, which
    // nothing tells.
    let cluster = Cluster::builder().setting("synchronous_standby_names", "absent").start().await.unwrap();
    let mut conn = cluster.connect(0).await.unwrap();
    conn.batch_execute("SET synchronous_commit = local").await.unwrap();
    make_ledger(&mut conn).await;
    (cluster, conn)
}

fn config(url: &str) -> Config {
    let mut config = Config::new(Environment::Test, url.parse().unwrap());
    config.router.writer_wait = Duration::from_secs(2);
    config.retry.resolve_timeout = Duration::from_secs(1);
    config
}

async fn insert(db: &Db, marked: bool) -> (Result<()>, u32) {
    let runs = AtomicU32::new(0);
    let build = db.build_transaction();
    let build = if marked { build.marked() } else { build };
    let result = build
        .run(async |conn| {
            runs.fetch_add(1, Ordering::Relaxed);
            conn.batch_execute("INSERT INTO ledger VALUES (1)").await.map_err(Error::from)
        })
        .await;
    (result, AtomicU32::load(&runs, Ordering::Relaxed))
}

/// Every new cluster is on timeline 1, and gives the same ids: only the system identifier tells them apart.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_clusters_word_is_no_proof() {
    for marked in [false, true] {
        let other = Cluster::builder().another_system().start().await.unwrap();
        let ((first, mut a), (second, mut b)) = (cluster().await, with_ledger(other).await);
        let proxy = Arc::new(Proxy::start(first.address_of(0).unwrap()).unwrap());
        let url = proxy.through(&first.primary_url()).unwrap();
        let (moved, other) = (Arc::clone(&proxy), second.address_of(0).unwrap());
        let moves = at_commit(move || moved.redirect(other).unwrap());
        // One connection only: what asks for the outcome is opened after the name has moved.
        let mut alone = config(&url);
        alone.pool.max = std::num::NonZeroUsize::MIN;
        let db = Db::connect_with(alone, [moves]).await.unwrap();
        proxy.cut_commits(1, CommitCut::Answered);
        let (result, runs) = insert(&db, marked).await;
        let error = result.unwrap_err();
        assert_eq!((error.class(), runs), (Class::Unknown, 1), "{marked}: {error}");
        assert_eq!((rows(&mut a).await, rows(&mut b).await), (1, 0), "{marked}: it is on one of them, once");
    }
}

/// The standby that must have it is not there: nobody may be told that it has.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_no_synchronous_standby_has_is_not_reported_as_committed() {
    let waiting = "SELECT count(*) AS n FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
    // Our own limit: the server goes on waiting, and nothing of ours may end that.
    let (first, mut conn) = waiting_cluster().await;
    let mut limited = config(&first.primary_url());
    limited.retry.transaction_timeout = Some(Duration::from_millis(300));
    let db = Db::connect(limited).await.unwrap();
    let (result, runs) = insert(&db, false).await;
    assert_eq!((result.unwrap_err().class(), runs), (Class::Unknown, 1));
    assert_eq!(number(&mut conn, waiting).await, 1, "the server goes on waiting for its standby");

    // An operator cancels the wait: the server answers as if nothing were missing. Or ends the session that
    // waits: the id says committed, and no standby has it.
    for end in ["pg_cancel_backend", "pg_terminate_backend"] {
        let (cluster, mut conn) = waiting_cluster().await;
        let db = Db::connect(config(&cluster.primary_url())).await.unwrap();
        let ends = async {
            until("it waits", async || number(&mut conn, waiting).await == 1).await;
            let sql =
                format!("SELECT count({end}(pid)) AS n FROM pg_stat_activity WHERE wait_event = 'SyncRep'");
            assert_eq!(number(&mut conn, &sql).await, 1);
        };
        let ((result, runs), ()) = tokio::join!(insert(&db, false), ends);
        assert_eq!((result.unwrap_err().class(), runs), (Class::Unknown, 1), "{end}");
        assert_eq!(rows(&mut conn).await, 1, "{end}");
    }
}

/// A pooler that lost its server keeps its client and says so: a ROLLBACK that goes through is no proof about
/// COMMIT.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_in_place_of_the_answer_to_commit_is_looked_into() {
    for code in [b"08006", b"57P01", b"58000", b"XX000", b"57P02", b"08003"] {
        for marked in [false, true] {
            let (cluster, mut conn) = cluster().await;
            let proxy = Proxy::start(cluster.address_of(0).unwrap()).unwrap();
            let db = Db::connect(config(&proxy.through(&cluster.primary_url()).unwrap())).await.unwrap();
            let said = String::from_utf8_lossy(code);
            proxy.cut_commits(1, CommitCut::Falsified(*code));
            let (result, runs) = insert(&db, marked).await;
            assert!(result.is_ok(), "{said} {marked}: {result:?}");
            assert_eq!((runs, rows(&mut conn).await), (1, 1), "{said} {marked}: it had committed");

            proxy.cut_commits(1, CommitCut::Refused(*code));
            let (result, runs) = insert(&db, marked).await;
            let retried = code.starts_with(b"08") || code.starts_with(b"57");
            assert_eq!(result.is_ok(), retried, "{said} {marked}: {result:?}");
            assert_eq!(runs, if retried { 2 } else { 1 }, "{said} {marked}: it had not");
            assert_eq!(rows(&mut conn).await, if retried { 2 } else { 1 }, "{said} {marked}");
        }
    }
}

/// Nothing identifies the transaction: then nobody may guess.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_in_place_of_the_answer_is_unknown_where_nothing_identifies_the_transaction() {
    let (cluster, mut conn) = cluster().await;
    let proxy = Proxy::start(cluster.address_of(0).unwrap()).unwrap();
    let db = Db::connect(config(&proxy.through(&cluster.primary_url()).unwrap())).await.unwrap();
    for code in [b"08006", b"58000"] {
        proxy.cut_commits(1, CommitCut::Falsified(*code));
        let before = rows(&mut conn).await;
        let told: Result<()> = db
            .build_transaction()
            .resolve(Resolve::Never)
            .run(async |conn| conn.batch_execute("INSERT INTO ledger VALUES (1)").await.map_err(Error::from))
            .await;
        assert_eq!(told.unwrap_err().class(), Class::Unknown);
        assert_eq!(rows(&mut conn).await, before + 1, "once");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_timeout_without_end_is_none() {
    let database = TestDatabase::empty().await.unwrap();
    let db = Db::connect(config(database.url())).await.unwrap().with_timeout(Duration::MAX);
    let one: Result<i64> =
        db.read(async |conn| Ok::<_, Error>(number(conn, "SELECT 1::int8 AS n").await)).await;
    assert_eq!(one.unwrap(), 1);
    let one: Result<i64> =
        db.transaction(async |conn| Ok::<_, Error>(number(conn, "SELECT 1::int8 AS n").await)).await;
    assert_eq!(one.unwrap(), 1);
    db.primary().await.unwrap();
}

/// What a helper inside the work sends, and whether the work then succeeds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_that_ends_its_transaction_is_told_so_and_not_run_again() {
    let conflict = "DO $$ BEGIN RAISE EXCEPTION 'planted' USING ERRCODE = '40001'; END $$";
    let ends = [
        "COMMIT",
        "ROLLBACK",
        "END",
        "ABORT",
        "COMMIT AND CHAIN",
        "ROLLBACK AND CHAIN",
        "COMMIT; BEGIN",
        "ROLLBACK; BEGIN",
        "BEGIN; INSERT INTO ledger VALUES (2); COMMIT",
        "INSERT INTO ledger VALUES (2); COMMIT; BEGIN; INSERT INTO ledger VALUES (3)",
        "ROLLBACK; BEGIN; INSERT INTO ledger VALUES (3)",
        "/* quietly */ cOmMiT -- so",
    ];
    for end in ends {
        for fails in [false, true] {
            let database = TestDatabase::empty().await.unwrap();
            let mut conn = database.connect().await.unwrap();
            conn.batch_execute(LEDGER).await.unwrap();
            let db = Db::connect(config(database.url())).await.unwrap();
            let runs = AtomicU32::new(0);
            let result: Result<()> = db
                .transaction(async |conn| {
                    runs.fetch_add(1, Ordering::Relaxed);
                    conn.batch_execute("INSERT INTO ledger VALUES (1)").await?;
                    conn.batch_execute(end).await?;
                    if fails { Ok(conn.batch_execute(conflict).await?) } else { Ok(()) }
                })
                .await;
            let kept = rows(&mut conn).await;
            let runs = AtomicU32::load(&runs, Ordering::Relaxed);
            // A conflict after a rollback that began anew left nothing behind: it may run again, and ends the
            // same way.
            let nothing_left = fails && end.starts_with("ROLLBACK") && end != "ROLLBACK";
            if nothing_left {
                assert!(result.is_err(), "{end} {fails}");
                assert_eq!(kept, 0, "{end} {fails}");
                continue;
            }
            assert!(matches!(result, Err(Error::TransactionEnded { .. })), "{end} {fails}: {result:?}");
            assert_eq!(runs, 1, "{end} {fails}");
            assert!(kept <= 2, "{end} {fails}: nothing is doubled");
            let mut next = db.primary().await.unwrap();
            assert_eq!(next.in_transaction(), Some(false), "{end} {fails}");
            assert_eq!(number(&mut next, "SELECT 1::int8 AS n").await, 1);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_that_was_dealt_with_in_a_savepoint_is_no_evidence() {
    let database = TestDatabase::empty().await.unwrap();
    let db = Db::connect(config(database.url())).await.unwrap();
    for code in ["55P03", "40001", "57P01", "40P01"] {
        let runs = AtomicU32::new(0);
        let planted = format!("DO $$ BEGIN RAISE EXCEPTION 'planted' USING ERRCODE = '{code}'; END $$");
        let result: Result<()> = db
            .transaction(async |conn| {
                runs.fetch_add(1, Ordering::Relaxed);
                conn.batch_execute("SAVEPOINT one").await?;
                conn.batch_execute(&planted).await.unwrap_err();
                conn.batch_execute("ROLLBACK TO one").await?;
                Err(Error::NotFound)
            })
            .await;
        assert!(matches!(result, Err(Error::NotFound)), "{code}: {result:?}");
        assert_eq!(AtomicU32::load(&runs, Ordering::Relaxed), 1, "{code}");
    }
}

/// The server ended the session and said why: the caller hears that, and what would happen again is not tried
/// again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_servers_last_words_reach_the_caller() {
    let database = TestDatabase::empty().await.unwrap();
    let mut config = config(database.url());
    config.connect.idle_in_transaction_timeout = Some(Duration::from_millis(100));
    let db = Db::connect(config).await.unwrap();
    let (runs, url) = (AtomicU32::new(0), Arc::<str>::from(database.url()));
    let error = db
        .transaction::<(), Error>(async |conn| {
            runs.fetch_add(1, Ordering::Relaxed);
            let pid = number(conn, "SELECT pg_backend_pid()::int8 AS n").await;
            // In a task of its own, because the futures of closures are not general enough for a
            // transaction's work.
            tokio::spawn(ended(Arc::clone(&url), pid)).await.unwrap();
            Ok(conn.batch_execute("SELECT 1").await?)
        })
        .await
        .unwrap_err();
    assert_eq!(error.sqlstate().map(|code| code.to_string()).as_deref(), Some("25P03"), "{error}");
    assert_eq!(error.class(), Class::Permanent);
    assert_eq!(AtomicU32::load(&runs, Ordering::Relaxed), 1);
}

/// Waits until the server has ended a session.
async fn ended(url: Arc<str>, pid: i64) {
    use diesel_async::AsyncConnection;
    let mut conn = AsyncPgConnection::establish(&url).await.unwrap();
    let sessions = format!("SELECT count(*) AS n FROM pg_stat_activity WHERE pid = {pid}");
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    while number(&mut conn, &sessions).await != 0 {
        assert!(std::time::Instant::now() < deadline, "the server ends the session");
    }
}
