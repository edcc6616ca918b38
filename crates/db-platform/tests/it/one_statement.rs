//! One statement without a closure around it, whatever it is made of: boxed at run time, borrowing, several
//! times if need be.

use std::time::Duration;

use db_platform::{Db, Error, Freshness, batch};
use db_testkit::{Cluster, TestDatabase, until};
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{Bool, Text};
use diesel_async::{RunQueryDsl, SimpleAsyncConnection};
use futures_util::TryStreamExt;

use crate::{Number, alone, db, port_of};

diesel::table! { pets (id) { id -> Integer, name -> Text, } }

#[derive(Queryable, Insertable, Debug, PartialEq)]
#[diesel(table_name = pets)]
struct Pet {
    id: i32,
    name: String,
}

async fn with_pets() -> (TestDatabase, Db) {
    let database = TestDatabase::empty().await.unwrap();
    let mut owner = database.connect().await.unwrap();
    owner.batch_execute("CREATE TABLE pets (id int PRIMARY KEY, name text NOT NULL)").await.unwrap();
    owner.batch_execute("INSERT INTO pets VALUES (1, 'ann'), (2, 'bob'), (3, 'cid')").await.unwrap();
    let db = alone(&database, |config| config.cache = None).await;
    (database, db)
}

/// A query that is put together at run time: neither `Clone` nor `Sync`.
fn pets_named<'a>(part: Option<&'a str>) -> pets::BoxedQuery<'a, diesel::pg::Pg> {
    let found = pets::table.into_boxed().order(pets::id);
    match part {
        Some(part) => found.filter(pets::name.eq(part)),
        None => found,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_of_one_statement_answers_rows_or_the_only_row_or_none() {
    let (_database, db) = with_pets().await;
    let name = "bob".to_owned();
    let (all, bobs): (Vec<Pet>, Vec<Pet>) =
        (db.rows(pets_named(None)).await.unwrap(), db.rows(pets_named(Some(&name))).await.unwrap());
    assert_eq!((all.len(), bobs), (3, vec![Pet { id: 2, name: name.clone() }]));
    assert_eq!(db.row::<_, i64>(pets::table.count()).await.unwrap(), 3);
    let missing = pets::table.find(9).select(pets::name);
    assert_eq!(db.maybe_row::<_, String>(missing).await.unwrap(), None);
    assert!(matches!(db.row::<_, String>(missing).await.unwrap_err(), Error::NotFound));
    let counted = sql_query("SELECT count(*) AS n FROM pets");
    assert_eq!(db.row::<_, Number>(counted).await.unwrap().n, 3);
    // It is a read, wherever it is asked for.
    let written = db.rows::<_, i32>(diesel::delete(pets::table).returning(pets::id)).await.unwrap_err();
    assert!(matches!(written, Error::WriteInRead(_)), "{written}");
    // And a task may own it.
    let spawned = tokio::spawn(async move { db.rows::<_, Pet>(pets_named(Some("cid"))).await });
    assert_eq!(spawned.await.unwrap().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_of_one_statement_answers_its_row() {
    let (_database, db) = with_pets().await;
    let pet = Pet { id: 4, name: "dan".to_owned() };
    let added: Pet = db.write_row(diesel::insert_into(pets::table).values(&pet)).await.unwrap();
    assert_eq!(added, pet);
    let renamed = diesel::update(pets::table.find(9)).set(pets::name.eq("eve")).returning(pets::id);
    assert!(matches!(db.write_row::<_, i32>(renamed).await.unwrap_err(), Error::NotFound));
    let mut gone = diesel::delete(pets::table).into_boxed();
    gone = gone.filter(pets::id.gt(1));
    let mut ids: Vec<i32> = db.write_returning(gone.returning(pets::id)).await.unwrap();
    ids.sort_unstable();
    assert_eq!(ids, [2, 3, 4]);
    assert_eq!(db.write(diesel::delete(pets::table).into_boxed()).await.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_boxed_query_fits_a_batch_and_a_stream() {
    let (_database, db) = with_pets().await;
    let gone = diesel::delete(pets::table).filter(pets::id.eq(3)).into_boxed();
    let (all, bob): (Vec<Pet>, Option<Pet>) =
        db.batch((batch::rows(pets_named(None)), batch::maybe_row(pets_named(Some("bob"))))).await.unwrap();
    assert_eq!((all.len(), bob.unwrap().id), (3, 2));
    assert_eq!(db.write_batch((batch::affected(gone),)).await.unwrap(), (1,));
    let rest: Vec<Pet> = db.stream(pets_named(None), 1).try_collect().await.unwrap();
    assert_eq!(rest.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_boxed_query_runs_again_where_its_server_process_ended() {
    let (database, db) = with_pets().await;
    let mut owner = database.connect().await.unwrap();
    let slow = pets_named(Some("ann")).filter(sql::<Bool>("pg_sleep(0.5) IS NOT NULL"));
    let asking = tokio::spawn(async move { (db.rows::<_, Pet>(slow).await, db) });
    until("it is under way and its process is ended", async || {
        sql_query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(0.5) IS%' AND state = 'active' AND pid <> pg_backend_pid()")
            .execute(&mut owner)
            .await
            .unwrap()
            == 1
    })
    .await;
    let (answer, db) = asking.await.unwrap();
    assert_eq!(answer.unwrap(), [Pet { id: 1, name: "ann".to_owned() }]);
    assert_eq!(db.retries().total(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_of_one_statement_goes_where_its_builder_says() {
    let cluster = Cluster::builder().standbys(1).start().await.unwrap();
    let db = db(&cluster).await;
    let port = diesel::select(sql::<Text>("inet_server_port()::text"));
    let (primary, standby) = (port_of(&cluster.primary_url()), port_of(&cluster.standby_urls()[0]));
    until("the standby answers", async || db.row::<_, String>(port.clone()).await.unwrap() == standby).await;
    let fresh = || db.build_read().within(Freshness::Primary);
    assert_eq!(fresh().row::<_, String>(port.clone()).await.unwrap(), primary);
    assert_eq!(fresh().rows::<_, String>(port.clone()).await.unwrap(), [primary.as_str()]);
    let limited = db.with_timeout(Duration::from_secs(5));
    assert_eq!(limited.build_read().within(Freshness::Primary).maybe_row(port).await.unwrap(), Some(primary));
}
