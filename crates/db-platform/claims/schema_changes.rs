//! The schema changes under a warm pool and a router, with traffic: no call fails that would not have failed
//! on a new connection.
//!
//! The line to remove: `again_as_new` in db-retry's `Retry::begin_at` and `Retry::transaction_at`; for what a
//! search path hides and for arrays of types made anew, the doubt (`Stale::Doubt`) in db-pool's
//! `ServerError::stale`.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use db_platform::{Config, Db, Environment, Error, Result};
use db_testkit::claims::{Figure, Size};
use db_testkit::{Cluster, until};
use diesel::deserialize::{FromSql, FromSqlRow};
use diesel::expression::AsExpression;
use diesel::pg::{Pg, PgValue};
use diesel::serialize::{IsNull, Output, ToSql};
use diesel::sql_types::Text;
use diesel::{ExpressionMethods, QueryDsl};
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use serde_json::json;
use tokio::task::JoinSet;

mod schema {
    #[derive(diesel::sql_types::SqlType, diesel::query_builder::QueryId)]
    #[diesel(postgres_type(name = "mood"))]
    pub struct MoodType;

    diesel::table! { words (id) { id -> Integer, word -> Text, } }
    diesel::table! {
        use diesel::sql_types::Integer;
        use super::MoodType;
        people (id) { id -> Integer, mood -> MoodType, }
    }
}
use schema::{MoodType, people, words};

diesel::define_sql_function!(fn shout(word: Text) -> Text);

#[derive(Debug, Clone, Copy, PartialEq, Eq, AsExpression, FromSqlRow)]
#[diesel(sql_type = MoodType)]
struct Good;

impl ToSql<MoodType, Pg> for Good {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> diesel::serialize::Result {
        out.write_all(b"good")?;
        Ok(IsNull::No)
    }
}

impl FromSql<MoodType, Pg> for Good {
    fn from_sql(value: PgValue<'_>) -> diesel::deserialize::Result<Self> {
        if value.as_bytes() == b"good" { Ok(Good) } else { Err("another mood".into()) }
    }
}

/// Callers at one time.
const WORKERS: usize = 4;

const SCHEMA: &str = "
    CREATE SCHEMA app;
    CREATE TABLE words (id int, word varchar(9)); INSERT INTO words VALUES (1, 'one');
    CREATE TYPE mood AS ENUM ('good', 'bad');
    CREATE TABLE people (id int, mood mood); INSERT INTO people VALUES (1, 'good');
    CREATE FUNCTION shout(word text) RETURNS text LANGUAGE sql AS 'SELECT upper(word)'";

/// Each keeps what the program knows: columns, functions, and what they are called.
const CHANGES: [&str; 12] = [
    "ALTER TABLE words ALTER word TYPE text",
    "ALTER TABLE words ADD extra int DEFAULT 7",
    "DROP TABLE people; DROP TYPE mood; CREATE TYPE mood AS ENUM ('good', 'bad'); \
     CREATE TABLE people (id int, mood mood); INSERT INTO people VALUES (1, 'good')",
    "ALTER TABLE words ALTER word TYPE varchar(20)",
    "DROP FUNCTION shout; CREATE FUNCTION shout(word text) RETURNS varchar LANGUAGE sql AS 'SELECT upper(word)'",
    "ALTER TABLE words SET SCHEMA app; ALTER ROLE CURRENT_USER SET search_path = app, public",
    "ALTER TABLE app.words SET SCHEMA public; ALTER ROLE CURRENT_USER RESET search_path",
    "ALTER TABLE words DROP extra",
    "CREATE TYPE other AS ENUM ('bad', 'good'); ALTER TABLE people ALTER mood TYPE other USING mood::text::other; \
     DROP TYPE mood; ALTER TYPE other RENAME TO mood",
    "DROP FUNCTION shout; CREATE FUNCTION shout(word text) RETURNS text LANGUAGE plpgsql AS 'BEGIN RETURN upper(word); END'",
    "ALTER TABLE words RENAME TO old; CREATE TABLE words AS SELECT id, word::varchar(9) AS word FROM old; DROP TABLE old",
    "ALTER ROLE CURRENT_USER SET work_mem = '5MB'",
];

/// A search path is looked at again a second after it was (`REMEMBERED` in db-pool).
const BETWEEN_PATHS: Duration = Duration::from_millis(1_100);

pub(crate) fn measure(size: Size) -> Figure {
    let changes = if size == Size::Nightly { 1_000 } else { 100 };
    let (errors, calls, first) = tokio::runtime::Runtime::new().unwrap().block_on(change(changes));
    Figure {
        value: errors as f64,
        unit: "errors",
        holds: errors == 0 && calls > changes as u64,
        detail: json!({ "changes": changes, "calls": calls, "first_error": first }),
    }
}

async fn change(changes: usize) -> (u64, u64, Option<String>) {
    let cluster = Cluster::builder().standbys(1).start().await.unwrap();
    let mut owner = cluster.connect(0).await.unwrap();
    owner.batch_execute(SCHEMA).await.unwrap();
    cluster.wait_until_caught_up(1).await.unwrap();
    let mut config = Config::new(Environment::Test, cluster.primary_url().parse().unwrap());
    config.read_urls = cluster.standby_urls().iter().map(|url| url.parse().unwrap()).collect();
    let db = Db::connect(config).await.unwrap();
    let (stop, calls) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut callers = JoinSet::new();
    for _ in 0..WORKERS {
        let (db, stop, calls) = (db.clone(), Arc::clone(&stop), Arc::clone(&calls));
        callers.spawn(async move {
            let mut errors = Vec::new();
            while !AtomicBool::load(&stop, Ordering::Relaxed) {
                let read: Result<String> = db.read(async |conn| word(conn).await).await;
                let wrote: Result<String> = db.transaction(async |conn| word(conn).await).await;
                errors.extend([read, wrote].into_iter().filter_map(|result| result.err()));
                calls.fetch_add(2, Ordering::Relaxed);
            }
            errors
        });
    }
    for change in CHANGES.iter().cycle().take(changes) {
        let before = AtomicU64::load(&calls, Ordering::Relaxed);
        owner.batch_execute(change).await.unwrap();
        let goal = before + 4 * WORKERS as u64;
        if change.contains("search_path") {
            tokio::time::sleep(BETWEEN_PATHS).await;
        }
        until("traffic goes on", async || AtomicU64::load(&calls, Ordering::Relaxed) >= goal).await;
    }
    stop.store(true, Ordering::Relaxed);
    let errors: Vec<Error> = callers.join_all().await.into_iter().flatten().collect();
    let first = errors.iter().map(ToString::to_string).next();
    (errors.len() as u64, AtomicU64::load(&calls, Ordering::Relaxed), first)
}

async fn word(conn: &mut AsyncPgConnection) -> Result<String> {
    let all = people::table.select(people::mood);
    assert_eq!(all.filter(people::mood.eq(Good)).first::<Good>(conn).await?, Good);
    assert_eq!(all.filter(people::mood.eq_any([Good])).load::<Good>(conn).await?, [Good]);
    Ok(words::table.select(shout(words::word)).first(conn).await?)
}
