//! A service applies its own migrations when it starts.

use db_platform::migrations::{Embedded, MigrationError, embed};
use db_testkit::TestDatabase;
use diesel::sql_query;
use diesel_async::{RunQueryDsl, SimpleAsyncConnection};

use crate::{Number, alone};

static MIGRATIONS: Embedded = embed!("$CARGO_MANIFEST_DIR/../../migrations");
static SLOW: Embedded = embed!("$CARGO_MANIFEST_DIR/tests/slow_migrations");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_several_processes_that_start_at_once_one_applies_and_none_fails() {
    let database = TestDatabase::empty().await.unwrap();
    let starting: Vec<_> = (0..3)
        .map(|_| {
            let url = database.url().to_owned();
            tokio::spawn(async move {
                let config = db_platform::Config::new(db_platform::Environment::Test, url.parse().unwrap());
                db_platform::Db::connect(config).await.unwrap().migrate(&MIGRATIONS).await.unwrap().len()
            })
        })
        .collect();
    let mut applied = Vec::new();
    for one in starting {
        applied.push(one.await.unwrap());
    }
    let all = MIGRATIONS.read().unwrap().iter().count();
    applied.sort_unstable();
    assert_eq!(applied.iter().sum::<usize>(), applied[2], "one of them did all: {applied:?}");
    assert!(applied[2] >= all, "{applied:?} of {all}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_migration_may_take_longer_than_a_statement_of_the_service() {
    let database = TestDatabase::empty().await.unwrap();
    let db = alone(&database, |config| {
        config.connect.statement_timeout = Some(std::time::Duration::from_secs(1));
    })
    .await;
    assert_eq!(db.migrate(&SLOW).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ledger_in_a_schema_of_its_own_is_used_where_it_is_named() {
    let database = TestDatabase::empty().await.unwrap();
    let mut conn = database.connect().await.unwrap();
    conn.batch_execute("CREATE SCHEMA mine").await.unwrap();
    let db = alone(&database, |config| config.ledger_schema = Some("mine".to_owned())).await;
    db.migrate(&MIGRATIONS).await.unwrap();
    let tables = "SELECT count(*) AS n FROM pg_tables WHERE schemaname = 'mine'";
    assert!(sql_query(tables).get_result::<Number>(&mut conn).await.unwrap().n > 0);
    let nowhere = alone(&database, |config| config.ledger_schema = Some("nowhere".to_owned())).await;
    let refused = nowhere.migrate(&MIGRATIONS).await.unwrap_err();
    assert!(matches!(refused, MigrationError::NoLedgerSchema { .. }), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_was_made_by_hand_is_told_how_to_record_what_it_holds() {
    let database = TestDatabase::empty().await.unwrap();
    let db = alone(&database, |_| {}).await;
    db.migrate(&MIGRATIONS).await.unwrap();
    let mut conn = database.connect().await.unwrap();
    let forget = "DROP TABLE __diesel_schema_migrations, __db_migrations, __db_migrations_under_way";
    conn.batch_execute(forget).await.unwrap();
    let refused = db.migrate(&MIGRATIONS).await.unwrap_err().to_string();
    assert!(refused.contains("already exists") && refused.contains("dbctl migrate baseline"), "{refused}");
    // The version that it names is one that the command takes.
    let version = refused.rsplit("baseline ").next().unwrap().trim_end_matches(['`', '.']).to_owned();
    let set = MIGRATIONS.read().unwrap();
    let newest = set.iter().map(|one| one.version.to_string()).find(|known| *known == version);
    assert_eq!(newest.as_deref(), Some(&*version), "{refused}");
}
