//! Several statements in one round trip: answers in order, and the first that fails has a number.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use db_platform::core::{Observe, QueryEvent};
use db_platform::pool::{ConnectConfig, Connector, Pool, PoolConfig};
use db_platform::{Batch, BatchError, Classify, Db, Error, Result, batch};
use db_testkit::TestDatabase;
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::serialize::{IsNull, Output, ToSql};
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};

use crate::alone;

diesel::table! { items (id) { id -> Integer, name -> Text, } }

#[derive(Queryable, Debug, PartialEq)]
struct Item {
    id: i32,
    name: String,
}

async fn shop() -> (TestDatabase, Db) {
    let database = TestDatabase::empty().await.unwrap();
    let mut conn = database.connect().await.unwrap();
    conn.batch_execute("CREATE TABLE items (id int PRIMARY KEY, name text NOT NULL)").await.unwrap();
    conn.batch_execute("INSERT INTO items VALUES (1, 'one'), (2, 'two'), (3, 'three')").await.unwrap();
    let db = alone(&database, |_| {}).await;
    (database, db)
}

#[tokio::test]
async fn answers_come_in_the_order_of_the_statements_and_each_in_its_own_type() {
    let (_database, db) = shop().await;
    let (all, count, first, none): (Vec<Item>, i64, Item, Option<String>) = db
        .batch((
            batch::rows(items::table.order(items::id)),
            batch::row(items::table.count()),
            batch::row(items::table.find(1)),
            batch::maybe_row(items::table.find(9).select(items::name)),
        ))
        .await
        .unwrap();
    let numbers: Vec<i32> = all.iter().map(|item| item.id).collect();
    assert_eq!((numbers, count, none), (vec![1, 2, 3], 3, None));
    assert_eq!(first, Item { id: 1, name: "one".to_owned() });

    let names = [3, 1, 2].map(|id| batch::row::<String>(items::table.find(id).select(items::name)));
    assert_eq!(db.batch(names.clone()).await.unwrap(), ["three", "one", "two"]);
    let hundred: Vec<_> = names.into_iter().cycle().take(100).collect();
    assert_eq!(db.batch(hundred).await.unwrap()[97..], ["one", "two", "three"]);
}

#[tokio::test]
async fn writes_in_a_transaction_happen_in_order_or_not_at_all_and_the_refused_one_is_named() {
    let (_database, db) = shop().await;
    let add = |id: i32, name: &'static str| {
        batch::affected(diesel::insert_into(items::table).values((items::id.eq(id), items::name.eq(name))))
    };
    let rename = batch::affected(diesel::update(items::table.find(4)).set(items::name.eq("quattro")));
    let (added, renamed) = db
        .transaction::<_, BatchError>(async |conn| (add(4, "four"), rename.clone()).run(conn).await)
        .await
        .unwrap();
    assert_eq!((added, renamed), (1, 1), "the second finds what the first wrote");

    let refused = db
        .transaction::<_, BatchError>(async |conn| {
            (add(5, "five"), add(1, "again"), add(6, "six")).run(conn).await
        })
        .await
        .unwrap_err();
    assert_eq!(refused.statement, Some(1));
    assert!(matches!(refused.error, Error::UniqueViolation(_)), "{refused:?}");
    assert_eq!(refused.to_string(), "statement number 2 of the batch was refused");
    let (count, last): (i64, Item) = db
        .batch((batch::row(items::table.count()), batch::row(items::table.order(items::id.desc()).limit(1))))
        .await
        .unwrap();
    assert_eq!((count, last), (4, Item { id: 4, name: "quattro".to_owned() }));
}

#[derive(Debug, Clone, Copy, diesel::expression::AsExpression)]
#[diesel(sql_type = schema::MoodType)]
struct Good;

impl ToSql<schema::MoodType, Pg> for Good {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> diesel::serialize::Result {
        out.write_all(b"good")?;
        Ok(IsNull::No)
    }
}

mod schema {
    #[derive(diesel::query_builder::QueryId, Clone, diesel::sql_types::SqlType)]
    #[diesel(postgres_type(name = "mood"))]
    pub struct MoodType;

    diesel::table! { use diesel::sql_types::Integer; use super::MoodType; people (id) { id -> Integer, mood -> MoodType, } }
    diesel::table! { friends (id) { id -> Integer, } }
}

/// A connection looks up a type of the database's own when it first meets it.
#[tokio::test]
async fn no_statement_overtakes_one_whose_types_must_be_looked_up_first() {
    use schema::{friends, people};
    let database = TestDatabase::empty().await.unwrap();
    let create = "CREATE TYPE mood AS ENUM ('good'); CREATE TABLE people (id int PRIMARY KEY, mood mood);
                  CREATE TABLE friends (id int REFERENCES people)";
    database.connect().await.unwrap().batch_execute(create).await.unwrap();
    let person = |id: i32| {
        batch::affected(diesel::insert_into(people::table).values((people::id.eq(id), people::mood.eq(Good))))
    };
    let friend = |id: i32| batch::affected(diesel::insert_into(friends::table).values(friends::id.eq(id)));

    let db = alone(&database, |_| {}).await;
    let both = (person(1), friend(1));
    let added = db.transaction::<_, BatchError>(async |conn| both.clone().run(conn).await).await;
    assert_eq!(added.unwrap(), (1, 1), "whoever has a friend exists");
    let many: Vec<_> = (2..42).map(person).collect();
    let added = db.transaction::<_, BatchError>(async |conn| many.clone().run(conn).await).await;
    assert_eq!(added.unwrap(), [1; 40]);
}

