//! One statement as a write: one round trip, at most once, and seen by the session that made it.

use std::time::Duration;

use db_platform::replica_routing::ReadConsistency;
use db_platform::retry::marker;
use db_platform::{BatchError, Class, Classify, Config, Db, Environment, Error, Freshness, Session, batch};
use db_testkit::{Cluster, Proxy, TestDatabase, until};
use diesel::prelude::*;
use diesel::sql_query;
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};

use crate::{Number, alone, config, port, port_of};

diesel::table! { notes (id) { id -> Integer, text -> Text, } }

const NOTES: &str = "CREATE TABLE notes (id serial PRIMARY KEY, text text NOT NULL)";

async fn with_notes() -> (TestDatabase, AsyncPgConnection) {
    let database = TestDatabase::empty().await.unwrap();
    let mut owner = database.connect().await.unwrap();
    owner.batch_execute(NOTES).await.unwrap();
    (database, owner)
}

async fn count(conn: &mut AsyncPgConnection) -> i64 {
    sql_query("SELECT count(*) AS n FROM notes").get_result::<Number>(conn).await.unwrap().n
}

/// A handle with one connection for writes, through a proxy.
async fn proxied(database: &TestDatabase) -> (Proxy, Db) {
    let address = database.url().rsplit_once('@').unwrap().1.split('/').next().unwrap().to_owned();
    let proxy = Proxy::start(address).unwrap();
    proxy.write_down();
    // The proxy reads no encrypted bytes.
    let url = format!("{}?sslmode=disable", proxy.through(database.url()).unwrap());
    let mut config = Config::new(Environment::Test, url.parse().unwrap());
    config.cache = None;
    config.retry.resolve_timeout = Duration::from_secs(2);
    let db = Db::connect(config).await.unwrap();
    (proxy, db)
}

