//! A session's reads see what its transactions have committed, however far behind the standbys are.

use std::time::{Duration, Instant};

use db_platform::{Config, Db, Environment, Error, Resolve, Session, Written};
use db_testkit::{Cluster, CommitCut, Direction, Proxy, TestDatabase, until};
use diesel::sql_query;
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use futures_util::TryStreamExt;
use tokio::task::JoinHandle;

use crate::log::Log;
use crate::{Number, config, port, port_of};

diesel::table! { notes (n) { n -> BigInt, } }

/// The COMMIT of a note in `held` waits for whoever has the advisory lock 1.
const TABLES: &str = "
    CREATE TABLE notes (n int8 PRIMARY KEY DEFERRABLE INITIALLY DEFERRED);
    CREATE TABLE held (n int8);
    CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN PERFORM pg_advisory_xact_lock(1); RETURN NULL; END $$;
    CREATE CONSTRAINT TRIGGER wait AFTER INSERT ON held
        DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION wait()";

/// One standby, which has empty tables and then replays nothing more, and a primary behind a proxy.
async fn behind() -> (Cluster, Proxy, Db) {
    let cluster = Cluster::builder().standbys(1).start().await.unwrap();
    let proxy = Proxy::start(cluster.address_of(0).unwrap()).unwrap();
    let mut settings = config(&cluster);
    settings.url = proxy.through(&cluster.primary_url()).unwrap().parse().unwrap();
    settings.router.max_lag = Duration::from_secs(3_600);
    let db = Db::connect(settings).await.unwrap();
    db.transaction::<_, Error>(async |conn| Ok(conn.batch_execute(TABLES).await?)).await.unwrap();
    cluster.wait_until_caught_up(1).await.unwrap();
    let standby = port_of(&cluster.standby_urls()[0]);
    until("the standby answers", async || db.read(port).await.unwrap() == standby).await;
    cluster.pause_replay(1).await.unwrap();
    (cluster, proxy, db)
}

async fn note(db: &Db, n: i64) {
    let sql = format!("INSERT INTO notes VALUES ({n})");
    db.transaction::<_, Error>(async |conn| Ok(conn.batch_execute(&sql).await?)).await.unwrap();
}

/// A transaction of this session that is at its COMMIT, and stays there for as long as `observer` keeps the
/// lock.
async fn hold(db: &Db, session: &Session, observer: &mut AsyncPgConnection) -> JoinHandle<()> {
    observer.batch_execute("SELECT pg_advisory_lock(1)").await.unwrap();
    let db = db.in_session(session);
    let held = tokio::spawn(async move {
        let insert = async |conn: &mut AsyncPgConnection| {
            Ok::<_, Error>(conn.batch_execute("INSERT INTO held VALUES (1)").await?)
        };
        db.transaction(insert).await.unwrap();
    });
    waits_for_the_lock(observer).await;
    held
}

async fn waits_for_the_lock(observer: &mut AsyncPgConnection) {
    let sql = "SELECT count(*) AS n FROM pg_locks WHERE locktype = 'advisory' AND NOT granted";
    until("somebody waits for the lock", async || {
        sql_query(sql).get_result::<Number>(observer).await.unwrap().n == 1
    })
    .await;
}

async fn give_up(held: JoinHandle<()>) {
    held.abort();
    assert!(held.await.unwrap_err().is_cancelled());
}

/// Whether the primary answers a read of this session.
async fn reads_from_the_primary(db: &Db, session: &Session, cluster: &Cluster) -> bool {
    db.in_session(session).read(port).await.unwrap() == port_of(&cluster.primary_url())
}

/// That it has a moment, and no token.
#[track_caller]
fn is_moment(session: &Session) {
    assert!(matches!(session.written(), Some(Written::Before(_))), "{:?}", session.written());
}

