//! What a transaction leaves in its session, however its COMMIT ends.

use std::time::{Duration, SystemTime};

use db_core::{AroundCommit, CommitOutcome};
use db_replica_routing::{Session, SessionCommit, Token, Written};
use db_testkit::{CommitCut, Proxy, TestDatabase, until};
use diesel_async::{AsyncConnection, AsyncPgConnection, SimpleAsyncConnection};
use tokio::task::JoinHandle;

use crate::{endpoint, number};

/// The COMMIT of a row in `held` waits for whoever has the advisory lock 1; that of one in `refused` fails.
const TABLES: &str = "
    CREATE TABLE rows (n int8);
    CREATE TABLE held (n int8);
    CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN PERFORM pg_advisory_xact_lock(1); RETURN NULL; END $$;
    CREATE CONSTRAINT TRIGGER wait AFTER INSERT ON held
        DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION wait();
    CREATE TABLE refused (n int8 UNIQUE DEFERRABLE INITIALLY DEFERRED)";

async fn database() -> (TestDatabase, AsyncPgConnection) {
    let database = TestDatabase::empty().await.unwrap();
    let mut observer = database.connect().await.unwrap();
    observer.batch_execute(TABLES).await.unwrap();
    (database, observer)
}

/// A connection through a proxy, with a transaction that has written a row.
async fn open_through_proxy(database: &TestDatabase) -> (Proxy, AsyncPgConnection) {
    let endpoint = endpoint(database.url());
    let proxy = Proxy::start((endpoint.host(), endpoint.port())).unwrap();
    let url = proxy.through(database.url()).unwrap();
    let mut conn = AsyncPgConnection::establish(&url).await.unwrap();
    conn.batch_execute("BEGIN; INSERT INTO rows VALUES (1)").await.unwrap();
    (proxy, conn)
}

/// Sends COMMIT, and the question for the token behind it, as the retry layer does.
async fn send(commit: &SessionCommit, conn: &AsyncPgConnection) -> diesel::QueryResult<()> {
    let mut sender = conn;
    let alongside = commit.alongside(conn).unwrap();
    tokio::join!(sender.batch_execute("COMMIT"), alongside).0
}

/// The same, where nobody waits for the answer to the question.
async fn send_and_go(commit: &SessionCommit, conn: &AsyncPgConnection) -> diesel::QueryResult<()> {
    let mut sender = conn;
    let alongside = commit.alongside(conn).unwrap();
    tokio::select! {
        biased;
        committed = sender.batch_execute("COMMIT") => committed,
        () = async { alongside.await; std::future::pending().await } => unreachable!("it never ends"),
    }
}

/// A transaction of this session that is at its COMMIT and will stay there for as long as `observer` keeps
/// the lock.
async fn hold(
    session: &Session,
    database: &TestDatabase,
    observer: &mut AsyncPgConnection,
) -> JoinHandle<()> {
    observer.batch_execute("SELECT pg_advisory_lock(1)").await.unwrap();
    let (mut conn, commit) = (database.connect().await.unwrap(), session.commit());
    let held = tokio::spawn(async move {
        conn.batch_execute("BEGIN; INSERT INTO held VALUES (1)").await.unwrap();
        send(&commit, &conn).await.unwrap();
        commit.after(Some(&mut conn), CommitOutcome::Committed).await;
    });
    let waiting = "SELECT count(*) AS n FROM pg_locks WHERE locktype = 'advisory' AND NOT granted \
                   AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    until("COMMIT is under way", async || number(observer, waiting).await == 1).await;
    held
}

/// Drops what was held; its COMMIT goes on.
async fn drop_held(held: JoinHandle<()>) {
    held.abort();
    assert!(held.await.unwrap_err().is_cancelled());
}

/// Lets a COMMIT that was dropped come to its end.
async fn release(observer: &mut AsyncPgConnection) {
    observer.batch_execute("SELECT pg_advisory_unlock(1)").await.unwrap();
    until("it has committed", async || number(observer, "SELECT count(*) AS n FROM held").await == 1).await;
}

/// That there is no token, and a moment that is not before `since`.
#[track_caller]
fn is_moment(session: &Session, since: SystemTime) {
    assert_eq!(session.token(), None);
    let Some(Written::Before(moment)) = session.written() else { panic!("{:?}", session.written()) };
    assert!(moment >= since, "{moment:?} {since:?}");
}

#[tokio::test]
async fn a_commit_leaves_the_token_that_came_with_its_answer() {
    let (_database, mut conn) = database().await;
    let session = Session::new();
    let mut last = Token::read(&conn).await.unwrap().unwrap();
    for _ in 0..2 {
        let (commit, before) = (session.commit(), session.written());
        conn.batch_execute("BEGIN; INSERT INTO rows VALUES (1)").await.unwrap();
        send(&commit, &conn).await.unwrap();
        assert_eq!(session.written(), before, "nobody has said yet that it committed");
        // Nobody is left to ask.
        commit.after(None, CommitOutcome::Committed).await;
        assert!(session.token().unwrap() > last, "{:?} {last}", session.written());
        drop(commit);
        last = session.token().unwrap();
    }
}

