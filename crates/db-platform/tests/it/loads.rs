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
                names.clear(&1);
                assert_eq!(names.get(1).await.unwrap(), Some(name));
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
