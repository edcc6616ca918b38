//! What an exporter gets is what happened. That docs/metrics.md lists all of it, `db-platform` tests.

use std::time::Duration;

use db_core::{Acquire, AroundCommit, CommitOutcome};
use db_replica_routing::{Freshness, RouterConfig, Session, Token};
use db_testkit::{Cluster, Exported, Figure, Stop, until};
use diesel_async::SimpleAsyncConnection;

use crate::{answering, config, node, nodes, router, router_with};

/// The figures of one metric.
fn figures(exported: &Exported, metric: &str) -> Vec<Figure> {
    let name = format!("db_replica_routing_{metric}");
    exported.figures().into_iter().filter(|figure| figure.name == name).collect()
}

/// The one figure of a metric.
fn only(exported: &Exported, metric: &str) -> Figure {
    let figures = figures(exported, metric);
    assert_eq!(figures.len(), 1, "{figures:?}");
    figures[0].clone()
}

/// What is not 0, by the server's number, with this attribute.
fn by_server(exported: &Exported, metric: &str, attribute: &str, cluster: &Cluster) -> Vec<String> {
    let servers: Vec<_> = (0..nodes(cluster).len()).map(|server| node(cluster, server)).collect();
    let text = |figure: Figure| {
        assert_eq!(figure.attributes["server.address"], "127.0.0.1");
        let port = &figure.attributes["server.port"];
        let server = servers.iter().position(|node| node.port().to_string() == *port).unwrap();
        format!("{server} {} {}", figure.attributes[attribute], figure.value)
    };
    let mut all: Vec<_> =
        figures(exported, metric).into_iter().filter(|figure| figure.value != 0.0).map(text).collect();
    all.sort();
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_are_reported_for_each_node_by_why_they_went_there() {
    let cluster = Cluster::builder().standbys(1).start().await.unwrap();
    let settings = RouterConfig { token_wait: Duration::from_secs(30), ..config() };
    let router = router_with(nodes(&cluster), settings).await;
    let exported = Exported::default();
    router.observe_with(&exported.meter());
    router.observe_with(&exported.meter());

    answering(&router, Freshness::Primary).await;
    for _ in 0..3 {
        answering(&router, Freshness::Default).await;
    }
    cluster.pause_replay(1).await.unwrap();
    let session = Session::new();
    let mut conn = router.writer().acquire().await.unwrap();
    conn.batch_execute("CREATE TABLE late ()").await.unwrap();
    session.commit().after(Some(&mut conn), CommitOutcome::Committed).await;
    // The read is polled first, and waits.
    let (_, resumed) = tokio::join!(answering(&router, session.freshness()), cluster.resume_replay(1));
    resumed.unwrap();
    for _ in 0..2 {
        answering(&router, session.freshness()).await;
    }
    let foreign = Token { system: 1, ..session.token().unwrap() };
    answering(&router, Freshness::AtLeast(foreign)).await;
    cluster.stop(1, Stop::Immediate).await.unwrap();
    until("it is seen down", async || !router.topology().nodes[0].is_up()).await;
    answering(&router, Freshness::Default).await;

    let expected = [
        "0 fallback 1",
        "0 primary 1",
        "0 token_fallback 1",
        "1 fresh 3",
        "1 token 2",
        "1 token_after_wait 1",
    ];
    assert_eq!(by_server(&exported, "reads", "reason", &cluster), expected);
    let topology = router.topology();
    let of = |server: usize| topology.node(&node(&cluster, server)).unwrap().reads;
    assert_eq!((of(0).total(), of(1).total()), (3, 6));
    assert_eq!((topology.reads.total(), topology.reads.by_standbys()), (9, 6));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lag_states_and_a_failover_are_reported() {
    let cluster = Cluster::builder().standbys(1).start().await.unwrap();
    let router = router(&cluster).await;
    let exported = Exported::default();
    router.observe_with(&exported.meter());
    let states = || by_server(&exported, "nodes", "state", &cluster);
    assert_eq!(states(), ["0 writer 1", "1 standby 1"]);

    let write = async |sql: &str| router.writer().acquire().await.unwrap().batch_execute(sql).await.unwrap();
    // A standby that has replayed nothing yet does not know how old that is.
    write("CREATE TABLE early ()").await;
    cluster.wait_until_caught_up(1).await.unwrap();
    cluster.pause_replay(1).await.unwrap();
    write("CREATE TABLE late ()").await;
    let mut lag = Vec::new();
    until("the standby lags", async || {
        lag = figures(&exported, "lag");
        lag.iter().any(|figure| figure.value > 0.2)
    })
    .await;
    let ports: Vec<_> = lag.iter().map(|figure| &figure.attributes["server.port"]).collect();
    assert_eq!(ports, [&node(&cluster, 1).port().to_string()]);
    assert!(only(&exported, "lag_bytes").value > 0.0);
    cluster.stop(1, Stop::Immediate).await.unwrap();
    until("it is seen down", async || states() == ["0 writer 1", "1 down 1"]).await;
    for metric in ["lag", "lag_bytes"] {
        assert_eq!(figures(&exported, metric), [], "what nobody knows is not what was known last");
    }
    cluster.start(1).await.unwrap();
    until("it is back", async || states() == ["0 writer 1", "1 standby 1"]).await;

    cluster.kill(0).await.unwrap();
    until("it is noticed", async || states() == ["0 down 1", "1 standby 1"]).await;
    assert_eq!(figures(&exported, "failover_duration"), []);
    let writes = async { router.writer().acquire().await.unwrap() };
    let promotes = async {
        until("a caller waits", async || only(&exported, "pending_requests").value == 1.0).await;
        cluster.promote(1).await.unwrap();
    };
    let (conn, ()) = tokio::join!(writes, promotes);
    assert_eq!(*conn.endpoint(), node(&cluster, 1));
    assert_eq!(states(), ["0 down 1", "1 writer 1"]);
    assert_eq!(only(&exported, "pending_requests").value, 0.0);
    assert_eq!(only(&exported, "failovers").value, 1.0);
    assert_eq!(only(&exported, "conflicts").value, 0.0);
    let duration = only(&exported, "failover_duration");
    assert_eq!((duration.count, duration.value), (1, router.topology().last_failover.unwrap().as_secs_f64()));

    drop((conn, router));
    assert_eq!(figures(&exported, "nodes"), [], "a meter keeps no router alive");
}
