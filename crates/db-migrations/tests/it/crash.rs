//! Runners and servers that die, and the boot after it.

use db_migrations::{MigrationError, Migrator};
use db_testkit::{TestDatabase, until};
use diesel_async::{AsyncPgConnection, SimpleAsyncConnection};

use crate::fixture::{INVALID, PEOPLE, lines, migrator, number};

const UNIQUE: (&str, &str) = (
    "2_index/up.sql",
    "CREATE TABLE before_index (); CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS people_id ON people (id); CREATE TABLE after_index ()",
);

#[tokio::test]
async fn an_index_build_that_fails_is_not_recorded_and_leaves_no_invalid_index() {
    let database = TestDatabase::empty().await.unwrap();
    let mut conn = database.connect().await.unwrap();
    migrator(&[PEOPLE]).apply(&mut conn, |_| ()).await.unwrap();
    conn.batch_execute("INSERT INTO people VALUES (1), (1)").await.unwrap();
    let migrator = migrator(&[PEOPLE, UNIQUE]);
    for _ in 0..2 {
        let error = migrator.apply(&mut conn, |_| ()).await.unwrap_err();
        assert!(matches!(error, MigrationError::Sql { .. }), "{error:?}");
        assert_eq!(number(&mut conn, INVALID).await, 0);
        let undo = migrator.undo(&mut conn, 1, |_| ()).await;
        assert!(matches!(undo, Err(MigrationError::HalfWay { .. })), "{undo:?}");
    }
    insta::assert_snapshot!(migrator.status(&mut conn).await.unwrap(), @r"
    applied  1_people
    pending  2_index (cut off, parts done: 1)
    1 applied, 1 pending
    ");
    conn.batch_execute("DELETE FROM people").await.unwrap();
    assert_eq!(migrator.apply(&mut conn, |_| ()).await.unwrap().len(), 1);
    assert_eq!(
        number(
            &mut conn,
            "SELECT count(*) AS n FROM pg_index WHERE indexrelid = 'people_id'::regclass AND indisvalid"
        )
        .await,
        1
    );
}

#[tokio::test]
async fn an_invalid_index_that_another_runner_left_is_rebuilt() {
    let database = TestDatabase::empty().await.unwrap();
    let mut conn = database.connect().await.unwrap();
    migrator(&[PEOPLE]).apply(&mut conn, |_| ()).await.unwrap();
    conn.batch_execute("INSERT INTO people VALUES (1), (1)").await.unwrap();
    conn.batch_execute("CREATE UNIQUE INDEX CONCURRENTLY people_id ON people (id)").await.unwrap_err();
    conn.batch_execute("DELETE FROM people").await.unwrap();
    assert_eq!(number(&mut conn, INVALID).await, 1);
    migrator(&[PEOPLE, UNIQUE]).apply(&mut conn, |_| ()).await.unwrap();
    assert_eq!(number(&mut conn, INVALID).await, 0);
}

#[tokio::test]
async fn what_ran_of_a_migration_that_was_cut_off_may_not_be_edited() {
    let database = TestDatabase::empty().await.unwrap();
    let mut conn = database.connect().await.unwrap();
    let file = |first: &str| migrator(&[("1_a/up.sql", &format!("{first}; VACUUM; SELECT nothing()"))]);
    file("CREATE TABLE a ()").apply(&mut conn, |_| ()).await.unwrap_err();
    let edited = migrator(&[("1_a/up.sql", "CREATE TABLE b (); VACUUM; SELECT 1")]);
    let error = edited.apply(&mut conn, |_| ()).await.unwrap_err();
    assert!(matches!(error, MigrationError::EditedUnderWay { done: 2, .. }), "{error:?}");
    // What has not run may be.
    let rest = migrator(&[("1_a/up.sql", "CREATE TABLE a (); VACUUM; SELECT 1")]);
    assert_eq!(rest.plan(&mut conn).await.unwrap().pending[0].parts_done, 2);
    edited.repair(&mut conn, &["1".to_owned()]).await.unwrap();
    assert_eq!(edited.apply(&mut conn, |_| ()).await.unwrap().len(), 1);
    let tables = "SELECT relname::text AS line FROM pg_class WHERE relname IN ('a', 'b') ORDER BY 1";
    assert_eq!(lines(&mut conn, tables).await, ["a"]);
}

/// Ends the session that waits half-way in a statement like this, as `kill` of its server process does.
async fn terminate(conn: &mut AsyncPgConnection, like: &str) {
    let sql = format!(
        "SELECT count(pg_terminate_backend(pid)) AS n FROM pg_stat_activity WHERE datname = current_database() \
         AND pid <> pg_backend_pid() AND wait_event_type = 'Lock' AND query LIKE '{like}'"
    );
    until("the statement waits and is ended", async || number(conn, &sql).await > 0).await;
}

/// Ends the runner in the statement that is like this, and says what the next one finds.
async fn cut_off(database: &TestDatabase, migrator: &Migrator, like: &str) {
    let (mut victim, mut observer) = (database.connect().await.unwrap(), database.connect().await.unwrap());
    let doomed = migrator.clone();
    let run = tokio::spawn(async move { doomed.apply(&mut victim, |_| ()).await.map(|_| ()) });
    terminate(&mut observer, like).await;
    run.await.unwrap().unwrap_err();
}

#[tokio::test]
async fn a_build_whose_server_process_is_ended_is_made_anew_by_the_next_boot() {
    let database = TestDatabase::empty().await.unwrap();
    let (mut conn, mut blocker) = (database.connect().await.unwrap(), database.connect().await.unwrap());
    migrator(&[PEOPLE]).apply(&mut conn, |_| ()).await.unwrap();
    let migrator = migrator(&[
        PEOPLE,
        ("2_index/up.sql", "CREATE TABLE t (); CREATE INDEX CONCURRENTLY ON people (id)"),
    ]);
    // A build waits for it, half-way.
    blocker.batch_execute("BEGIN; INSERT INTO people VALUES (1)").await.unwrap();
    cut_off(&database, &migrator, "CREATE INDEX CONCURRENTLY%").await;
    assert_eq!(number(&mut conn, INVALID).await, 1);
    blocker.batch_execute("COMMIT").await.unwrap();
    assert_eq!(migrator.apply(&mut conn, |_| ()).await.unwrap().len(), 1);
    let indexes =
        "SELECT indexrelid::regclass::text AS line FROM pg_index WHERE indrelid = 'people'::regclass";
    assert_eq!(lines(&mut conn, indexes).await, ["people_id_idx"]);
    assert_eq!(number(&mut conn, INVALID).await, 0);
}

#[tokio::test]
async fn a_build_that_was_finished_and_not_recorded_is_taken_for_done() {
    let database = TestDatabase::empty().await.unwrap();
    let (mut conn, mut blocker) = (database.connect().await.unwrap(), database.connect().await.unwrap());
    migrator(&[PEOPLE]).apply(&mut conn, |_| ()).await.unwrap();
    for (number, index) in ["CONCURRENTLY people_id", "CONCURRENTLY"].iter().enumerate() {
        let create = format!("CREATE INDEX {index} ON people (id)");
        let file = format!("{}_index/up.sql", number + 2);
        let earlier = ("2_index/up.sql", "CREATE INDEX CONCURRENTLY people_id ON people (id)");
        let migrator = migrator(&[PEOPLE, earlier, (&file, &create)]);
        blocker.batch_execute("BEGIN; INSERT INTO people VALUES (1)").await.unwrap();
        cut_off(&database, &migrator, "CREATE INDEX CONCURRENTLY%").await;
        blocker.batch_execute("COMMIT").await.unwrap();
        // As if the server had come to the end before it was killed.
        conn.batch_execute("REINDEX TABLE people").await.unwrap();
        assert_eq!(number_of_indexes(&mut conn).await, number as i64 + 1);
        assert_eq!(migrator.apply(&mut conn, |_| ()).await.unwrap().len(), 1);
        assert_eq!(number_of_indexes(&mut conn).await, number as i64 + 1);
    }
}

async fn number_of_indexes(conn: &mut AsyncPgConnection) -> i64 {
    number(conn, "SELECT count(*) AS n FROM pg_index WHERE indrelid = 'people'::regclass AND indisvalid")
        .await
}

#[tokio::test]
async fn a_drop_and_a_detach_that_were_cut_off_are_finished() {
    let database = TestDatabase::empty().await.unwrap();
    let (mut conn, mut blocker) = (database.connect().await.unwrap(), database.connect().await.unwrap());
    let tables = (
        "1_tables/up.sql",
        "CREATE TABLE p (id int) PARTITION BY LIST (id); CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1); \
         CREATE TABLE t (id int); CREATE INDEX t_id ON t (id)",
    );
    migrator(&[tables]).apply(&mut conn, |_| ()).await.unwrap();
    let drop = ("2_drop/up.sql", "DROP INDEX CONCURRENTLY t_id");
    blocker.batch_execute("BEGIN; INSERT INTO t VALUES (1)").await.unwrap();
    cut_off(&database, &migrator(&[tables, drop]), "DROP INDEX%").await;
    blocker.batch_execute("COMMIT").await.unwrap();
    assert_eq!(number(&mut conn, INVALID).await, 1);
    migrator(&[tables, drop]).apply(&mut conn, |_| ()).await.unwrap();

    let all = [tables, drop, ("3_detach/up.sql", "ALTER TABLE p DETACH PARTITION p1 CONCURRENTLY")];
    blocker.batch_execute("BEGIN; SELECT * FROM p").await.unwrap();
    cut_off(&database, &migrator(&all), "ALTER TABLE p DETACH%").await;
    blocker.batch_execute("COMMIT").await.unwrap();
    assert_eq!(number(&mut conn, "SELECT count(*) AS n FROM pg_inherits WHERE inhdetachpending").await, 1);
    migrator(&all).apply(&mut conn, |_| ()).await.unwrap();
    assert_eq!(
        number(&mut conn, "SELECT count(*) AS n FROM pg_inherits WHERE inhparent = 'p'::regclass").await,
        0
    );
    assert_eq!(number(&mut conn, INVALID).await, 0);
}

#[tokio::test]
async fn an_undo_that_was_cut_off_is_finished_by_the_next_boot_which_then_applies() {
    let database = TestDatabase::empty().await.unwrap();
    let (mut conn, mut blocker) = (database.connect().await.unwrap(), database.connect().await.unwrap());
    let migrator = migrator(&[
        PEOPLE,
        ("2_index/up.sql", "CREATE TABLE extra (); CREATE INDEX CONCURRENTLY people_id ON people (id)"),
        ("2_index/down.sql", "DROP TABLE extra; DROP INDEX CONCURRENTLY people_id"),
    ]);
    migrator.apply(&mut conn, |_| ()).await.unwrap();
    blocker.batch_execute("BEGIN; INSERT INTO people VALUES (1)").await.unwrap();
    let (doomed, mut victim) = (migrator.clone(), database.connect().await.unwrap());
    let run = tokio::spawn(async move { doomed.undo(&mut victim, 1, |_| ()).await.map(|_| ()) });
    terminate(&mut conn, "DROP INDEX%").await;
    run.await.unwrap().unwrap_err();
    blocker.batch_execute("COMMIT").await.unwrap();
    let steps: Vec<_> =
        migrator.apply(&mut conn, |_| ()).await.unwrap().iter().map(|step| step.undone).collect();
    assert_eq!(steps, [true, false]);
    assert_eq!(number(&mut conn, "SELECT count(*) AS n FROM __db_migrations_under_way").await, 0);
    assert_eq!(number(&mut conn, INVALID).await, 0);
}
