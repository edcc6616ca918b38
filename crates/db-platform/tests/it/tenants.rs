//! Two tenants with a schema each on one `Db`: each sees its own tables by every verb, and no connection
//! carries a path on.

use std::io::Write;
use std::time::Duration;

use db_platform::{Batch, Class, Classify, Config, Db, Error, Freshness, Session, batch};
use db_testkit::{Cluster, TestDatabase, until};
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::serialize::{IsNull, Output, ToSql};
use diesel::sql_query;
use diesel::sql_types::{BigInt, Text};
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use futures_util::TryStreamExt;

use crate::{Number, Word, alone, config};

diesel::table! { whose (n) { n -> BigInt, name -> Text, } }

const A: &str = "a \"Quoted\" one";
const B: &str = "b";

/// Three schemas with the same table, which says whose it is; the third is what a session finds without a
/// path.
async fn tenants(owner: &mut AsyncPgConnection) {
    for schema in [A, B, "public"] {
        let quoted = schema.replace('"', "\"\"");
        owner
            .batch_execute(&format!(
                "CREATE SCHEMA IF NOT EXISTS \"{quoted}\"; CREATE TABLE \"{quoted}\".whose (n int8, name text); \
                 INSERT INTO \"{quoted}\".whose VALUES (1, '{schema}')"
            ))
            .await
            .unwrap();
    }
}

/// One connection for everything, so that each caller has it after another one.
async fn on_one(configure: impl FnOnce(&mut Config)) -> (TestDatabase, AsyncPgConnection, Db) {
    let database = TestDatabase::empty().await.unwrap();
    let mut owner = database.connect().await.unwrap();
    tenants(&mut owner).await;
    let db = alone(&database, |config| {
        config.pool.max = 1.try_into().unwrap();
        config.read_pool.max = 1.try_into().unwrap();
        config.cache = None;
        configure(config);
    })
    .await;
    (database, owner, db)
}

async fn name(conn: &mut AsyncPgConnection) -> diesel::QueryResult<String> {
    whose::table.select(whose::name).first(conn).await
}

async fn path(conn: &mut AsyncPgConnection) -> diesel::QueryResult<String> {
    let word = sql_query("SELECT current_setting('search_path') AS word");
    Ok(word.get_result::<Word>(conn).await?.word)
}