fn note(text: &str) -> diesel::query_builder::SqlQuery {
    sql_query(format!("INSERT INTO notes (text) VALUES ('{text}')"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_tells_how_many_rows_it_wrote_or_what_it_returned() {
    let (database, mut owner) = with_notes().await;
    let db = alone(&database, |config| config.cache = None).await;
    let rows = vec![notes::text.eq("one"), notes::text.eq("two")];
    let ids: Vec<i32> = db
        .write_returning(diesel::insert_into(notes::table).values(rows).returning(notes::id))
        .await
        .unwrap();
    assert_eq!(ids, [1, 2]);
    assert_eq!(db.write(diesel::update(notes::table).set(notes::text.eq("both"))).await.unwrap(), 2);
    assert_eq!(db.write(diesel::delete(notes::table.find(1))).await.unwrap(), 1);
    assert_eq!(count(&mut owner).await, 1);
    // What is no statement of rows is a transaction: what it does inside cannot commit by itself.
    owner
        .batch_execute("CREATE PROCEDURE p() LANGUAGE plpgsql AS 'BEGIN INSERT INTO notes (text) VALUES (''p''); COMMIT; END'")
        .await
        .unwrap();
    let error = db.write(sql_query("CALL p()")).await.unwrap_err();
    assert_eq!(error.sqlstate().unwrap().as_str(), "2D000");
    assert_eq!(count(&mut owner).await, 1);
    db.write(sql_query("CREATE TABLE other (n int)")).await.unwrap();
    // A key that is there already is the server's own word, and nothing is left behind.
    let twice = diesel::insert_into(notes::table).values((notes::id.eq(2), notes::text.eq("again")));
    assert!(matches!(db.write(twice).await.unwrap_err(), Error::UniqueViolation(_)));
    assert_eq!(count(&mut owner).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_takes_one_round_trip_and_the_sessions_question_goes_out_with_it() {
    let (database, mut owner) = with_notes().await;
    let (proxy, db) = proxied(&database).await;
    let insert = |text: &str| diesel::insert_into(notes::table).values(notes::text.eq(text.to_owned()));
    db.write(insert("prepared")).await.unwrap();
    let _ = proxy.take_exchanges();
    for _ in 0..10 {
        db.write(insert("x")).await.unwrap();
    }
    let seen = proxy.take_exchanges();
    assert_eq!(seen.iter().filter(|one| one.text.contains("notes")).count(), 10, "{seen:?}");
    let is_around = |text: &str| text.contains("BEGIN") || text.contains("COMMIT");
    assert!(!seen.iter().any(|one| is_around(&one.text)), "{seen:?}");
    let db = db.in_session(&Session::new());
    db.write(insert("prepared")).await.unwrap();
    let _ = proxy.take_exchanges();
    for _ in 0..10 {
        db.write(insert("x")).await.unwrap();
    }
    let mut seen = proxy.take_exchanges();
    // The monitor of the server asks, too.
    seen.retain(|one| one.text.contains("notes") || one.text.starts_with("SELECT (SELECT system_identifier"));
    let inserts: Vec<_> = seen.iter().enumerate().filter(|(_, one)| one.text.contains("notes")).collect();
    assert_eq!(inserts.len(), 10, "{seen:?}");
    let mut together = 0;
    for (at, insert) in inserts {
        let token = &seen[at + 1];
        assert!(token.text.contains("insert_lsn"), "{seen:?}");
        together += u32::from(token.began <= insert.ended);
    }
    // On a busy machine an answer may be there before the connection's task has written the question.
    assert!(together >= 5, "the question waits for no answer: {seen:?}");
    assert_eq!(count(&mut owner).await, 22);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_its_answer_is_lost_it_does_not_run_again_unless_it_may() {
    for idempotent in [false, true] {
        let (database, mut owner) = with_notes().await;
        let (proxy, db) = proxied(&database).await;
        db.write(diesel::insert_into(notes::table).values(notes::text.eq("x"))).await.unwrap();
        // It waits on the server, so that it was sent, and its answer never passes.
        let mut holder = database.connect().await.unwrap();
        holder.batch_execute("BEGIN; LOCK TABLE notes IN EXCLUSIVE MODE").await.unwrap();
        let running = tokio::spawn({
            let db = db.clone();
            async move {
                let write = db.build_write();
                if idempotent {
                    write
                        .idempotent()
                        .run(diesel::insert_into(notes::table).values(notes::text.eq("x")))
                        .await
                } else {
                    write.run(diesel::insert_into(notes::table).values(notes::text.eq("x"))).await
                }
            }
        });
        let waiting = "SELECT count(*) AS n FROM pg_locks WHERE NOT granted AND relation = 'notes'::regclass";
        until("it waits", async || sql_query(waiting).get_result::<Number>(&mut owner).await.unwrap().n > 0)
            .await;
        proxy.stall();
        holder.batch_execute("ROLLBACK").await.unwrap();
        until("it is applied", async || count(&mut owner).await == 2).await;
        proxy.cut();
        proxy.heal();
        let outcome = running.await.unwrap();
        let applied = count(&mut owner).await;
        if idempotent {
            assert_eq!(outcome.unwrap(), 1);
            assert_eq!(applied, 3, "once for each attempt");
        } else {
            let error = outcome.unwrap_err();
            assert_eq!((error.class(), applied), (Class::Unknown, 2), "{error}");
            assert_eq!(db.lost_commits().unknown, 1);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_not_sent_and_what_the_server_refused_runs_again() {
    let (database, mut owner) = with_notes().await;
    let (proxy, db) = proxied(&database).await;
    db.write(note("first")).await.unwrap();
    // The idle connection dies, and nobody has noticed.
    proxy.refuse();
    proxy.cut();
    until("it is gone", async || proxy.counters().open == 0).await;
    proxy.heal();
    db.write(note("second")).await.unwrap();
    assert_eq!(count(&mut owner).await, 2);
    // Refused twice for a conflict, and then not.
    owner
        .batch_execute(
            "CREATE SEQUENCE tries; CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
             IF nextval('tries') < 3 THEN RAISE EXCEPTION 'no' USING ERRCODE = '40001'; END IF; RETURN NEW; END $$; \
             CREATE CONSTRAINT TRIGGER late AFTER INSERT ON notes DEFERRABLE INITIALLY DEFERRED \
             FOR EACH ROW EXECUTE FUNCTION refuse()",
        )
        .await
        .unwrap();
    // It is refused at its end, behind the row that it returns.
    let insert = diesel::insert_into(notes::table).values(notes::text.eq("late")).returning(notes::text);
    let texts: Vec<String> = db.write_returning(insert).await.unwrap();
    assert_eq!((texts.len(), count(&mut owner).await), (1, 3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_cannot_be_read_leave_no_doubt_that_it_was_sent() {
    let (database, mut owner) = with_notes().await;
    let db = alone(&database, |config| config.cache = None).await;
    let wrong = sql_query("INSERT INTO notes (text) VALUES ('x') RETURNING text AS n");
    let error = db.write_returning::<_, Number>(wrong).await.map(drop).unwrap_err();
    assert_eq!((error.class(), count(&mut owner).await), (Class::Unknown, 1), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn marked_it_is_a_transaction_whose_lost_answer_is_found_out() {
    let (database, mut owner) = with_notes().await;
    marker::apply(&mut owner).await.unwrap();
    let address = database.url().rsplit_once('@').unwrap().1.split('/').next().unwrap().to_owned();
    let proxy = Proxy::start(address).unwrap();
    let mut config = Config::new(Environment::Test, proxy.through(database.url()).unwrap().parse().unwrap());
    config.retry.commit_markers = true;
    let db = Db::connect(config).await.unwrap();
    proxy.cut_commits(1, db_testkit::CommitCut::Answered);
    assert_eq!(db.write(note("marked")).await.unwrap(), 1);
    assert_eq!((proxy.counters().commits_cut, count(&mut owner).await), (1, 1));
    let marks = "SELECT count(*) AS n FROM db_platform_commits";
    assert_eq!(sql_query(marks).get_result::<Number>(&mut owner).await.unwrap().n, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_and_the_process_read_it_while_the_standby_lags() {
    for consistency in [ReadConsistency::Lag, ReadConsistency::Process] {
        let cluster = Cluster::builder().standbys(1).start().await.unwrap();
        let mut settings = config(&cluster);
        settings.router.max_lag = Duration::from_secs(3_600);
        settings.router.consistency = consistency;
        let db = Db::connect(settings).await.unwrap();
        db.write(sql_query(NOTES)).await.unwrap();
        cluster.wait_until_caught_up(1).await.unwrap();
        let standby = port_of(&cluster.standby_urls()[0]);
        let from_any = async || db.read_within(Freshness::Any, port).await.unwrap();
        until("the standby answers", async || from_any().await == standby).await;
        cluster.pause_replay(1).await.unwrap();
        let session = db.in_session(&Session::new());
        // The first is prepared on its way, the later ones are not.
        for written in 1..=5 {
            session.write(note("x")).await.unwrap();
            let read = async |conn: &mut AsyncPgConnection| Ok::<_, diesel::result::Error>(count(conn).await);
            assert_eq!(session.read(read).await.unwrap(), written, "{consistency:?}");
            let others = if consistency == ReadConsistency::Process { written } else { 0 };
            assert_eq!(db.read(read).await.unwrap(), others, "{consistency:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_of_writes_is_one_round_trip_and_all_or_nothing() {
    let (database, mut owner) = with_notes().await;
    let (proxy, db) = proxied(&database).await;
    let insert = |text: &str| {
        batch::affected(diesel::insert_into(notes::table).values(notes::text.eq(text.to_owned())))
    };
    let all = |at: i32| {
        batch::affected(diesel::insert_into(notes::table).values((notes::id.eq(at), notes::text.eq("x"))))
    };
    // Until they are prepared they go in a transaction of their own.
    assert_eq!(db.write_batch((insert("a"), all(1_000))).await.unwrap(), (1, 1));
    let _ = proxy.take_exchanges();
    for n in 1..=10 {
        assert_eq!(db.write_batch((insert("a"), all(1_000 + n), insert("b"))).await.unwrap(), (1, 1, 1));
    }
    let seen = proxy.take_exchanges();
    assert_eq!(seen.iter().filter(|one| one.text.contains("notes")).count(), 10, "{seen:?}");
    assert!(!seen.iter().any(|one| one.text.contains("BEGIN") || one.text.contains("COMMIT")), "{seen:?}");
    assert_eq!(count(&mut owner).await, 32);

    let failed = db.write_batch((insert("a"), all(1_000), insert("b"))).await.unwrap_err();
    assert!(
        matches!(failed, BatchError { statement: Some(1), error: Error::UniqueViolation(_) }),
        "{failed:?}"
    );
    assert_eq!(count(&mut owner).await, 32, "none of it is applied");
    // What cannot be prepared fails, whether others are prepared or not, and keeps nobody waiting.
    let unknown = || batch::affected(sql_query("INSERT INTO nothing VALUES (1)"));
    for _ in 0..2 {
        let failed = db.write_batch((insert("a"), unknown(), insert("b"))).await.unwrap_err();
        assert_eq!((failed.statement, failed.error.sqlstate().unwrap().as_str()), (Some(1), "42P01"));
    }
    let call = || batch::affected(sql_query("INSERT INTO notes (text) VALUES ('text')"));
    assert_eq!(db.write_batch(vec![call(), call()]).await.unwrap(), [1, 1]);
    let none: Vec<usize> = db.write_batch((0..0).map(|_: i32| call()).collect::<Vec<_>>()).await.unwrap();
    assert!(none.is_empty());
    assert_eq!(count(&mut owner).await, 34);
    // The connection is as it was.
    assert_eq!(db.write_batch((insert("a"), insert("b"))).await.unwrap(), (1, 1));
    assert_eq!(count(&mut owner).await, 36);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_a_deferred_constraint_refuses_is_not_applied() {
    let (database, mut owner) = with_notes().await;
    owner
        .batch_execute("ALTER TABLE notes ADD CONSTRAINT once UNIQUE (text) DEFERRABLE INITIALLY DEFERRED")
        .await
        .unwrap();
    let (_proxy, db) = proxied(&database).await;
    let insert = |text: &str| {
        batch::affected(diesel::insert_into(notes::table).values(notes::text.eq(text.to_owned())))
    };
    db.write_batch((insert("a"), insert("b"))).await.unwrap();
    for _ in 0..2 {
        let failed = db.write_batch((insert("c"), insert("a"))).await.unwrap_err();
        assert!(matches!(failed.error, Error::UniqueViolation(_)), "{failed:?}");
    }
    assert_eq!(count(&mut owner).await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_whose_answer_is_lost_is_unknown_unless_it_was_not_sent() {
    let (database, mut owner) = with_notes().await;
    let (proxy, db) = proxied(&database).await;
    let insert = || batch::affected(diesel::insert_into(notes::table).values(notes::text.eq("x")));
    for _ in 0..2 {
        db.write_batch((insert(), insert())).await.unwrap();
    }
    // It waits on the server, so that it was sent, and its answer never passes.
    let mut holder = database.connect().await.unwrap();
    holder.batch_execute("BEGIN; LOCK TABLE notes IN EXCLUSIVE MODE").await.unwrap();
    let running = tokio::spawn({
        let db = db.clone();
        async move { db.write_batch((insert(), insert())).await }
    });
    let waits = "SELECT count(*) AS n FROM pg_locks WHERE relation = 'notes'::regclass AND NOT granted";
    until("it waits", async || sql_query(waits).get_result::<Number>(&mut owner).await.unwrap().n == 1).await;
    proxy.cut();
    let failed = running.await.unwrap().unwrap_err();
    assert!(matches!(failed.error, Error::CommitUnknown(_)), "{failed:?}");
    holder.batch_execute("ROLLBACK").await.unwrap();
    let rows = count(&mut owner).await;
    assert!([4, 6].contains(&rows), "all or none: {rows}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_in_a_session_is_seen_by_its_reads() {
    let (database, mut owner) = with_notes().await;
    let insert = || batch::affected(diesel::insert_into(notes::table).values(notes::text.eq("x")));
    let session = Session::new();
    let db = alone(&database, |config| config.cache = None).await.in_session(&session);
    let mut last = None;
    for _ in 0..3 {
        db.write_batch((insert(), insert())).await.unwrap();
        assert_ne!(session.token(), last, "each has a token of its own");
        last = session.token();
    }
    assert_eq!(count(&mut owner).await, 6);
}

#[derive(Clone, Copy, diesel::sql_types::SqlType, diesel::query_builder::QueryId)]
#[diesel(postgres_type(name = "mood"))]
pub struct Mood;

/// A value of a type that the database itself defines: a connection looks it up first.
#[derive(Debug, Clone, Copy, diesel::expression::AsExpression)]
#[diesel(sql_type = Mood)]
struct Glad;

impl diesel::serialize::ToSql<Mood, diesel::pg::Pg> for Glad {
    fn to_sql<'b>(
        &'b self,
        out: &mut diesel::serialize::Output<'b, '_, diesel::pg::Pg>,
    ) -> diesel::serialize::Result {
        std::io::Write::write_all(out, b"glad")?;
        Ok(diesel::serialize::IsNull::No)
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use super::Mood;

    moods (id) { id -> Integer, mood -> Mood, }
}

#[derive(Clone, AsChangeset)]
#[diesel(table_name = notes)]
struct Change {
    text: Option<String>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_in_which_one_waits_or_is_never_sent_keeps_nobody_waiting() {
    let (database, mut owner) = with_notes().await;
    owner
        .batch_execute(
            "CREATE TYPE mood AS ENUM ('glad'); CREATE TABLE moods (id serial PRIMARY KEY, mood mood)",
        )
        .await
        .unwrap();
    let (_proxy, db) = proxied(&database).await;
    let glad = || batch::affected(diesel::insert_into(moods::table).values(moods::mood.eq(Glad)));
    let insert = || batch::affected(diesel::insert_into(notes::table).values(notes::text.eq("x")));
    let nothing = || batch::affected(diesel::update(notes::table.find(1)).set(Change { text: None }));
    for _ in 0..3 {
        assert_eq!(db.write_batch((glad(), insert(), glad())).await.unwrap(), (1, 1, 1));
        assert_eq!(db.write_batch(vec![glad(), glad()]).await.unwrap(), [1, 1]);
        assert_eq!(db.write_batch((insert(), glad())).await.unwrap(), (1, 1));
    }
    let rows = count(&mut owner).await;
    for _ in 0..2 {
        let failed = db.write_batch((insert(), nothing(), insert())).await.unwrap_err();
        assert!(matches!(failed, BatchError { statement: Some(1), error: Error::Client(_) }), "{failed:?}");
        assert_eq!(count(&mut owner).await, rows, "none of it is applied");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_whose_answer_cannot_be_read_is_applied_however_it_was_sent() {
    let (database, mut owner) = with_notes().await;
    let (_proxy, db) = proxied(&database).await;
    let insert = |id: i32| {
        batch::affected(diesel::insert_into(notes::table).values((notes::id.eq(id), notes::text.eq("x"))))
    };
    let missing = || batch::row::<String>(notes::table.select(notes::text).filter(notes::id.eq(-1)));
    for round in 1..=3 {
        let failed = db.write_batch((missing(), insert(round))).await;
        let failed: BatchError = failed.map(|(_, _): (String, usize)| ()).unwrap_err();
        assert!(matches!(failed, BatchError { statement: Some(0), error: Error::NotFound }), "{failed:?}");
        assert_eq!(count(&mut owner).await, i64::from(round), "round {round}");
        // What the server says is graver: nothing is applied then.
        let failed = db.write_batch((missing(), insert(round))).await;
        let failed: BatchError = failed.map(|(_, _): (String, usize)| ()).unwrap_err();
        assert!(matches!(failed.error, Error::UniqueViolation(_)), "{failed:?}");
        assert_eq!(count(&mut owner).await, i64::from(round));
    }
}
