//! Servers that tell less, names that lead elsewhere, poolers in between.

use std::sync::Arc;
use std::time::Duration;

use db_core::{Acquire, Connect, Endpoint, Error, Result};
use db_replica_routing::{Freshness, NodeConfig, Router, RouterConfig, Session, Signals, Token, Written};
use db_testkit::{Cluster, Proxy, until};
use diesel_async::{AsyncConnection, AsyncPgConnection, SimpleAsyncConnection};

use crate::{Opener, PATIENCE, answering, config, kept, node, number, router_with};

/// Logs in as a user who may not ask for log positions, as on platforms that do not offer them.
#[derive(Clone)]
struct Unprivileged;

impl Connect for Unprivileged {
    async fn connect(&self, endpoint: &Endpoint) -> Result<AsyncPgConnection> {
        let url = format!("postgres://nobody:nobody@{endpoint}/app");
        let opened = AsyncPgConnection::establish(&url).await;
        opened.map_err(|error| Error::ConnectionLost { reason: error.to_string() })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_no_position_is_to_be_had_lag_is_known_in_time_and_tokens_lead_to_the_primary() {
    let cluster = Cluster::builder().standbys(1).start().await.unwrap();
    let mut conn = cluster.connect(0).await.unwrap();
    conn.batch_execute(
        "CREATE ROLE nobody LOGIN PASSWORD 'nobody'; \
         REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC; CREATE TABLE t ()",
    )
    .await
    .unwrap();
    cluster.wait_until_caught_up(1).await.unwrap();
    let signals = Signals::default();
    let nodes = [node(&cluster, 1), node(&cluster, 0)];
    let settings = RouterConfig { max_lag: Duration::from_secs(600), ..config() };
    let router = Router::start(nodes, kept(&signals), |_| Unprivileged, settings, signals);
    router.settle(PATIENCE).await;
    assert_eq!(router.topology().writer, Some(node(&cluster, 0)));
    assert_eq!(answering(&router, Freshness::Default).await, node(&cluster, 1));
    let standby = router.topology().nodes[0].clone();
    assert_eq!((standby.timeline, standby.lag_bytes), (None, None));
    assert!(standby.lag.is_some_and(|lag| lag > Duration::ZERO));

    let token = Token::read(&conn).await.unwrap().unwrap();
    assert_eq!(answering(&router, Freshness::AtLeast(token)).await, node(&cluster, 0));
}

/// The name of a managed service's writer leads elsewhere after a failover.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_moves_to_the_new_primary_is_followed() {
    let cluster = Cluster::builder().standbys(1).start().await.unwrap();
    let name = Arc::new(Proxy::start(cluster.address_of(0).unwrap()).unwrap());
    let at = Endpoint::new("127.0.0.1", name.port());
    let router = router_with(vec![at.clone()], config()).await;
    let mut conn = router.writer().acquire().await.unwrap();
    conn.batch_execute("CREATE TABLE before_it ()").await.unwrap();
    drop(conn);
    cluster.wait_until_caught_up(1).await.unwrap();
    cluster.kill(0).await.unwrap();
    until("it is noticed", async || router.topology().writer.is_none()).await;
    cluster.promote(1).await.unwrap();
    name.redirect(cluster.address_of(1).unwrap()).unwrap();
    let mut conn = router.writer().acquire().await.unwrap();
    conn.batch_execute("CREATE TABLE after_it ()").await.unwrap();
    assert_eq!(router.topology().writer, Some(at));
}

/// Nothing ends on the old server: only a new look at the name tells.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_moves_while_the_old_server_lives_is_resolved_again() {
    let cluster = Cluster::builder().standbys(1).start().await.unwrap();
    let name = Proxy::start(cluster.address_of(0).unwrap()).unwrap();
    let at = Endpoint::new("localhost", name.port());
    let settings = RouterConfig { resolve_interval: Duration::from_millis(200), ..config() };
    let router = router_with(vec![at], settings).await;
    let port = async || {
        let mut conn = router.writer().acquire().await.unwrap();
        number(&mut conn, "SELECT current_setting('port')::int8 AS n").await
    };
    let port_of = |server: usize| i64::from(node(&cluster, server).port());
    assert_eq!(port().await, port_of(0));
    cluster.promote(1).await.unwrap();
    name.redirect(cluster.address_of(1).unwrap()).unwrap();
    until("the new server is found", async || port().await == port_of(1)).await;
}

/// What one connection has seen says nothing of the next.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_leads_to_several_servers_answers_no_read_with_a_token() {
    let cluster = Cluster::builder().standbys(1).start().await.unwrap();
    let several = NodeConfig { one_server: false, ..node(&cluster, 1).into() };
    let signals = Signals::default();
    let nodes = [NodeConfig::from(node(&cluster, 0)), several];
    let router = Router::start(nodes, kept(&signals), |_| Opener, config(), signals);
    router.settle(PATIENCE).await;
    assert_eq!(answering(&router, Freshness::Default).await, node(&cluster, 1));
    let session = Session::new();
    let conn = router.writer().acquire().await.unwrap();
    let token = Token::read(&conn).await.unwrap().unwrap();
    session.merge(Written::UpTo(token));
    cluster.wait_until_caught_up(1).await.unwrap();
    assert_eq!(answering(&router, session.freshness()).await, node(&cluster, 0));
}
