//! Backfills: what they fill, what they cannot, and what is left of them when they are cut off.

use std::future::pending;
use std::time::Duration;

use db_migrations::backfill::{Backfill, BackfillConfig, BackfillError, BackfillOutcome, Fill};
use db_testkit::{TestDatabase, until};
use db_throttle::ThrottleConfig;
use diesel_async::{AsyncPgConnection, SimpleAsyncConnection};

use crate::fixture::number;

/// Small batches, and no standbys to look at.
fn config() -> BackfillConfig {
    let throttle = ThrottleConfig { max_rows: 100, min_rows: 7, ..ThrottleConfig::default() };
    BackfillConfig { throttle, locked_patience: Duration::ZERO, ..BackfillConfig::default() }
}

async fn database(sql: &str) -> (TestDatabase, AsyncPgConnection) {
    let database = TestDatabase::empty().await.unwrap();
    let mut conn = database.connect().await.unwrap();
    conn.batch_execute(sql).await.unwrap();
    (database, conn)
}

async fn run(
    backfill: &Backfill,
    conn: &mut AsyncPgConnection,
    config: &BackfillConfig,
) -> Result<BackfillOutcome, BackfillError> {
    backfill.run(conn, None, config, pending(), |_| ()).await
}

fn lower() -> Backfill {
    Backfill::new("users", [Fill::new("email_lower", "lower(email)")])
}

const USERS: &str = "CREATE TABLE users (id int PRIMARY KEY, email text, email_lower text); \
    INSERT INTO users SELECT n * 3, 'A' || n FROM generate_series(1, 1000) AS n";

#[tokio::test]
async fn every_row_is_filled_once_whatever_its_key() {
    for (key, values) in [
        ("id int PRIMARY KEY", "n * 7"),
        ("id uuid PRIMARY KEY", "gen_random_uuid()"),
        ("a text COLLATE \"C\", b int, PRIMARY KEY (a, b)", "chr(65 + n % 3) || '''\\', n"),
        ("a timestamptz, b numeric(9, 2), PRIMARY KEY (b, a)", "now() + n * interval '1 us', n % 5"),
        ("\"or der\" bigint NOT NULL UNIQUE", "-n"),
    ] {
        let (_database, mut conn) = database(&format!(
            "CREATE TABLE things ({key}, filled int NOT NULL DEFAULT 0); \
             INSERT INTO things SELECT {values} FROM generate_series(1, 1234) AS n"
        ))
        .await;
        // A condition that always holds: a row that came twice would be counted twice.
        let backfill = Backfill::new("things", [Fill::new("filled", "filled + 1")]).only("true");
        let outcome = run(&backfill, &mut conn, &config()).await.unwrap();
        assert_eq!((outcome.finished, outcome.rows_seen, outcome.rows_filled), (true, 1234, 1234), "{key}");
        assert_eq!(number(&mut conn, "SELECT count(*) AS n FROM things WHERE filled = 1").await, 1234);
    }
}

#[tokio::test]
async fn partitions_are_filled_through_their_parent() {
    let (_database, mut conn) = database(
        "CREATE TABLE p (id int, k int, more int, PRIMARY KEY (id, k)) PARTITION BY LIST (k); \
         CREATE TABLE p1 PARTITION OF p FOR VALUES IN (0); CREATE TABLE p2 PARTITION OF p FOR VALUES IN (1); \
         INSERT INTO p SELECT n, n % 2 FROM generate_series(1, 900) AS n",
    )
    .await;
    let backfill = Backfill::new("p", [Fill::new("more", "t.id + t.k")]);
    let outcome = run(&backfill, &mut conn, &config()).await.unwrap();
    assert_eq!((outcome.rows_filled, outcome.unfilled.left), (900, Some(0)));
}