/// What each verb finds.
async fn by_all_verbs(db: &Db) -> Vec<String> {
    let mut found = vec![db.read(name).await.unwrap()];
    found.push(db.read_within(Freshness::Primary, name).await.unwrap());
    let one = || batch::row::<String>(whose::table.select(whose::name));
    found.extend(<[String; 2]>::from(db.batch((one(), one())).await.unwrap()));
    found.extend(
        db.stream::<String>(whose::table.select(whose::name), 10).try_collect::<Vec<_>>().await.unwrap(),
    );
    found.push(db.transaction::<_, Error>(async |conn| Ok(name(conn).await?)).await.unwrap());
    let nested = async |conn: &mut AsyncPgConnection| {
        conn.transaction(async |conn| Ok::<_, diesel::result::Error>(name(conn).await?)).await
    };
    found.push(db.read(nested).await.unwrap());
    let update = diesel::update(whose::table).set(whose::n.eq(whose::n + 1)).returning(whose::name);
    found.extend(db.write_returning::<_, String>(update).await.unwrap());
    found.push(name(&mut db.primary().await.unwrap()).await.unwrap());
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_tenant_finds_its_own_by_every_verb_and_nobody_else_does() {
    let (_database, mut owner, db) = on_one(|_| {}).await;
    let (a, b) = (db.for_tenant(A).unwrap(), db.for_tenant(B).unwrap());
    for _ in 0..3 {
        for (db, whose) in [(&a, A), (&db, "public"), (&b, B), (&a.session(), A)] {
            let found = by_all_verbs(db).await;
            assert!(found.iter().all(|name| name == whose) && found.len() == 9, "{whose}: {found:?}");
        }
    }
    let writes = async |conn: &mut AsyncPgConnection, schema: &str| {
        let n = format!("SELECT n FROM \"{}\".whose", schema.replace('"', "\"\""));
        sql_query(n).get_result::<Number>(conn).await.unwrap().n
    };
    assert_eq!(
        (writes(&mut owner, A).await, writes(&mut owner, B).await, writes(&mut owner, "public").await),
        (7, 4, 4)
    );
    // Handles that are made of it keep it.
    let made = a.with_timeout(Duration::from_secs(5)).with_retry(db_platform::RetryConfig::never());
    assert_eq!(made.read(name).await.unwrap(), A);
    assert_eq!(a.in_session(&Session::new()).build_read().run(name).await.unwrap(), A);
    let opens: u64 = db.pools().iter().map(|pool| pool.creates()).sum();
    assert!(opens <= 2, "one for writes and one for reads: {opens}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_path_outlives_its_call_whatever_becomes_of_that() {
    let (_database, _owner, db) = on_one(|_| {}).await;
    let b = db.for_tenant(B).unwrap();
    let usual = db.read(path).await.unwrap();
    let unchanged = async |after: &str| {
        assert_eq!(db.read(path).await.unwrap(), usual, "{after}");
        let on_primary = async |conn: &mut AsyncPgConnection| Ok::<_, Error>(path(conn).await?);
        assert_eq!(db.transaction(on_primary).await.unwrap(), usual, "{after}");
        assert_eq!(path(&mut db.primary().await.unwrap()).await.unwrap(), usual, "{after}");
    };
    let wrong =
        async |conn: &mut AsyncPgConnection| conn.batch_execute("SELECT 1/0").await.map_err(Error::from);
    b.read(wrong).await.unwrap_err();
    unchanged("an error in a read").await;
    b.transaction(wrong).await.unwrap_err();
    unchanged("an error in a transaction").await;
    let slow = async |conn: &mut AsyncPgConnection| {
        conn.batch_execute("SELECT pg_sleep(10)").await.map_err(Error::from)
    };
    let short = Duration::from_millis(30);
    let _ = tokio::time::timeout(short, b.read(slow)).await;
    unchanged("a cancelled read").await;
    let _ = tokio::time::timeout(short, b.transaction(slow)).await;
    unchanged("a cancelled transaction").await;
    let panics = tokio::spawn({
        let b = b.clone();
        async move {
            let work = async |conn: &mut AsyncPgConnection| {
                name(conn).await?;
                if true {
                    panic!("in a read");
                }
                Ok::<_, Error>(())
            };
            b.read(work).await
        }
    });
    assert!(panics.await.unwrap_err().is_panic());
    unchanged("a panic").await;
    let held = b.primary().await.unwrap();
    drop(held);
    unchanged("a connection of one's own").await;
    let mut rows = b.stream::<String>(whose::table.select(whose::name), 1);
    assert_eq!(rows.try_next().await.unwrap().as_deref(), Some(B));
    drop(rows);
    unchanged("a stream that was dropped").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_that_ends_its_transaction_says_nothing_of_what_it_saw_behind_it() {
    let (_database, _owner, db) = on_one(|_| {}).await;
    let b = db.for_tenant(B).unwrap();
    for end in ["COMMIT", "ROLLBACK", "COMMIT; BEGIN"] {
        let work = async move |conn: &mut AsyncPgConnection| {
            conn.batch_execute(end).await?;
            name(conn).await
        };
        let error = b.read(work).await.unwrap_err();
        assert!(matches!(error, Error::TransactionEnded { .. }), "{end}: {error}");
        assert_eq!(db.read(name).await.unwrap(), "public");
    }
    // A write is refused as in any other read, and an error that is swallowed is the caller's own affair.
    let write = async |conn: &mut AsyncPgConnection| conn.batch_execute("DELETE FROM whose").await;
    assert!(matches!(b.read(write).await.unwrap_err(), Error::WriteInRead(_)));
    let swallows = async |conn: &mut AsyncPgConnection| {
        let found = name(conn).await?;
        let _ = conn.batch_execute("SELECT 1/0").await;
        Ok::<_, Error>(found)
    };
    assert_eq!(b.read(swallows).await.unwrap(), B);
}

/// The same text, prepared once for a connection, whose columns are of other types for each.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_that_stays_prepared_is_planned_for_each_tenant_also_where_types_differ() {
    let (_database, mut owner, db) = on_one(|_| {}).await;
    owner
        .batch_execute(
            "CREATE SCHEMA narrow; CREATE TABLE narrow.whose (n int4, name varchar(20)); \
             INSERT INTO narrow.whose VALUES (1, 'narrow'); \
             CREATE SCHEMA other; CREATE TABLE other.whose (extra date, name text, n int8); \
             INSERT INTO other.whose VALUES (now(), 'other', 2)",
        )
        .await
        .unwrap();
    for _ in 0..20 {
        for whose in ["narrow", B, "other"] {
            let tenant = db.for_tenant(whose).unwrap();
            assert_eq!(tenant.read(name).await.unwrap(), whose);
            assert_eq!(
                tenant.transaction::<_, Error>(async |conn| Ok(name(conn).await?)).await.unwrap(),
                whose
            );
            let all = async |conn: &mut AsyncPgConnection| {
                sql_query("SELECT * FROM whose WHERE n > $1")
                    .bind::<BigInt, _>(0)
                    .get_result::<Name>(conn)
                    .await
            };
            assert_eq!(tenant.read(all).await.unwrap().name, whose);
        }
    }
    assert_eq!(db.read(name).await.unwrap(), "public");
}

#[derive(QueryableByName)]
struct Name {
    #[diesel(sql_type = Text)]
    name: String,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_tenant_lacks_is_an_error_and_names_that_would_mean_another_schema_are_refused() {
    let (_database, _owner, db) = on_one(|_| {}).await;
    let nobody = db.for_tenant("nobody").unwrap();
    assert_eq!(nobody.read(name).await.unwrap_err().sqlstate().unwrap().as_str(), "42P01");
    let shared = db.with_search_path(["nobody", "public"]).unwrap();
    assert_eq!(shared.read(name).await.unwrap(), "public");
    for refused in ["", "$user", &"x".repeat(64)] {
        assert_eq!(db.for_tenant(refused).unwrap_err().class(), Class::Permanent);
    }
    let hostile = db.for_tenant("b\"; DROP TABLE b.whose; --").unwrap();
    hostile.read(name).await.unwrap_err();
    assert_eq!(db.for_tenant(B).unwrap().read(name).await.unwrap(), B);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_a_pooler_no_session_is_given_a_path() {
    let (_database, _owner, db) = on_one(|config| config.router.pooled = true).await;
    let b = db.for_tenant(B).unwrap();
    assert!(matches!(b.primary().await.unwrap_err(), Error::Client(_)));
    assert_eq!(b.read(name).await.unwrap(), B);
    assert_eq!(b.transaction::<_, Error>(async |conn| Ok(name(conn).await?)).await.unwrap(), B);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_answers_in_the_path_and_a_session_sees_what_its_tenant_wrote() {
    let cluster = Cluster::builder().standbys(1).start().await.unwrap();
    let mut owner = cluster.connect(0).await.unwrap();
    tenants(&mut owner).await;
    cluster.wait_until_caught_up(1).await.unwrap();
    let db = Db::connect(config(&cluster)).await.unwrap();
    let tenant = db.for_tenant(B).unwrap();
    let on_standby = async |conn: &mut AsyncPgConnection| {
        let place = sql_query("SELECT name || pg_is_in_recovery() AS word FROM whose");
        Ok::<_, Error>(place.get_result::<Word>(conn).await?.word)
    };
    let seen = async || tenant.read_within(Freshness::Any, on_standby).await.unwrap();
    until("the standby answers", async || seen().await == "btrue").await;
    cluster.pause_replay(1).await.unwrap();
    let session = tenant.in_session(&Session::new());
    session.write(diesel::update(whose::table).set(whose::name.eq("later"))).await.unwrap();
    assert_eq!(session.read(name).await.unwrap(), "later");
    assert_eq!(seen().await, "btrue");
}

#[derive(Debug, Clone, Copy, diesel::expression::AsExpression)]
#[diesel(sql_type = mood::MoodType)]
struct Good;

impl ToSql<mood::MoodType, Pg> for Good {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> diesel::serialize::Result {
        out.write_all(b"good")?;
        Ok(IsNull::No)
    }
}

mod mood {
    #[derive(diesel::query_builder::QueryId, Clone, diesel::sql_types::SqlType)]
    #[diesel(postgres_type(name = "mood"))]
    pub struct MoodType;

    diesel::table! { use diesel::sql_types::Integer; use super::MoodType; people (id) { id -> Integer, mood -> MoodType, } }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_type_of_ones_own_is_found_by_each_tenant_where_all_share_it() {
    use mood::people;
    let (_database, mut owner, db) = on_one(|_| {}).await;
    let types = "CREATE SCHEMA types; CREATE TYPE types.mood AS ENUM ('good')";
    owner.batch_execute(types).await.unwrap();
    for schema in ["b", "public"] {
        let people = format!("CREATE TABLE {schema}.people (id int, mood types.mood)");
        owner.batch_execute(&people).await.unwrap();
    }
    let write = async |schema: &str| {
        let tenant = db.with_search_path([schema, "types"]).unwrap();
        let person = diesel::insert_into(people::table).values((people::id.eq(1), people::mood.eq(Good)));
        tenant.write(person).await
    };
    for schema in ["b", "public", "b"] {
        assert_eq!(write(schema).await.unwrap(), 1, "{schema}");
    }
    // One of its own is another type, and what is bound as the one is refused as the other: nothing is
    // written.
    owner
        .batch_execute("CREATE SCHEMA own; CREATE TYPE own.mood AS ENUM ('good'); CREATE TABLE own.people (id int, mood own.mood)")
        .await
        .unwrap();
    let refused = write("own").await.unwrap_err();
    assert_eq!(refused.sqlstate().unwrap().as_str(), "42804");
}

/// A batch in a transaction, as a tenant's writes may be.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statements_that_are_sent_together_are_all_in_the_path() {
    let (_database, _owner, db) = on_one(|_| {}).await;
    let a = db.for_tenant(A).unwrap();
    let both = async |conn: &mut AsyncPgConnection| {
        let names = [1, 2, 3].map(|_| batch::row::<String>(whose::table.select(whose::name)));
        Ok::<_, Error>(names.to_vec().run(conn).await?)
    };
    assert_eq!(a.transaction(both).await.unwrap(), [A, A, A]);
}
