//! routing-15: what a session costs beside a standby that lags, and what a request's scope remembers.

use std::time::{Duration, Instant};

use db_platform::{Db, Error, Session};
use db_testkit::Cluster;
use diesel_async::{AsyncPgConnection, SimpleAsyncConnection};
use serde_json::json;

use crate::routing::{block_on, config, millis, number, urls, within};
use crate::{Figure, Size};

const DELAY: &str = "300ms";
const BESIDE: usize = 200;
/// A wait for the standby would be ten times as long.
const NO_WAIT: Duration = Duration::from_millis(10);

/// Fails without `lag.is_some_and(|lag| lag <= wait)` in the router's node.rs (`catches_up_within`), and
/// without `Freshness::Default => own()` in its router.rs (`reader`).
pub(crate) fn measure(size: Size) -> Figure {
    let requests = if size == Size::Nightly { 10_000 } else { 1_000 };
    block_on(run(requests))
}

async fn run(requests: u64) -> Figure {
    let cluster = Cluster::builder()
        .standbys(1)
        .setting_of(1, "recovery_min_apply_delay", DELAY)
        .start()
        .await
        .unwrap();
    let db = Db::connect(config(&urls(&cluster, 2))).await.unwrap();
    let create = async |conn: &mut AsyncPgConnection| {
        Ok(conn.batch_execute("CREATE TABLE t (id int8 PRIMARY KEY)").await?)
    };
    db.transaction::<_, Error>(create).await.unwrap();
    cluster.wait_until_caught_up(1).await.unwrap();
    let (mut stale, mut errors) = (0, Vec::new());
    for id in 0..requests {
        match Session::new().scope(request(db.clone(), id)).await {
            Ok(seen) => stale += u64::from(!seen),
            Err(error) => errors.push(error.to_string()),
        }
    }
    let waited = beside_a_standby_that_lags(&cluster, &db).await;
    Figure {
        value: stale as f64,
        unit: "stale reads",
        holds: stale == 0 && errors.is_empty() && waited <= NO_WAIT,
        detail: json!({
            "requests": requests,
            "errors": errors.len(),
            "first_error": errors.first(),
            "median_ms_beside_a_standby_that_lags": millis(waited),
        }),
    }
}

/// A task of the request writes through one clone; the request reads through another.
async fn request(db: Db, id: u64) -> Result<bool, Error> {
    let writer = db.clone();
    let insert = format!("INSERT INTO t VALUES ({id})");
    let written = Session::spawn(async move {
        writer.transaction::<_, Error>(async |conn| Ok(conn.batch_execute(&insert).await?)).await
    });
    written.await.map_err(|error| Error::ConnectionLost { reason: error.to_string() })??;
    let select = format!("SELECT count(*) AS n FROM t WHERE id = {id}");
    let reader = db.clone();
    let read = Session::spawn(async move { reader.read(async |conn| number(conn, &select).await).await });
    let seen = read.await.map_err(|error| Error::ConnectionLost { reason: error.to_string() })??;
    Ok(seen == 1)
}

/// The median time of a session's read while the standby is known to be seconds behind.
async fn beside_a_standby_that_lags(cluster: &Cluster, db: &Db) -> Duration {
    cluster.pause_replay(1).await.unwrap();
    let own = db.in_session(&Session::new());
    let insert =
        async |conn: &mut AsyncPgConnection| Ok(conn.batch_execute("INSERT INTO t VALUES (-1)").await?);
    own.transaction::<_, Error>(insert).await.unwrap();
    let lags = || db.topology().nodes[1].lag.is_some_and(|lag| lag >= Duration::from_secs(2));
    within(Duration::from_secs(30), async || lags()).await.unwrap();
    let mut times = Vec::new();
    for _ in 0..BESIDE {
        let started = Instant::now();
        let seen =
            own.read(async |conn| number(conn, "SELECT count(*) AS n FROM t WHERE id = -1").await).await;
        assert_eq!(seen.unwrap(), 1);
        times.push(started.elapsed());
    }
    times.sort();
    times[BESIDE / 2]
}