#[tokio::test]
async fn what_stays_null_and_what_came_late_is_said() {
    let (_database, mut conn) = database(USERS).await;
    conn.batch_execute("UPDATE users SET email = NULL WHERE id <= 30").await.unwrap();
    let outcome = run(&lower(), &mut conn, &config()).await.unwrap();
    assert_eq!(
        (outcome.rows_filled, outcome.unfilled.stayed_null, outcome.unfilled.left),
        (1000, 10, Some(10))
    );
    // A second run is a new one: only what is NULL is written.
    let outcome = run(&lower(), &mut conn, &config()).await.unwrap();
    assert_eq!((outcome.rows_seen, outcome.rows_filled, outcome.unfilled.stayed_null), (1000, 10, 10));
}

#[tokio::test]
async fn a_row_that_stays_locked_is_passed_over_and_said_with_its_session() {
    let (database, mut conn) = database(USERS).await;
    let mut holder = database.connect().await.unwrap();
    holder.batch_execute("BEGIN; UPDATE users SET email = 'held' WHERE id IN (300, 303)").await.unwrap();
    let pid = number(&mut holder, "SELECT pg_backend_pid()::bigint AS n").await;
    let outcome = run(&lower(), &mut conn, &config()).await.unwrap();
    assert_eq!((outcome.finished, outcome.unfilled.locked, outcome.unfilled.left), (true, 2, Some(2)));
    assert_eq!(outcome.holders, [pid]);
    assert_eq!(outcome.rows_filled, 998);
    holder.batch_execute("COMMIT").await.unwrap();
    assert_eq!(run(&lower(), &mut conn, &config()).await.unwrap().unfilled.left, Some(0));
}

#[tokio::test]
async fn a_row_that_is_free_again_in_time_is_filled() {
    let (database, mut conn) = database(USERS).await;
    let (mut holder, mut observer) = (database.connect().await.unwrap(), database.connect().await.unwrap());
    holder.batch_execute("BEGIN; UPDATE users SET email = 'HELD' WHERE id = 300").await.unwrap();
    let patient = BackfillConfig { locked_patience: Duration::from_secs(60), ..config() };
    let running = tokio::spawn(async move { run(&lower(), &mut conn, &patient).await });
    let noted = "SELECT count(*) AS n FROM pg_class WHERE relname = '__db_backfill_rows'";
    until("the tables are there", async || number(&mut observer, noted).await == 1).await;
    let noted = "SELECT count(*) AS n FROM __db_backfill_rows WHERE reason = 'locked'";
    until("the row is noted", async || number(&mut observer, noted).await == 1).await;
    holder.batch_execute("COMMIT").await.unwrap();
    let outcome = running.await.unwrap().unwrap();
    assert_eq!((outcome.unfilled.locked, outcome.unfilled.left), (0, Some(0)));
    let held = "SELECT count(*) AS n FROM users WHERE id = 300 AND email_lower = 'held'";
    assert_eq!(number(&mut observer, held).await, 1);
}

#[tokio::test]
async fn a_row_that_cannot_be_written_is_passed_over_and_said_with_its_reason() {
    let (_database, mut conn) = database(&format!(
        "{USERS}; ALTER TABLE users ADD CONSTRAINT short CHECK (email_lower <> 'a500' AND email_lower <> \
            'a501')"
    ))
    .await;
    let outcome = run(&lower(), &mut conn, &config()).await.unwrap();
    assert_eq!((outcome.rows_filled, outcome.unfilled.failed, outcome.unfilled.left), (998, 2, Some(2)));
    assert_eq!(outcome.failures, [("constraint short".to_owned(), 2)]);
    // What fails everywhere stops it.
    conn.batch_execute("UPDATE users SET email_lower = NULL, email = 'a500'").await.unwrap();
    let error = run(&lower(), &mut conn, &BackfillConfig { max_failed: 3, ..config() }).await.unwrap_err();
    assert!(matches!(error, BackfillError::TooManyFailed { failed: 4, .. }), "{error}");
    assert!(!error.to_string().contains("a500"), "{error}");
}

