//! What a transaction costs in round trips, counted at the test kit's proxy, and in time beside
//! diesel-async's own, 2 ms away.
//!
//! The line to remove: `if from.begin_with(conn, &opening)` in db-retry's attempt.rs.

use std::time::{Duration, Instant};

use db_platform::{Config, Db, Environment, Error, batch};
use db_testkit::claims::{Figure, Size};
use db_testkit::{Direction, Exchange, Proxy, TestDatabase};
use diesel::prelude::*;
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use serde_json::json;

use crate::median::median;

diesel::table! { notes (id) { id -> Integer, text -> Text, } }

/// Each way of a round trip of 2 ms.
const ONE_WAY: Duration = Duration::from_millis(1);

/// What is measured.
struct Place {
    _database: TestDatabase,
    proxy: Proxy,
    db: Db,
    bare: AsyncPgConnection,
}

pub(crate) fn measure(size: Size) -> Figure {
    let pairs = if size == Size::Nightly { 400 } else { 60 };
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let mut place = place().await;
        let mut trips = Vec::new();
        for statements in [1, 2, 3, 5] {
            trips.push((statements, of_transaction(&place, statements).await));
        }
        let batch = of_batch(&place).await;
        let exact = trips.iter().all(|(statements, trips)| *trips == statements + 1) && batch == 1;
        let (near, near_sure) = pairs_of(&mut place, pairs, 1).await;
        for direction in [Direction::ToServer, Direction::ToClient] {
            place.proxy.delay(direction, ONE_WAY, Duration::ZERO);
        }
        let (one, one_sure) = pairs_of(&mut place, pairs, 1).await;
        let (three, three_sure) = pairs_of(&mut place, pairs, 3).await;
        Figure {
            value: one,
            unit: "times diesel-async's transaction of one statement",
            holds: exact && one <= 0.75 && three <= 0.32,
            detail: json!({
                "round_trips_of_transactions": trips.iter().map(|(n, trips)| json!({ "statements": n, "trips": trips })).collect::<Vec<_>>(),
                "round_trips_of_a_write_batch_of_three": batch,
                "one_statement_on_loopback": near, "one_statement_on_loopback_95": near_sure,
                "one_statement": one, "one_statement_95": one_sure,
                "write_batch_of_three": three, "write_batch_of_three_95": three_sure, "pairs": pairs,
            }),
        }
    })
}

async fn place() -> Place {
    let database = TestDatabase::empty().await.unwrap();
    let mut owner = database.connect().await.unwrap();
    owner.batch_execute("CREATE TABLE notes (id serial PRIMARY KEY, text text NOT NULL)").await.unwrap();
    owner.batch_execute("DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET synchronous_commit = off', current_database()); END $$").await.unwrap();
    let address = database.url().rsplit_once('@').unwrap().1.split('/').next().unwrap().to_owned();
    let proxy = Proxy::start(address).unwrap();
    proxy.write_down();
    // The proxy reads no encrypted bytes.
    let url = format!("{}?sslmode=disable", proxy.through(database.url()).unwrap());
    let mut config = Config::new(Environment::Test, url.parse().unwrap());
    config.cache = None;
    let db = Db::connect(config).await.unwrap();
    let bare = AsyncPgConnection::establish(&url).await.unwrap();
    let mut place = Place { _database: database, proxy, db, bare };
    // Both have the statement prepared.
    for _ in 0..3 {
        ours(&place.db, 1).await;
        ours(&place.db, 3).await;
        theirs(&mut place.bare, 1).await;
    }
    place
}

async fn insert(conn: &mut AsyncPgConnection) -> QueryResult<usize> {
    diesel::insert_into(notes::table).values(notes::text.eq("x")).execute(conn).await
}

/// One statement as a transaction, or three as a batch.
async fn ours(db: &Db, statements: usize) {
    match statements {
        1 => db.transaction(async |conn| Ok::<_, Error>(insert(conn).await?)).await.map(drop).unwrap(),
        _ => {
            let one = batch::affected(diesel::insert_into(notes::table).values(notes::text.eq("x")));
            db.write_batch((one.clone(), one.clone(), one)).await.map(drop).unwrap();
        }
    }
}

async fn theirs(conn: &mut AsyncPgConnection, statements: usize) {
    let work = async move |conn: &mut AsyncPgConnection| {
        for _ in 0..statements {
            insert(conn).await?;
        }
        QueryResult::Ok(())
    };
    conn.transaction(work).await.unwrap();
}

async fn of_transaction(place: &Place, statements: usize) -> usize {
    let work = async move |conn: &mut AsyncPgConnection| {
        for _ in 0..statements {
            insert(conn).await?;
        }
        Ok::<_, Error>(())
    };
    place.db.transaction(work).await.unwrap();
    let _ = place.proxy.take_exchanges();
    place.db.transaction(work).await.unwrap();
    round_trips(place.proxy.take_exchanges())
}

async fn of_batch(place: &Place) -> usize {
    let _ = place.proxy.take_exchanges();
    ours(&place.db, 3).await;
    round_trips(place.proxy.take_exchanges())
}

/// How often somebody waited: what was sent before the last answer had come waited with it.
fn round_trips(mut exchanges: Vec<Exchange>) -> usize {
    // The monitor of the server asks on a connection of its own.
    exchanges.retain(|one| {
        ["notes", "BEGIN", "COMMIT", "pg_current_xact_id"].iter().any(|part| one.text.contains(part))
    });
    let mut ended: Option<Instant> = None;
    exchanges.sort_by_key(|one| one.began);
    let waited = exchanges.iter().filter(|one| {
        let is_new = ended.is_none_or(|ended| one.began >= ended);
        ended = ended.max(Some(one.ended));
        is_new
    });
    waited.count()
}

async fn pairs_of(place: &mut Place, pairs: usize, statements: usize) -> (f64, [f64; 2]) {
    let mut ratios = Vec::new();
    for pair in 0..pairs {
        let mut took = [Duration::ZERO; 2];
        for turn in 0..2 {
            let side = (pair + turn) % 2;
            let started = Instant::now();
            match side {
                0 => ours(&place.db, statements).await,
                _ => theirs(&mut place.bare, statements).await,
            }
            took[side] = started.elapsed();
        }
        let _ = place.proxy.take_exchanges();
        ratios.push(took[0].as_secs_f64() / took[1].as_secs_f64());
    }
    median(&mut ratios)
}
