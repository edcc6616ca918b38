//! What the client keeps of the database and must learn anew when the database changes: statements and types.

use std::io::Write;

use db_core::{Acquire, Facts};
use db_pool::{Connection, Pool};
use diesel::deserialize::{FromSql, FromSqlRow};
use diesel::expression::AsExpression;
use diesel::pg::{Pg, PgValue};
use diesel::serialize::{IsNull, Output, ToSql};
use diesel::{ExpressionMethods, QueryDsl, sql_query};
use diesel_async::{RunQueryDsl, SimpleAsyncConnection};

use crate::{backend, number, pool};

#[derive(diesel::sql_types::SqlType, diesel::query_builder::QueryId)]
#[diesel(postgres_type(name = "mood"))]
pub struct MoodType;

#[derive(Debug, Clone, Copy, PartialEq, Eq, AsExpression, FromSqlRow)]
#[diesel(sql_type = MoodType)]
pub(crate) struct Mood;

impl ToSql<MoodType, Pg> for Mood {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> diesel::serialize::Result {
        out.write_all(b"good")?;
        Ok(IsNull::No)
    }
}
impl FromSql<MoodType, Pg> for Mood {
    fn from_sql(_: PgValue<'_>) -> diesel::deserialize::Result<Self> {
        Ok(Mood)
    }
}

diesel::table! {
    use diesel::sql_types::Integer;
    use super::MoodType;
    people (id) {
        id -> Integer,
        mood -> MoodType,
    }
}

diesel::table! {
    t (n) {
        n -> Integer,
    }
}

pub(crate) const MADE: &str = "CREATE TYPE mood AS ENUM ('good'); CREATE TABLE people (id int PRIMARY KEY, mood mood); \
                    INSERT INTO people VALUES (1, 'good')";

/// All connections of the pool, each after `work` on it.
async fn each<const N: usize>(
    pool: &Pool,
    work: impl AsyncFn(&mut Connection) -> diesel::QueryResult<usize>,
) -> [Connection; N] {
    let mut all = Vec::new();
    for _ in 0..N {
        let mut conn = pool.get().await.unwrap();
        work(&mut conn).await.unwrap();
        all.push(conn);
    }
    all.try_into().ok().unwrap()
}

async fn backends(all: &mut [Connection]) -> Vec<i64> {
    let mut pids = Vec::new();
    for conn in all {
        pids.push(backend(conn).await);
    }
    pids.sort_unstable();
    pids
}

fn facts(pool: &Pool, conn: &Connection) -> Facts {
    pool.facts(conn)
}

#[tokio::test]
async fn a_column_with_another_type_is_met_once_and_by_one_connection() {
    let (database, pool) = pool(4).await;
    let mut owner = database.connect().await.unwrap();
    owner.batch_execute("CREATE TABLE t (n int); INSERT INTO t VALUES (7)").await.unwrap();
    let read = async |conn: &mut Connection| t::table.select(t::n).execute(conn).await;
    let mut all: [Connection; 4] = each(&pool, read).await;
    let before = backends(&mut all).await;
    drop(all);
    owner.batch_execute("ALTER TABLE t ALTER n TYPE bigint").await.unwrap();

    let mut first = pool.get().await.unwrap();
    read(&mut first).await.unwrap_err();
    assert!(facts(&pool, &first).stale, "it would succeed on a new connection");
    drop(first);
    let mut all: [Connection; 4] = each(&pool, read).await;
    assert_eq!(backends(&mut all).await, before, "no connection had to be closed");
    assert!(!all.iter().any(|conn| facts(&pool, conn).stale));
}

#[tokio::test]
async fn a_type_that_was_made_anew_is_met_once() {
    let (database, pool) = pool(3).await;
    let mut owner = database.connect().await.unwrap();
    owner.batch_execute(MADE).await.unwrap();
    let read = async |conn: &mut Connection| {
        people::table.filter(people::mood.eq(Mood)).select(people::id).execute(conn).await
    };
    drop(each::<3>(&pool, read).await);
    owner.batch_execute("DROP TABLE people; DROP TYPE mood").await.unwrap();
    owner.batch_execute(MADE).await.unwrap();

    let mut first = pool.get().await.unwrap();
    read(&mut first).await.unwrap_err();
    assert!(facts(&pool, &first).stale);
    // A statement that was not prepared before meets the type's old number, too.
    let write = diesel::update(people::table).set(people::mood.eq(Mood)).execute(&mut first).await;
    assert!(write.is_err() && facts(&pool, &first).stale);
    drop(first);
    drop(each::<3>(&pool, read).await);
}