#[tokio::test]
async fn what_was_cut_off_goes_on_behind_its_last_batch() {
    let (database, mut conn) = database(USERS).await;
    let count = || {
        Backfill::new("users", [Fill::new("email_lower", "coalesce(email_lower, '') || 'x'")]).only("true")
    };
    // Told to stop, it ends behind a batch.
    let stop = async { tokio::task::yield_now().await };
    let outcome = count().run(&mut conn, None, &config(), stop, |_| ()).await.unwrap();
    assert!(!outcome.finished && outcome.rows_seen > 0 && outcome.rows_seen < 1000, "{outcome:?}");
    // Its session ended in the middle of a batch, it loses that batch.
    let (mut holder, mut observer) = (database.connect().await.unwrap(), database.connect().await.unwrap());
    holder.batch_execute("BEGIN; SELECT FROM users WHERE id > 2700 FOR UPDATE").await.unwrap();
    let patient = BackfillConfig { lock_timeout: Duration::from_secs(60), ..config() };
    let doomed = tokio::spawn(async move { run(&count(), &mut conn, &patient).await });
    let waits = "SELECT count(pg_terminate_backend(pid)) AS n FROM pg_stat_activity WHERE wait_event_type = \
        'Lock' \
                 AND datname = current_database() AND query LIKE '%UPDATE%users%'";
    until("it waits and is ended", async || number(&mut observer, waits).await > 0).await;
    assert!(matches!(doomed.await.unwrap(), Err(BackfillError::Database(_))));
    holder.batch_execute("COMMIT").await.unwrap();

    let mut conn = database.connect().await.unwrap();
    let plan = count().plan(&mut conn, &config()).await.unwrap();
    // How large its batches are is up to the server's mood; none that was locked is among them.
    let seen_before = plan.seen_before.unwrap();
    assert!((outcome.rows_seen..=900).contains(&seen_before), "{seen_before}");
    let other = Backfill::new("users", [Fill::new("email_lower", "'other'")]);
    assert!(matches!(other.plan(&mut conn, &config()).await, Err(BackfillError::Changed { .. })));
    let end = run(&count(), &mut conn, &config()).await.unwrap();
    assert_eq!((end.finished, end.rows_seen, end.rows_filled), (true, 1000, 1000));
    assert_eq!(number(&mut conn, "SELECT count(*) AS n FROM users WHERE email_lower = 'x'").await, 1000);
    let statuses = Backfill::statuses(&mut conn, &config()).await.unwrap();
    assert_eq!((statuses.len(), statuses[0].finished, statuses[0].running), (1, true, false));
    Backfill::forget(&mut conn, &config(), &count().name()).await.unwrap();
    let gone = Backfill::forget(&mut conn, &config(), &count().name()).await;
    assert!(matches!(gone, Err(BackfillError::NoSuchBackfill { .. })));
}

#[tokio::test]
async fn it_ends_under_continuous_inserts() {
    let (database, mut conn) = database(USERS).await;
    let mut writer = database.connect().await.unwrap();
    let (tell, mut told) = tokio::sync::oneshot::channel::<()>();
    let writing = tokio::spawn(async move {
        let mut id = 100_000;
        while told.try_recv().is_err() {
            let insert =
                format!("INSERT INTO users SELECT n, 'B' FROM generate_series({id}, {id} + 499) AS n");
            writer.batch_execute(&insert).await.unwrap();
            id += 500;
        }
        id
    });
    let outcome = run(&lower(), &mut conn, &config()).await.unwrap();
    tell.send(()).unwrap();
    assert!(writing.await.unwrap() > 100_500);
    // Some of the first rows that were inserted may have come before it looked for the greatest key.
    assert!(outcome.finished && outcome.rows_seen >= 1000, "{outcome:?}");
    let old = "SELECT count(*) AS n FROM users WHERE id <= 3000 AND email_lower IS NULL";
    assert_eq!(number(&mut conn, old).await, 0);
    assert!(outcome.unfilled.left.unwrap() > 0, "{outcome:?}");
}