#[tokio::test]
async fn a_batch_is_a_read_and_names_the_first_statement_that_fails() {
    let (_database, db) = shop().await;
    let delete = batch::affected(diesel::delete(items::table));
    let refused = db.batch((batch::row::<i64>(items::table.count()), delete)).await.unwrap_err();
    assert_eq!((refused.statement, refused.error.sqlstate().unwrap().as_str()), (Some(1), "25006"));

    let missing = [1, 8, 9].map(|id| batch::row::<Item>(items::table.find(id)));
    let refused = db.batch(missing).await.unwrap_err();
    assert!(matches!(refused, BatchError { statement: Some(1), error: Error::NotFound }), "{refused:?}");
    let plain: Error = refused.into();
    assert!(matches!(plain, Error::NotFound));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_may_borrow_and_runs_in_a_spawned_task_and_in_a_handler() {
    fn handler<F: Future<Output = Result<String, BatchError>> + Send + 'static>(
        handler: impl Fn(Db) -> F,
        db: Db,
    ) -> F {
        handler(db)
    }
    let (_database, db) = shop().await;
    let name = handler(
        async |db: Db| {
            let wanted = String::from("two");
            let query = items::table.filter(items::name.eq(&wanted)).select(items::name);
            let (name, _): (String, i64) =
                db.batch((batch::row(query), batch::row(items::table.count()))).await?;
            let written = db
                .transaction::<_, BatchError>(async |conn| {
                    let update = diesel::update(items::table.find(2)).set(items::name.eq(&wanted));
                    [batch::affected(update)].run(conn).await
                })
                .await?;
            assert_eq!(written, [1]);
            Ok(name)
        },
        db,
    );
    assert_eq!(tokio::spawn(name).await.unwrap().unwrap(), "two");
}

/// When each statement was sent and when its answer had come.
#[derive(Default)]
struct Times(Mutex<Vec<(Instant, Instant)>>);

impl Observe for Times {
    fn on_query(&self, event: &QueryEvent<'_>) {
        self.0.lock().unwrap().push((event.sent, event.sent + event.elapsed));
    }
}

impl Times {
    /// How often something was sent when every answer before had come.
    fn round_trips(&self) -> (usize, usize) {
        let times = std::mem::take(&mut *self.0.lock().unwrap());
        let (mut trips, mut answered) = (0, None);
        for (sent, end) in &times {
            trips += usize::from(answered.is_none_or(|answered| *sent >= answered));
            answered = answered.max(Some(*end));
        }
        (times.len(), trips)
    }
}

/// One thread: the batch is sent before the connection's own task reads an answer.
#[tokio::test]
async fn a_batch_takes_one_round_trip_once_its_statements_are_prepared() {
    let (database, _db) = shop().await;
    let times = Arc::new(Times::default());
    let url: db_platform::DatabaseUrl = database.url().parse().unwrap();
    let endpoint = url.hosts()[0].clone();
    let connector =
        Connector::new(url, ConnectConfig::default()).observed_by([Arc::clone(&times) as Arc<dyn Observe>]);
    let pool = Pool::open(connector, endpoint, PoolConfig::default());
    let mut conn = pool.get().await.unwrap();

    let one_by_one = async |conn: &mut AsyncPgConnection| {
        items::table.count().get_result::<i64>(conn).await.unwrap();
        for id in 1..=3 {
            items::table.find(id).get_result::<Item>(conn).await.unwrap();
        }
    };
    one_by_one(&mut conn).await;
    times.round_trips();
    one_by_one(&mut conn).await;
    assert_eq!(times.round_trips(), (4, 4), "the instrument sees what is not pipelined");

    let find = |id| batch::row::<Item>(items::table.find(id));
    let count = batch::row::<i64>(items::table.count());
    for _ in 0..3 {
        let (found, two, three, count) = (find(1), find(2), find(3), count.clone()).run(&conn).await.unwrap();
        assert_eq!((found.id, two.id, three.id, count), (1, 2, 3, 3));
        assert_eq!(times.round_trips(), (4, 1));
    }
    assert_eq!(
        Vec::from([1, 2, 3]).into_iter().map(find).collect::<Vec<_>>().run(&conn).await.unwrap().len(),
        3
    );
    assert_eq!(times.round_trips(), (3, 1));
}

#[tokio::test]
async fn what_a_batch_says_of_itself_is_what_its_error_is() {
    let (_database, db) = shop().await;
    assert!(db.shutdown(std::time::Duration::from_secs(5)).await.is_clean());
    let closed = db.batch([batch::row::<i64>(items::table.count())]).await.unwrap_err();
    assert!(matches!(closed, BatchError { statement: None, error: Error::PoolClosed { .. } }), "{closed:?}");
    assert_eq!(closed.class(), closed.error.class());
    assert_eq!(closed.to_string(), "the batch was not run");
    assert!(std::error::Error::source(&closed).is_some());
}
