//! Short lock timeouts: nobody queues behind a migration that waits.

use std::time::Duration;

use db_migrations::{MigrationError, Migrator, MigratorConfig};
use db_testkit::{TestDatabase, until};
use diesel_async::{AsyncPgConnection, SimpleAsyncConnection};

use crate::fixture::{PEOPLE, migrations, migrator, number};

const COLUMN: (&str, &str) =
    ("2_column/up.sql", "CREATE TABLE first_of_two (); ALTER TABLE people ADD COLUMN born date");

fn quick() -> MigratorConfig {
    MigratorConfig {
        lock_timeout: Duration::from_millis(20),
        lock_pause: Duration::from_millis(20),
        ..MigratorConfig::default()
    }
}

async fn people() -> (TestDatabase, AsyncPgConnection, AsyncPgConnection) {
    let database = TestDatabase::empty().await.unwrap();
    let (mut reader, mut conn) = (database.connect().await.unwrap(), database.connect().await.unwrap());
    migrator(&[PEOPLE]).apply(&mut conn, |_| ()).await.unwrap();
    reader.batch_execute("BEGIN; SELECT * FROM people").await.unwrap();
    (database, reader, conn)
}

#[tokio::test]
async fn a_lock_that_is_not_free_rolls_everything_back_and_the_migration_succeeds_later() {
    let (database, mut reader, mut conn) = people().await;
    let migrator = Migrator::new(migrations(&[PEOPLE, COLUMN]), quick());
    let applying =
        tokio::spawn(async move { migrator.apply(&mut conn, |_| ()).await.map(|steps| steps.len()) });
    let mut observer = database.connect().await.unwrap();
    let rolled_back = "SELECT xact_rollback AS n FROM pg_stat_database WHERE datname = current_database()";
    until("three attempts were rolled back", async || {
        observer.batch_execute("SELECT pg_stat_clear_snapshot()").await.unwrap();
        number(&mut observer, rolled_back).await >= 3
    })
    .await;
    // Between two attempts nothing of the migration is there.
    assert_eq!(
        number(&mut observer, "SELECT count(*) AS n FROM pg_class WHERE relname = 'first_of_two'").await,
        0
    );
    reader.batch_execute("COMMIT").await.unwrap();
    assert_eq!(applying.await.unwrap().unwrap(), 1);
}

#[tokio::test]
async fn a_lock_that_is_never_free_fails_the_migration() {
    let (_database, _reader, mut conn) = people().await;
    let config = MigratorConfig { lock_attempts: 3, ..quick() };
    let error =
        Migrator::new(migrations(&[PEOPLE, COLUMN]), config).apply(&mut conn, |_| ()).await.unwrap_err();
    assert!(matches!(error, MigrationError::LockNotFree { attempts: 3, line: 1, .. }), "{error:?}");
    assert!(error.to_string().contains("ALTER TABLE people ADD COLUMN born date"), "{error}");
    assert_eq!(
        number(&mut conn, "SELECT count(*) AS n FROM pg_class WHERE relname = 'first_of_two'").await,
        0
    );
}

#[tokio::test]
async fn a_concurrent_index_waits_for_old_transactions_without_a_retry() {
    let (database, mut reader, mut conn) = people().await;
    reader.batch_execute("INSERT INTO people VALUES (1)").await.unwrap();
    let index = ("2_index/up.sql", "CREATE INDEX CONCURRENTLY people_name_idx ON people (name)");
    let migrator = Migrator::new(migrations(&[PEOPLE, index]), quick());
    let applying =
        tokio::spawn(async move { migrator.apply(&mut conn, |_| ()).await.map(|steps| steps.len()) });
    let mut observer = database.connect().await.unwrap();
    let waits = "SELECT count(*) AS n FROM pg_stat_progress_create_index WHERE datname = current_database() \
                 AND phase LIKE 'waiting for %' AND (SELECT clock_timestamp() - query_start > interval '100 ms' \
                 FROM pg_stat_activity AS a WHERE a.pid = pg_stat_progress_create_index.pid)";
    until("the build waits longer than a lock timeout", async || number(&mut observer, waits).await == 1)
        .await;
    reader.batch_execute("COMMIT").await.unwrap();
    assert_eq!(applying.await.unwrap().unwrap(), 1);
}
