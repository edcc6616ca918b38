//! Every transaction is marked where `DB_COMMIT_MARKERS` says so, and old marks go by themselves.

use std::collections::HashMap;

use db_platform::retry::marker;
use db_platform::{Classify, Config, Db, Error, Resolve, batch};
use db_testkit::{TestDatabase, until};
use diesel::sql_query;
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};

use crate::Number;

async fn marked(database: &TestDatabase) -> Db {
    let vars = [("DATABASE_URL", database.url()), ("DB_COMMIT_MARKERS", "true"), ("APP_ENV", "test")];
    let vars: HashMap<String, String> =
        vars.map(|(name, value)| (name.to_owned(), value.to_owned())).into_iter().collect();
    Db::connect(Config::from_vars(vars).unwrap()).await.unwrap()
}

async fn marks(conn: &mut AsyncPgConnection) -> i64 {
    let count = "SELECT count(*) AS n FROM db_platform_commits";
    sql_query(count).get_result::<Number>(conn).await.unwrap().n
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_transaction_that_does_not_say_otherwise_leaves_a_mark() {
    let database = TestDatabase::empty().await.unwrap();
    let mut conn = database.connect().await.unwrap();
    conn.batch_execute(marker::TABLE).await.unwrap();
    let db = marked(&database).await;
    let work = async |conn: &mut AsyncPgConnection| Ok::<_, Error>(conn.batch_execute("SELECT 1").await?);
    db.transaction(work).await.unwrap();
    db.build_transaction().serializable().run(work).await.unwrap();
    assert_eq!(marks(&mut conn).await, 2);
    let statement = || batch::affected(sql_query("SELECT 1"));
    for _ in 0..2 {
        db.write_batch((statement(), statement())).await.unwrap();
    }
    assert_eq!(marks(&mut conn).await, 4, "one for each batch");
    db.build_transaction().resolve(Resolve::ByTransactionId).run(work).await.unwrap();
    db.build_transaction().read_only().run(work).await.unwrap();
    assert_eq!(marks(&mut conn).await, 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn marks_that_nobody_asks_for_any_more_are_removed_and_young_ones_stay() {
    let database = TestDatabase::empty().await.unwrap();
    let mut conn = database.connect().await.unwrap();
    conn.batch_execute(marker::TABLE).await.unwrap();
    let old = "INSERT INTO db_platform_commits (id, at) SELECT gen_random_uuid(), now() - n * interval '30 min' \
               FROM generate_series(1, 12001) AS n";
    conn.batch_execute(old).await.unwrap();
    let _db = marked(&database).await;
    until("the old ones are gone", async || marks(&mut conn).await == 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_the_table_is_missing_the_error_names_the_command_that_makes_it() {
    let database = TestDatabase::empty().await.unwrap();
    let db = marked(&database).await;
    let work = async |conn: &mut AsyncPgConnection| Ok::<_, Error>(conn.batch_execute("SELECT 1").await?);
    let error = db.transaction(work).await.unwrap_err();
    assert_eq!(error.class(), db_platform::Class::Permanent);
    assert!(error.to_string().contains("--commit-markers"), "{error}");
}