#[tokio::test]
async fn a_token_that_was_lost_with_the_answer_is_asked_for_on_another_connection() {
    for waits in [true, false] {
        let (database, mut observer) = database().await;
        let (proxy, conn) = open_through_proxy(&database).await;
        proxy.cut_commits(1, CommitCut::Answered);
        let session = Session::new();
        let commit = session.commit();
        let sent = if waits { send(&commit, &conn).await } else { send_and_go(&commit, &conn).await };
        sent.unwrap_err();
        let committed = Token::read(&observer).await.unwrap().unwrap();
        commit.after(Some(&mut observer), CommitOutcome::Committed).await;
        drop(commit);
        assert_eq!(number(&mut observer, "SELECT count(*) AS n FROM rows").await, 1);
        assert!(session.token().is_some_and(|token| token >= committed), "{waits}: {:?}", session.written());
    }
}

#[tokio::test]
async fn a_commit_whose_position_nobody_tells_leaves_a_moment() {
    let (database, _observer) = database().await;
    for outcome in [CommitOutcome::Committed, CommitOutcome::Unknown] {
        let (proxy, conn) = open_through_proxy(&database).await;
        proxy.cut_commits(1, CommitCut::Answered);
        let (session, since) = (Session::new(), SystemTime::now());
        let commit = session.commit();
        send(&commit, &conn).await.unwrap_err();
        commit.after(None, outcome).await;
        is_moment(&session, since);
    }
}

#[tokio::test]
async fn whoever_gives_up_while_the_token_is_asked_for_again_may_have_written() {
    let (database, _observer) = database().await;
    let (proxy, mut conn) = open_through_proxy(&database).await;
    conn.batch_execute("COMMIT").await.unwrap();
    proxy.stall();
    let (session, since) = (Session::new(), SystemTime::now());
    let commit = session.commit();
    let asked = commit.after(Some(&mut conn), CommitOutcome::Committed);
    tokio::time::timeout(Duration::ZERO, asked).await.unwrap_err();
    is_moment(&session, since);
}

#[tokio::test]
async fn a_transaction_that_was_rolled_back_leaves_nothing() {
    let (database, mut conn) = database().await;
    let session = Session::new();
    let commit = session.commit();
    // Its work failed.
    commit.after(None, CommitOutcome::RolledBack).await;
    assert_eq!(session.written(), None);
    // Its COMMIT failed, and the question behind it was answered.
    conn.batch_execute("BEGIN; INSERT INTO refused VALUES (1), (1)").await.unwrap();
    send(&commit, &conn).await.unwrap_err();
    conn.batch_execute("ROLLBACK").await.unwrap();
    commit.after(Some(&mut conn), CommitOutcome::RolledBack).await;
    assert_eq!(session.written(), None);
    // Its COMMIT never reached the server.
    let (proxy, lost) = open_through_proxy(&database).await;
    proxy.cut_commits(1, CommitCut::Withheld);
    send(&commit, &lost).await.unwrap_err();
    commit.after(Some(&mut conn), CommitOutcome::RolledBack).await;
    assert_eq!(session.written(), None);
    // The next attempt commits.
    conn.batch_execute("BEGIN; INSERT INTO rows VALUES (1)").await.unwrap();
    send(&commit, &conn).await.unwrap();
    commit.after(Some(&mut conn), CommitOutcome::Committed).await;
    assert!(session.token().is_some());

    let session = Session::new();
    let commit = session.commit();
    commit.after(None, CommitOutcome::RolledBack).await;
    drop(commit);
    drop(session.commit());
    assert_eq!(session.written(), None, "nor does what is dropped before COMMIT");
}

#[tokio::test]
async fn whoever_is_dropped_while_its_commit_is_under_way_may_have_written() {
    let (database, mut observer) = database().await;
    let (session, since) = (Session::new(), SystemTime::now());
    let held = hold(&session, &database, &mut observer).await;
    assert_eq!(session.written(), None);
    drop_held(held).await;
    is_moment(&session, since);
    release(&mut observer).await;
}

/// The token was read before the other transaction committed, and learned of after that was given up.
#[tokio::test]
async fn a_token_does_not_cover_a_commit_that_was_given_up_after_it_was_asked_for() {
    let (database, mut observer) = database().await;
    let session = Session::new();
    let held = hold(&session, &database, &mut observer).await;
    let (mut conn, commit) = (database.connect().await.unwrap(), session.commit());
    conn.batch_execute("BEGIN; INSERT INTO rows VALUES (1)").await.unwrap();
    send(&commit, &conn).await.unwrap();
    let since = SystemTime::now();
    drop_held(held).await;
    commit.after(Some(&mut conn), CommitOutcome::Committed).await;
    is_moment(&session, since);
    release(&mut observer).await;

    // The next one is asked for when both have committed.
    let commit = session.commit();
    conn.batch_execute("BEGIN; INSERT INTO rows VALUES (1)").await.unwrap();
    send(&commit, &conn).await.unwrap();
    commit.after(Some(&mut conn), CommitOutcome::Committed).await;
    assert!(session.token().is_some(), "{:?}", session.written());
}