#[tokio::test]
async fn one_backfill_runs_in_one_session() {
    let (database, mut conn) = database(USERS).await;
    let (mut holder, mut other) = (database.connect().await.unwrap(), database.connect().await.unwrap());
    holder.batch_execute("BEGIN; SELECT FROM users WHERE id > 2700 FOR UPDATE").await.unwrap();
    let patient = BackfillConfig { lock_timeout: Duration::from_secs(60), ..config() };
    let first = tokio::spawn(async move { run(&lower(), &mut conn, &patient).await });
    let held = "SELECT count(*) AS n FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 1 AND database \
        = \
                (SELECT oid FROM pg_database WHERE datname = current_database())";
    until("the first has its lock", async || number(&mut other, held).await == 1).await;
    let second = run(&lower(), &mut other, &config()).await;
    assert!(matches!(second, Err(BackfillError::Running { .. })), "{second:?}");
    assert!(Backfill::statuses(&mut other, &config()).await.unwrap().iter().all(|one| one.running));
    holder.batch_execute("COMMIT").await.unwrap();
    assert_eq!(first.await.unwrap().unwrap().rows_filled, 1000);
}

#[tokio::test]
async fn what_cannot_be_filled_is_refused_with_its_reason() {
    let (_database, mut conn) = database(
        "CREATE TABLE bare (id int); CREATE VIEW seen AS SELECT 1 AS id; \
         CREATE TABLE keyed (id int PRIMARY KEY, twice int GENERATED ALWAYS AS (id * 2) STORED, more int); \
         CREATE TABLE ruled (id int PRIMARY KEY, more int); \
         CREATE RULE r AS ON UPDATE TO ruled DO INSTEAD NOTHING",
    )
    .await;
    for (table, column, expression, reason) in [
        ("absent", "a", "1", "there is no table absent"),
        ("bare", "id", "1", "has no primary key"),
        ("seen", "id", "1", "is a view"),
        ("ruled", "more", "1", "a rule rewrites"),
        ("keyed", "id", "1", "is part of the key"),
        ("keyed", "twice", "1", "is made by the server"),
        ("keyed", "absent", "1", "does not exist"),
        ("keyed", "more", "absent + 1", "does not take the expressions"),
        ("keyed", "more", "1); DROP TABLE keyed; --", "does not take the expressions"),
    ] {
        let backfill = Backfill::new(table, [Fill::new(column, expression)]);
        let error = backfill.plan(&mut conn, &config()).await.unwrap_err().to_string();
        assert!(error.contains(reason), "{table}.{column}: {error}");
    }
    // Without rows there is nothing to do.
    let empty = Backfill::new("keyed", [Fill::new("more", "1")]);
    assert_eq!(run(&empty, &mut conn, &config()).await.unwrap().rows_seen, 0);
}

#[tokio::test]
async fn probes_that_become_slow_make_it_pause() {
    let (database, mut conn) = database(&USERS.replace("1000", "20000")).await;
    let probes = database.connect().await.unwrap();
    // Where nobody else works, slow probes hurt nobody.
    let mut other = database.connect().await.unwrap();
    let works = tokio::spawn(async move { while other.batch_execute("SELECT 1").await.is_ok() {} });
    // Fast while nothing is filled, and slow as soon as something is.
    let probe = "SELECT pg_sleep(CASE WHEN EXISTS (SELECT FROM users WHERE email_lower IS NOT NULL) \
                 THEN 0.02 ELSE 0 END)";
    let throttle = ThrottleConfig { max_rows: 20, min_rows: 1, ..ThrottleConfig::default() };
    let config = BackfillConfig {
        throttle,
        probe: Some(probe.to_owned()),
        probe_interval: Duration::from_millis(1),
        ..config()
    };
    let mut paused = false;
    let (seen, mut saw) = tokio::sync::oneshot::channel::<()>();
    let mut seen = Some(seen);
    let stop = async {
        while saw.try_recv().is_err() {
            tokio::task::yield_now().await
        }
    };
    let outcome = lower()
        .run(&mut conn, Some(probes), &config, stop, |progress| {
            paused |= progress.pause == db_throttle::Reason::Probes;
            if paused {
                seen.take().map(|seen| seen.send(()));
            }
        })
        .await
        .unwrap();
    works.abort();
    assert!(paused || outcome.finished, "{outcome:?}");
    assert!(paused, "it never paused");
}