/// `= ANY` over an array of such a type fails with a code that wrong statements have, too.
#[tokio::test]
async fn a_type_that_was_made_anew_is_met_once_in_an_array() {
    let (database, pool) = pool(3).await;
    let mut owner = database.connect().await.unwrap();
    owner.batch_execute(MADE).await.unwrap();
    let read = async |conn: &mut Connection| {
        people::table.filter(people::mood.eq_any([Mood])).select(people::id).execute(conn).await
    };
    let looks_it_up =
        async |conn: &mut Connection| people::table.find(1).filter(people::mood.eq(Mood)).execute(conn).await;
    drop(each::<3>(&pool, looks_it_up).await);
    owner.batch_execute("DROP TABLE people; DROP TYPE mood").await.unwrap();
    owner.batch_execute(MADE).await.unwrap();
    let mut first = pool.get().await.unwrap();
    read(&mut first).await.unwrap_err();
    assert!(facts(&pool, &first).stale);
    drop(first);
    drop(each::<3>(&pool, read).await);
}

#[tokio::test]
async fn a_search_path_that_new_sessions_have_is_met_once() {
    let (database, pool) = pool(3).await;
    let mut owner = database.connect().await.unwrap();
    owner.batch_execute("CREATE TABLE t (n int); CREATE SCHEMA app").await.unwrap();
    let read = async |conn: &mut Connection| t::table.select(t::n).execute(conn).await;
    drop(each::<3>(&pool, read).await);
    let path = format!("ALTER DATABASE {} SET search_path = app", database.name());
    owner.batch_execute(&path).await.unwrap();
    owner.batch_execute("ALTER TABLE t SET SCHEMA app").await.unwrap();
    let mut first = pool.get().await.unwrap();
    read(&mut first).await.unwrap_err();
    assert!(facts(&pool, &first).stale);
    drop(first);
    drop(each::<3>(&pool, read).await);
}

#[tokio::test]
async fn an_honest_error_costs_a_question_and_no_connection() {
    let (database, pool) = pool(3).await;
    database.connect().await.unwrap().batch_execute(MADE).await.unwrap();
    let mood = async |conn: &mut Connection| people::table.filter(people::mood.eq(Mood)).execute(conn).await;
    let mut all: [Connection; 3] = each(&pool, mood).await;
    let before = backends(&mut all).await;
    drop(all);
    for wrong in
        ["SELECT nothing()", "SELECT * FROM nothing", "SELECT 1 = ANY (1)", "SELECT nothing FROM people"]
    {
        let mut conn = pool.get().await.unwrap();
        sql_query(wrong).execute(&mut conn).await.unwrap_err();
        assert!(facts(&pool, &conn).stale, "nobody knows yet: {wrong}");
        drop(conn);
        let mut conn = pool.get().await.unwrap();
        sql_query(wrong).execute(&mut conn).await.unwrap_err();
        assert!(!facts(&pool, &conn).stale, "it was asked: {wrong}");
        drop(conn);
        let mut all: [Connection; 3] = each(&pool, mood).await;
        assert_eq!(backends(&mut all).await, before, "{wrong}");
    }
}

#[tokio::test]
async fn only_what_was_kept_and_did_nothing_is_stale() {
    let (database, pool) = pool(1).await;
    database.connect().await.unwrap().batch_execute("CREATE TABLE t (n int)").await.unwrap();
    let mut conn = pool.get().await.unwrap();
    t::table.select(t::n).execute(&mut conn).await.unwrap();
    for wrong in ["EXECUTE nothing", "SELECT * FROM elsewhere.public.plain", "SELECT 1 / 0"] {
        conn.batch_execute(wrong).await.unwrap_err();
        assert!(!facts(&pool, &conn).stale, "{wrong}");
        sql_query(wrong).execute(&mut conn).await.unwrap_err();
        assert!(!facts(&pool, &conn).stale, "{wrong}, prepared");
    }
    let kept = "SELECT count(*) AS n FROM pg_prepared_statements WHERE statement LIKE 'SELECT \"t\"%'";
    assert_eq!(number(&mut conn, kept).await, 1);
    drop(conn);
    assert_eq!(number(&mut pool.get().await.unwrap(), kept).await, 1, "nothing was dropped");
}

#[tokio::test]
async fn what_is_stale_stays_so_until_something_succeeds() {
    let (database, pool) = pool(1).await;
    let mut owner = database.connect().await.unwrap();
    owner.batch_execute("CREATE TABLE t (n int)").await.unwrap();
    let read = async |conn: &mut Connection| t::table.select(t::n).execute(conn).await;
    let mut conn = pool.get().await.unwrap();
    read(&mut conn).await.unwrap();
    owner.batch_execute("ALTER TABLE t ALTER n TYPE bigint").await.unwrap();
    conn.batch_execute("BEGIN").await.unwrap();
    read(&mut conn).await.unwrap_err();
    conn.batch_execute("SELECT 1").await.unwrap_err();
    assert!(facts(&pool, &conn).stale, "what follows from it says nothing new");
    conn.batch_execute("ROLLBACK").await.unwrap();
    assert!(facts(&pool, &conn).stale, "nor does its end");
    conn.batch_execute("SELECT 1").await.unwrap();
    assert!(!facts(&pool, &conn).stale);
}
