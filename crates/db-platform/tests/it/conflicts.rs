//! Replay on a standby cancels reads that need rows which the primary has removed: others answer in its
//! place.

use std::sync::Mutex;
use std::time::Duration;

use db_platform::Db;
use db_platform::replica_routing::NodeStatus;
use db_testkit::{Cluster, until};
use diesel::{QueryResult, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use tokio::sync::Notify;

use crate::{Number, db, port, port_of};

/// What holds the snapshot when the rows that it needs are removed.
#[derive(Debug, Clone, Copy)]
enum Holder {
    /// A statement, which replay cancels.
    Statement,
    /// A transaction between two statements, whose session replay ends.
    Transaction,
}

/// Two standbys on which replay waits for nobody, and a table with rows to remove.
async fn impatient() -> (Cluster, Db) {
    let cluster = Cluster::builder()
        .standbys(2)
        .setting("max_standby_streaming_delay", "0")
        .setting("hot_standby_feedback", "off")
        .setting("autovacuum", "off")
        .start()
        .await
        .unwrap();
    let mut primary = cluster.connect(0).await.unwrap();
    primary.batch_execute("CREATE TABLE rows (n int8)").await.unwrap();
    for standby in [1, 2] {
        cluster.wait_until_caught_up(standby).await.unwrap();
    }
    let db = db(&cluster).await;
    until("both standbys are in use", async || {
        db.topology().nodes.iter().filter(|node| node.lag.is_some()).count() == 3
    })
    .await;
    (cluster, db)
}

/// Removes rows that every snapshot taken before still needs.
async fn remove_rows(primary: &mut AsyncPgConnection) {
    primary.batch_execute("INSERT INTO rows SELECT generate_series(1, 100)").await.unwrap();
    primary.batch_execute("DELETE FROM rows").await.unwrap();
    let who_sees_them = "SELECT count(*) AS n FROM pg_stat_activity WHERE pid <> pg_backend_pid() \
        AND backend_xmin::text::int8 < pg_snapshot_xmax(pg_current_snapshot())::text::int8";
    until("nobody here sees them", async || count(primary, who_sees_them).await == 0).await;
    primary.batch_execute("VACUUM rows").await.unwrap();
}

/// Whether a read holds a snapshot on this standby.
async fn holds(standby: &mut AsyncPgConnection) -> bool {
    let sql = "SELECT count(*) AS n FROM pg_stat_activity \
        WHERE wait_event = 'PgSleep' OR state = 'idle in transaction'";
    count(standby, sql).await > 0
}

async fn count(conn: &mut AsyncPgConnection, sql: &str) -> i64 {
    sql_query(sql).get_result::<Number>(conn).await.unwrap().n
}

/// A read that holds a snapshot for long, on whichever standby it is, ends up on the primary.
async fn check(holder: Holder) {
    let (cluster, db) = impatient().await;
    let (at_primary, visits, ended) = (port_of(&cluster.primary_url()), Mutex::default(), Notify::new());
    let visited = || -> Vec<String> { Vec::clone(&visits.lock().unwrap()) };
    let read = db.read(async |conn| {
        let at = port(conn).await?;
        visits.lock().unwrap().push(at.clone());
        match holder {
            _ if at == at_primary => {}
            Holder::Statement => conn.batch_execute("SELECT pg_sleep(300)").await?,
            Holder::Transaction => {
                conn.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT FROM rows").await?;
                ended.notified().await;
                conn.batch_execute("SELECT FROM rows; COMMIT").await?;
            }
        }
        QueryResult::Ok(at)
    });

    let mut primary = cluster.connect(0).await.unwrap();
    let mut standbys = [cluster.connect(1).await.unwrap(), cluster.connect(2).await.unwrap()];
    let removes = async {
        for round in 1..=2 {
            let mut holding = Vec::new();
            until("the next standby holds the snapshot", async || {
                holding = vec![holds(&mut standbys[0]).await, holds(&mut standbys[1]).await];
                visited().len() == round && holding.contains(&true)
            })
            .await;
            remove_rows(&mut primary).await;
            let standby = &mut standbys[usize::from(holding[1])];
            until("it holds it no more", async || !holds(standby).await).await;
            ended.notify_one();
        }
    };
    let (answered, ()) = tokio::join!(read, removes);

    assert_eq!(answered.unwrap(), at_primary);
    let mut visited = visited();
    assert_eq!(visited.pop(), Some(at_primary));
    visited.sort();
    let mut at_standbys: Vec<_> = cluster.standby_urls().iter().map(|url| port_of(url)).collect();
    at_standbys.sort();
    assert_eq!(visited, at_standbys);
    let topology = db.topology();
    assert_eq!((topology.reads.fresh, topology.reads.fallback), (2, 1), "{topology}");
    assert!(topology.nodes.iter().all(NodeStatus::is_up), "the servers are well: {topology}");
    // Replay may ask more than once, and a session tells what it has counted when it ends.
    let _ = db.shutdown(Duration::from_secs(1)).await;
    for standby in &mut standbys {
        let conflicts = "SELECT sum(confl_snapshot)::int8 AS n FROM pg_stat_database_conflicts";
        until("the conflict is counted", async || count(standby, conflicts).await > 0).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_that_replay_cancels_runs_on_the_other_standby_and_then_on_the_primary() {
    check(Holder::Statement).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_whose_session_replay_ends_runs_on_the_other_standby_and_then_on_the_primary() {
    check(Holder::Transaction).await;
}