async fn noted(db: &Db) -> i64 {
    let count =
        async |conn: &mut _| sql_query("SELECT count(*) AS n FROM notes").get_result::<Number>(conn).await;
    db.read(count).await.unwrap().n
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_sees_at_once_what_it_wrote_and_nobody_else_has_to() {
    let (cluster, _proxy, db) = behind().await;
    let own = Session::new();
    let session = db.in_session(&own);
    note(&session, 1).await;
    assert!(own.token().is_some(), "it came with COMMIT: {:?}", own.written());
    assert_eq!(noted(&session).await, 1);
    assert_eq!(noted(&session.clone().with_timeout(Duration::from_secs(10))).await, 1, "a clone is in it");
    let streamed: Vec<(i64,)> = session.stream::<(i64,)>(notes::table, 10).try_collect().await.unwrap();
    assert_eq!(streamed, [(1,)]);
    assert_eq!(noted(&db).await, 0, "the standby answers whoever is in no session");
    assert_eq!(noted(&db.session()).await, 0, "another session wrote nothing");

    cluster.resume_replay(1).await.unwrap();
    let standby = port_of(&cluster.standby_urls()[0]);
    until("its reads return to the standby", async || session.read(port).await.unwrap() == standby).await;
    assert_eq!(noted(&session).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_is_that_of_its_scope_and_goes_on_from_its_token() {
    let (_cluster, _proxy, db) = behind().await;
    let request = Session::new();
    request
        .clone()
        .scope(async {
            note(&db.session(), 1).await;
            assert_eq!(noted(&db.session()).await, 1);
        })
        .await;
    assert!(request.token().is_some(), "{:?}", request.written());
    let carried = request.written().unwrap().to_string();
    let next = Session::resume(carried.parse::<Written>().unwrap());
    assert_eq!(noted(&db.in_session(&next)).await, 1);
    assert_eq!(noted(&db).await, 0);
}

/// Its answer comes with that of COMMIT: the network is crossed as often as without a session.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_learns_what_it_wrote_without_another_round_trip() {
    const ROUND_TRIP: Duration = Duration::from_millis(50);
    let cluster = Cluster::builder().start().await.unwrap();
    let proxy = Proxy::start(cluster.address_of(0).unwrap()).unwrap();
    let mut settings = config(&cluster);
    settings.url = proxy.through(&cluster.url_of(0).unwrap()).unwrap().parse().unwrap();
    settings.pool.max = std::num::NonZeroUsize::MIN;
    let db = Db::connect(settings).await.unwrap();
    let own = Session::new();
    let session = db.in_session(&own);
    let took = async |db: &Db| {
        let started = Instant::now();
        db.transaction::<_, Error>(async |conn| Ok(conn.batch_execute("SELECT 1").await?)).await.unwrap();
        started.elapsed()
    };
    // The statements are prepared before it counts.
    took(&db).await;
    took(&session).await;
    proxy.delay(Direction::ToServer, ROUND_TRIP, Duration::ZERO);
    let mut differences = Vec::new();
    for _ in 0..5 {
        let without = took(&db).await;
        assert!(without >= ROUND_TRIP * 3, "the network is slow: {without:?}");
        let before = own.token();
        differences.push(took(&session).await.as_secs_f64() - without.as_secs_f64());
        assert!(own.token() > before, "it was learned: {:?}", own.written());
    }
    differences.sort_by(f64::total_cmp);
    assert!(differences[2] < ROUND_TRIP.as_secs_f64() / 2.0, "{differences:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_sees_what_it_wrote_although_the_answer_to_commit_was_lost() {
    let (_cluster, proxy, db) = behind().await;
    let session = Session::new();
    for (n, cut) in [(1, CommitCut::Answered), (2, CommitCut::Withheld)] {
        proxy.cut_commits(1, cut);
        let before = session.token();
        note(&db.in_session(&session), n).await;
        assert_eq!(noted(&db.in_session(&session)).await, n, "{cut:?}");
        assert!(session.token() > before, "{cut:?}: {:?}", session.written());
    }
    let commits = db.lost_commits();
    assert_eq!((commits.committed, commits.rolled_back), (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_sees_what_it_wrote_although_nobody_could_tell_whether_it_did() {
    let (_cluster, proxy, db) = behind().await;
    let session = Session::new();
    proxy.cut_commits(1, CommitCut::Answered);
    let work = async |conn: &mut AsyncPgConnection| {
        Ok::<_, Error>(conn.batch_execute("INSERT INTO notes VALUES (1)").await?)
    };
    let told = db.build_transaction().resolve(Resolve::Never).session(&session).run(work).await;
    assert!(matches!(told, Err(Error::CommitUnknown(_))), "{told:?}");
    is_moment(&session);
    assert_eq!(noted(&db.in_session(&session)).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_reads_from_the_primary_after_a_caller_that_went_while_its_commit_was_under_way() {
    let (cluster, _proxy, db) = behind().await;
    let (session, mut observer) = (Session::new(), cluster.connect(0).await.unwrap());
    let held = hold(&db, &session, &mut observer).await;
    assert_eq!(session.written(), None);
    give_up(held).await;
    is_moment(&session);
    assert!(reads_from_the_primary(&db, &session, &cluster).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_did_not_commit_leaves_a_session_as_it_was() {
    let (cluster, _proxy, db) = behind().await;
    let (session, mut observer) = (Session::new(), cluster.connect(0).await.unwrap());
    let own = db.in_session(&session);
    let failed = own.transaction::<(), Error>(async |conn| {
        conn.batch_execute("INSERT INTO notes VALUES (1)").await?;
        Err(Error::NotFound)
    });
    assert!(matches!(failed.await, Err(Error::NotFound)));
    assert_eq!(session.written(), None, "its work failed");
    let twice = "INSERT INTO notes VALUES (1), (1)";
    let refused = own.transaction::<_, Error>(async |conn| Ok(conn.batch_execute(twice).await?)).await;
    assert_eq!(refused.unwrap_err().sqlstate().unwrap().as_str(), "23505");
    assert_eq!(session.written(), None, "its COMMIT failed");

    observer.batch_execute("SELECT pg_advisory_lock(1)").await.unwrap();
    let dropped = tokio::spawn(async move {
        let work = async |conn: &mut AsyncPgConnection| {
            conn.batch_execute("INSERT INTO notes VALUES (1); SELECT pg_advisory_xact_lock(1)").await?;
            Ok::<_, Error>(())
        };
        own.transaction(work).await.unwrap();
    });
    waits_for_the_lock(&mut observer).await;
    give_up(dropped).await;
    assert_eq!(session.written(), None, "it was dropped before COMMIT");
    assert!(!reads_from_the_primary(&db, &session, &cluster).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_transactions_of_a_session_the_one_that_was_dropped_is_not_forgotten() {
    let (cluster, _proxy, db) = behind().await;
    let (session, mut observer) = (Session::new(), cluster.connect(0).await.unwrap());
    let held = hold(&db, &session, &mut observer).await;
    note(&db.in_session(&session), 1).await;
    assert!(session.token().is_some(), "{:?}", session.written());
    give_up(held).await;
    is_moment(&session);
    assert!(reads_from_the_primary(&db, &session, &cluster).await);

    // What is asked for after it covers it.
    note(&db.in_session(&session), 2).await;
    assert!(session.token().is_some(), "{:?}", session.written());
    assert_eq!(noted(&db.in_session(&session)).await, 2);
}

/// What was logged while `work` ran, on this thread alone.
fn logged(work: impl AsyncFnOnce()) -> Log {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt().with_writer(log.clone()).with_ansi(false).finish();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tracing::subscriber::with_default(subscriber, || runtime.block_on(work()));
    log
}

#[test]
fn a_write_that_no_session_remembers_is_warned_of_once_for_each_line_in_development() {
    let session = "outside of every session's scope begins a new one";
    let transaction = "a transaction outside of every session's scope";
    let primary = "Db::primary in a session";
    let works = async |environment, scopes: bool| {
        let database = TestDatabase::empty().await.unwrap();
        let db = Db::connect(Config::new(environment, database.url().parse().unwrap())).await.unwrap();
        let write = async |db: &Db| {
            db.transaction::<_, Error>(async |conn| Ok(conn.batch_execute("SELECT 1").await?)).await.unwrap();
        };
        if scopes {
            Session::new().scope(async { write(&db).await }).await;
        }
        for _ in 0..2 {
            write(&db).await;
            write(&db.session()).await;
            drop(db.in_session(&Session::new()).primary().await.unwrap());
            drop(db.primary().await.unwrap());
            let _ = db.in_session(&Session::new()).health();
        }
        let read_only = db.build_transaction().read_only();
        read_only.run::<_, Error>(async |conn| Ok(conn.batch_execute("SELECT 1").await?)).await.unwrap();
        write(&db.in_session(&Session::new())).await;
    };
    let count = |log: &Log, what: &str| log.lines(what).len();
    let quiet = logged(async || works(Environment::Development, false).await);
    let counts = [transaction, session, primary].map(|what| count(&quiet, what));
    assert_eq!(counts, [0, 0, 1], "nobody opens scopes, and a session was made by hand");
    let told = logged(async || works(Environment::Development, true).await);
    assert_eq!([transaction, session, primary].map(|what| count(&told, what)), [1, 1, 1]);
    assert!(told.lines(transaction)[0].contains("sessions.rs:"), "{:?}", told.lines(transaction));
    let production = logged(async || works(Environment::Production, true).await);
    assert_eq!([transaction, session, primary].map(|what| count(&production, what)), [0, 0, 0]);
}
