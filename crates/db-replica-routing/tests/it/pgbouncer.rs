//! PgBouncer in transaction mode before each node.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use db_core::{Acquire, Endpoint};
use db_replica_routing::{Freshness, RouterConfig};
use db_testkit::{Cluster, PgBouncer, PoolMode, skip, until};
use diesel_async::SimpleAsyncConnection;
use tokio::task::JoinSet;

use crate::{config, router_with};

async fn pooler(cluster: &Cluster, server: usize) -> Option<PgBouncer> {
    let url = cluster.url_of(server).unwrap();
    skip::without(PgBouncer::start(&url, PoolMode::Transaction, &[]).await)
}

/// Works until it is told to stop, by the simple protocol: it prepares nothing.
async fn work(url: String, stop: Arc<AtomicBool>) {
    let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
    let served = tokio::spawn(connection);
    while !AtomicBool::load(&stop, Ordering::Relaxed) {
        client.batch_execute("SELECT pg_sleep(0.001)").await.unwrap();
    }
    drop(client);
    served.await.unwrap().unwrap();
}

/// While others work, each statement of a session may run on another server connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_pgbouncer_in_transaction_mode_roles_are_seen_and_a_failover_is_followed() {
    let cluster = Cluster::builder().standbys(1).start().await.unwrap();
    let Some(before_primary) = pooler(&cluster, 0).await else { return };
    let poolers = [before_primary, pooler(&cluster, 1).await.unwrap()];
    let at = |server: usize| Endpoint::new("127.0.0.1", poolers[server].port());
    let settings = RouterConfig { pooled: true, ..config() };
    let router = router_with(vec![at(1), at(0)], settings).await;
    assert_eq!(router.topology().writer, Some(at(0)));

    let (stop, mut others) = (Arc::new(AtomicBool::new(false)), JoinSet::new());
    for pooler in poolers.iter().cycle().take(8) {
        others.spawn(work(pooler.url().to_owned(), Arc::clone(&stop)));
    }
    let probes = || router.topology().nodes.iter().map(|node| node.probes).sum::<u64>();
    let before = probes();
    until("both were asked often", async || {
        let topology = router.topology();
        assert!(topology.nodes.iter().all(|node| node.is_up()), "{topology}");
        probes() > before + 40
    })
    .await;
    stop.store(true, Ordering::Relaxed);
    others.join_all().await;
    // diesel-async prepares statements of its own when it connects. Before 1.21 PgBouncer loses them where a
    // probe comes between: then it is tried again.
    let reader = router.reader(Freshness::Default);
    until("the standby answers", async || reader.acquire().await.is_ok_and(|conn| *conn.endpoint() == at(1)))
        .await;

    // The pooler of the dead server lets clients in and keeps them waiting.
    cluster.kill(0).await.unwrap();
    until("it is noticed", async || router.topology().writer.is_none()).await;
    cluster.promote(1).await.unwrap();
    let mut conn = router.writer().acquire().await.unwrap();
    assert_eq!(*conn.endpoint(), at(1));
    conn.batch_execute("CREATE TABLE after_it ()").await.unwrap();
}
