//! Loads through the whole stack: routed as reads, in the session, and in a transaction.

use db_platform::loader::{Query, lend};
use db_platform::{Error, replica_routing};
use db_testkit::{Cluster, TestDatabase};
use diesel::prelude::*;
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use futures_util::future::join_all;
use replica_routing::Session;

use crate::{alone, db};

mod schema {
    diesel::table! { users (id) { id -> Integer, name -> Text, } }
}
use schema::users;

const SCHEMA: &str = "CREATE TABLE users (id integer PRIMARY KEY, name text NOT NULL);
    INSERT INTO users SELECT n, 'user ' || n FROM generate_series(1, 100) AS n";

fn names() -> Query<i32, String> {
    Query::new("names", async |conn: &mut AsyncPgConnection, ids: Vec<i32>| {
        users::table.filter(users::id.eq_any(ids)).load::<(i32, String)>(conn).await
    })
}

async fn rename(conn: &mut AsyncPgConnection, name: &str) -> QueryResult<usize> {
    diesel::update(users::table.find(1)).set(users::name.eq(name)).execute(conn).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_writes_loads_what_it_wrote() {
    let cluster = Cluster::builder().standbys(1).start().await.unwrap();
    let db = db(&cluster).await;
    db.transaction::<_, Error>(async |conn| Ok(conn.batch_execute(SCHEMA).await?)).await.unwrap();
    cluster.wait_until_caught_up(1).await.unwrap();
    // From here on the standby is behind: a load that is not in the session would not see the write.
    cluster.pause_replay(1).await.unwrap();
    let names = names();
    Session::default()
        .scope(async {
            let names = db.loader(&names);
            for round in 0..3 {
                let name = format!("renamed {round}");
                let written = name.clone();
                db.transaction::<_, Error>(async move |conn| Ok(rename(conn, &written).await?))
                    .await
                    .unwrap();
                // Nobody has told the loader: it forgets what the session has written.
                assert_eq!(names.get(1).await.unwrap(), Some(name));
                let keys = names.counts().keys;
                assert_eq!((names.get(1).await.is_ok(), names.counts().keys), (true, keys), "it remembers");
            }
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn loads_of_a_request_are_one_read_and_those_of_a_transaction_see_its_writes() {
    let database = TestDatabase::empty().await.unwrap();
    let db = alone(&database, |_| {}).await;
    db.transaction::<_, Error>(async |conn| Ok(conn.batch_execute(SCHEMA).await?)).await.unwrap();
    let names = names();
    let request = db.loader(&names);
    let answers = join_all((1..=200).map(|id| request.get(id))).await;
    assert_eq!(answers.into_iter().filter(|answer| matches!(answer, Ok(Some(_)))).count(), 100);
    assert_eq!(names.counts().batches(), 1);

    let query = names.clone();
    let seen = db.transaction::<_, Error>(async move |conn| {
        rename(conn, "mine").await?;
        let (lent, mut loan) = lend(conn);
        let names = query.within(&lent);
        let (one, two) = loan.run(async { tokio::join!(names.get(1), names.get(2)) }).await;
        Ok((one?, two?))
    });
    assert_eq!(seen.await.unwrap(), (Some("mine".to_owned()), Some("user 2".to_owned())));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_session_a_loader_forgets_after_every_transaction_that_may_write() {
    let database = TestDatabase::empty().await.unwrap();
    let db = alone(&database, |_| {}).await;
    db.transaction::<_, Error>(async |conn| Ok(conn.batch_execute(SCHEMA).await?)).await.unwrap();
    let request = db.loader(&names());
    let loaded = async || {
        let name = request.get(1).await.unwrap().unwrap();
        (name, request.counts().keys)
    };
    assert_eq!(loaded().await, ("user 1".to_owned(), 1));
    // In another task, and through another handle.
    let other = db.clone();
    let write =
        async move { other.transaction::<_, Error>(async |conn| Ok(rename(conn, "mine").await?)).await };
    tokio::spawn(write).await.unwrap().unwrap();
    assert_eq!(loaded().await, ("mine".to_owned(), 2));
    let reads = db.build_transaction().read_only();
    reads.run(async |conn| Ok::<_, Error>(conn.batch_execute("SELECT 1").await?)).await.unwrap();
    assert_eq!(loaded().await, ("mine".to_owned(), 2), "it wrote nothing");
    let once = db
        .build_transaction()
        .run_once(async |conn: &mut AsyncPgConnection| Ok::<_, Error>(rename(conn, "again").await?));
    once.await.unwrap();
    assert_eq!(loaded().await, ("again".to_owned(), 3));
}
