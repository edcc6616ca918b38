//! A session's reads see what its transactions have committed, however far behind the standbys are.

use std::time::{Duration, Instant};

use db_platform::{Db, Error, Session, Written};
use db_testkit::{Cluster, Direction, Proxy, until};
use diesel::sql_query;
use diesel_async::{RunQueryDsl, SimpleAsyncConnection};
use futures_util::TryStreamExt;

use crate::{Number, config, port, port_of};

diesel::table! { notes (n) { n -> BigInt, } }

/// One standby, which has an empty table and then replays nothing more.
async fn behind() -> (Cluster, Db) {
    let cluster = Cluster::builder().standbys(1).start().await.unwrap();
    let mut settings = config(&cluster);
    settings.router.max_lag = Duration::from_secs(3_600);
    let db = Db::connect(settings).await.unwrap();
    db.transaction::<_, Error>(async |conn| {
        Ok(conn.batch_execute("CREATE TABLE notes (n int8 PRIMARY KEY)").await?)
    })
    .await
    .unwrap();
    cluster.wait_until_caught_up(1).await.unwrap();
    let standby = port_of(&cluster.standby_urls()[0]);
    until("the standby answers", async || db.read(port).await.unwrap() == standby).await;
    cluster.pause_replay(1).await.unwrap();
    (cluster, db)
}

async fn note(db: &Db, n: i64) {
    let sql = format!("INSERT INTO notes VALUES ({n})");
    db.transaction::<_, Error>(async |conn| Ok(conn.batch_execute(&sql).await?)).await.unwrap();
}

async fn noted(db: &Db) -> i64 {
    let count =
        async |conn: &mut _| sql_query("SELECT count(*) AS n FROM notes").get_result::<Number>(conn).await;
    db.read(count).await.unwrap().n
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_sees_at_once_what_it_wrote_and_nobody_else_has_to() {
    let (cluster, db) = behind().await;
    let session = db.session();
    note(&session, 1).await;
    assert_eq!(noted(&session).await, 1);
    assert_eq!(noted(&session.clone().with_timeout(Duration::from_secs(10))).await, 1, "a clone is in it");
    let streamed: Vec<(i64,)> = session.stream::<(i64,)>(notes::table, 10).try_collect().await.unwrap();
    assert_eq!(streamed, [(1,)]);
    assert_eq!(noted(&db).await, 0, "the standby answers whoever is in no session");
    assert_eq!(noted(&db.session()).await, 0, "another session wrote nothing");

    cluster.resume_replay(1).await.unwrap();
    let standby = port_of(&cluster.standby_urls()[0]);
    until("its reads return to the standby", async || session.read(port).await.unwrap() == standby).await;
    assert_eq!(noted(&session).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_is_that_of_its_scope_and_goes_on_from_its_token() {
    let (_cluster, db) = behind().await;
    let request = Session::new();
    request
        .clone()
        .scope(async {
            note(&db.session(), 1).await;
            assert_eq!(noted(&db.session()).await, 1);
        })
        .await;
    let carried = request.written().unwrap().to_string();
    let next = Session::resume(carried.parse::<Written>().unwrap());
    assert_eq!(noted(&db.in_session(&next)).await, 1);
    assert_eq!(noted(&db).await, 0);
}

/// Its answer comes with that of COMMIT: the network is crossed as often as without a session.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_learns_what_it_wrote_without_another_round_trip() {
    const ROUND_TRIP: Duration = Duration::from_millis(50);
    let cluster = Cluster::builder().start().await.unwrap();
    let proxy = Proxy::start(cluster.address_of(0).unwrap()).unwrap();
    let mut settings = config(&cluster);
    settings.url = proxy.through(&cluster.url_of(0).unwrap()).unwrap().parse().unwrap();
    settings.pool.max = std::num::NonZeroUsize::MIN;
    let db = Db::connect(settings).await.unwrap();
    let session = db.session();
    let took = async |db: &Db| {
        let started = Instant::now();
        db.transaction::<_, Error>(async |conn| Ok(conn.batch_execute("SELECT 1").await?)).await.unwrap();
        started.elapsed()
    };
    // The statements are prepared before it counts.
    took(&db).await;
    took(&session).await;
    proxy.delay(Direction::ToServer, ROUND_TRIP, Duration::ZERO);
    let mut differences = Vec::new();
    for _ in 0..5 {
        let without = took(&db).await;
        assert!(without >= ROUND_TRIP * 3, "the network is slow: {without:?}");
        differences.push(took(&session).await.as_secs_f64() - without.as_secs_f64());
    }
    differences.sort_by(f64::total_cmp);
    assert!(differences[2] < ROUND_TRIP.as_secs_f64() / 2.0, "{differences:?}");
}
