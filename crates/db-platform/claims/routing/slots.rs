//! routing-10: every place for a connection is taken, and the monitors' own sessions were ended.

use std::time::{Duration, Instant};

use db_platform::{Db, Error};
use db_testkit::Cluster;
use diesel_async::{AsyncConnection, AsyncPgConnection, SimpleAsyncConnection};
use serde_json::json;

use crate::routing::{block_on, config, number};
use crate::{Figure, Size};

const PLACES: &str = "20";
const ENOUGH: usize = 5;
const TAKEN_WITHIN: Duration = Duration::from_secs(60);

/// Fails without the arm `Err(error) if is_refusal(&error)` of the router's monitor.rs (`probe`).
pub(crate) fn measure(size: Size) -> Figure {
    let wanted = if size == Size::Nightly { 20_000 } else { 2_000 };
    block_on(run(wanted))
}

async fn run(wanted: u32) -> Figure {
    let cluster = Cluster::builder().setting("max_connections", PLACES).start().await.unwrap();
    let url = cluster.primary_url();
    let db = Db::connect(config(std::slice::from_ref(&url))).await.unwrap();
    let create =
        async |conn: &mut AsyncPgConnection| Ok(conn.batch_execute("CREATE TABLE t (n int8)").await?);
    db.transaction::<_, Error>(create).await.unwrap();
    let pid = "SELECT pg_backend_pid()::int8 AS n";
    let writes = db.transaction::<_, Error>(async |conn| Ok(number(conn, pid).await?)).await.unwrap();
    let reads = db.read(async |conn| number(conn, pid).await).await.unwrap();
    let pools = [writes, reads];

    let mut taken: Vec<AsyncPgConnection> = Vec::new();
    let started = Instant::now();
    while !are_out(&url, pools, &mut taken).await {
        assert!(started.elapsed() < TAKEN_WITHIN, "the monitor always finds a place");
    }
    let (before, mut errors) = (db.topology().nodes[0].probes, Vec::new());
    let mut done = 0;
    // As many calls as are wanted, and enough probes for each to have gone wrong.
    // Each that fails has waited for a writer.
    while (done < wanted || db.topology().nodes[0].probes < before + 20) && errors.len() < ENOUGH {
        let insert =
            async |conn: &mut AsyncPgConnection| Ok(conn.batch_execute("INSERT INTO t VALUES (1)").await?);
        errors.extend(db.transaction::<_, Error>(insert).await.err().map(|error| error.to_string()));
        errors.extend(read(&db).await.err().map(|error| error.to_string()));
        done += 2;
    }
    let still_out = left(pools, &mut taken).await == 0;
    Figure {
        value: errors.len() as f64,
        unit: "errors",
        holds: errors.is_empty() && still_out,
        detail: json!({
            "calls": done,
            "connections_of_others": taken.len(),
            "probes": db.topology().nodes[0].probes - before,
            "first_error": errors.first(),
        }),
    }
}

async fn read(db: &Db) -> Result<i64, Error> {
    db.read(async |conn| number(conn, "SELECT count(*) AS n FROM t").await).await
}

/// All but the pools' connections, on which the monitors ask when they have none of their own.
fn monitors(pools: [i64; 2]) -> String {
    let [one, other] = pools;
    format!(
        "FROM pg_stat_activity WHERE query LIKE 'SELECT r AS in_recovery%' AND pid NOT IN ({one}, {other})"
    )
}

/// Takes all places, ends the monitors' sessions, and takes theirs; true once there are none left.
async fn are_out(url: &str, pools: [i64; 2], taken: &mut Vec<AsyncPgConnection>) -> bool {
    fill(url, taken).await;
    let end = format!("SELECT count(pg_terminate_backend(pid)) AS n {}", monitors(pools));
    number(&mut taken[0], &end).await.unwrap();
    fill(url, taken).await;
    left(pools, taken).await == 0
}

/// Monitors' sessions, and places that one could have.
async fn left(pools: [i64; 2], taken: &mut [AsyncPgConnection]) -> i64 {
    let free =
        format!("{PLACES} - (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend')");
    number(&mut taken[0], &format!("SELECT count(*) + {free} AS n {}", monitors(pools))).await.unwrap()
}

async fn fill(url: &str, taken: &mut Vec<AsyncPgConnection>) {
    while let Ok(conn) = AsyncPgConnection::establish(url).await {
        taken.push(conn);
    }
}
