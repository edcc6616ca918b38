//! Several nodes take writes: at most one of them gets any.

use std::time::Duration;

use db_core::{Acquire, Endpoint, Error};
use db_replica_routing::{Freshness, Policy, Router, RouterConfig, Signals};
use db_server::Password;
use db_testkit::{Balancer, Cluster, Stop, until};
use diesel::sql_query;
use diesel_async::RunQueryDsl;

use crate::{Kept, Number, Opener, answering, config, endpoint, kept, node, router, router_with};

/// The old primary comes back and takes writes, on its old timeline.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_primary_that_comes_back_gets_no_write_from_whoever_has_seen_or_can_reach_the_new_one() {
    let cluster = Cluster::builder().standbys(1).start().await.unwrap();
    let witness = router(&cluster).await;
    drop(witness.writer().acquire().await.unwrap());
    cluster.kill(0).await.unwrap();
    cluster.promote(1).await.unwrap();
    assert_eq!(*witness.writer().acquire().await.unwrap().endpoint(), node(&cluster, 1));

    cluster.start(0).await.unwrap();
    let fenced = || witness.topology().node(&node(&cluster, 0)).unwrap().fenced;
    until("it is fenced", async || fenced()).await;
    let newcomer = router(&cluster).await;
    for router in [&witness, &newcomer] {
        assert_eq!(router.topology().writer, Some(node(&cluster, 1)));
        assert_eq!(answering(router, Freshness::Any).await, node(&cluster, 1), "nor does it answer reads");
    }
    let evictions = witness.sources(|_, kept| (kept.endpoint().cloned(), kept.evictions()));
    assert!(
        evictions.iter().any(|(at, count)| *at == Some(node(&cluster, 0)) && *count > 0),
        "its connections were cut: {evictions:?}"
    );

    // Whoever has seen the new one waits for it rather than write to the old one.
    cluster.stop(1, Stop::Immediate).await.unwrap();
    until("the new one is seen down", async || witness.topology().writer.is_none()).await;
    let wait = config().writer_wait;
    let refused = witness.writer().acquire().await.err().unwrap();
    assert!(matches!(refused, Error::NoServer { waited, .. } if waited >= wait), "{refused}");
}

/// Two clusters of the kit are copies of one template: one system identifier, one timeline, two primaries.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_writers_on_one_timeline_get_no_write_until_one_of_them_is_gone() {
    let (one, two) = tokio::join!(Cluster::builder().start(), Cluster::builder().start());
    let (one, two) = (one.unwrap(), two.unwrap());
    let router = router(&one).await;
    assert_eq!(router.topology().writer, Some(node(&one, 0)));
    router.add(node(&two, 0));
    until("both are seen", async || router.topology().conflict.is_some()).await;
    let refused = router.writer().acquire().await.err().unwrap().to_string();
    assert!(refused.contains("are both primaries on timeline 1"), "{refused}");
    assert_eq!(router.topology().conflicts, 1);

    two.stop(0, Stop::Immediate).await.unwrap();
    until("the conflict is over", async || router.topology().conflict.is_none()).await;
    assert_eq!(*router.writer().acquire().await.unwrap().endpoint(), node(&one, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_of_another_cluster_is_not_used() {
    let cluster = Cluster::builder().standbys(1).start().await.unwrap();
    let other = stranger(0).await;
    let stranger = endpoint(&other.cluster.primary_url());
    let router = router(&cluster).await;
    router.add(stranger.clone());
    router.add(stranger.clone());
    let trouble = || router.topology().node(&stranger).and_then(|node| node.trouble.clone());
    until("it is seen through", async || trouble().is_some_and(|text| text.contains("another cluster")))
        .await;
    assert_eq!(router.topology().nodes.len(), 3, "it is listed once");
    assert_eq!(router.topology().writer, Some(node(&cluster, 0)));
}

/// It answers first because the others do not answer yet.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_of_another_cluster_that_answers_first_does_not_shut_the_others_out() {
    let cluster = Cluster::builder().standbys(1).start().await.unwrap();
    let other = stranger(1).await;
    let stranger = endpoint(&other.cluster.standby_urls()[0]);
    cluster.pause(0).await.unwrap();
    cluster.pause(1).await.unwrap();
    let nodes = vec![node(&cluster, 0), node(&cluster, 1), stranger.clone()];
    let signals = Signals::default();
    let router = Router::start(nodes, kept(&signals), |_| Opener, config(), signals);
    until("the stranger was heard", async || router.topology().node(&stranger).unwrap().is_up()).await;
    cluster.resume(1).await.unwrap();
    cluster.resume(0).await.unwrap();
    let writer = router.writer().acquire().await.unwrap();
    assert_eq!(*writer.endpoint(), node(&cluster, 0));
    let trouble = router.topology().node(&stranger).unwrap().trouble.clone().unwrap();
    assert!(trouble.contains("another cluster"), "{trouble}");
    assert_eq!(answering(&router, Freshness::Default).await, node(&cluster, 1));
}

/// A blue/green deployment, or a mistake: another cluster answers where the writer was.
async fn replaced(policy: Policy) -> (Router<Kept>, Cluster, Stranger, Balancer) {
    let cluster = Cluster::builder().start().await.unwrap();
    let other = stranger(0).await;
    let balancer = Balancer::start([cluster.address_of(0).unwrap()]).unwrap();
    let at = Endpoint::new("127.0.0.1", balancer.address().port());
    let settings = RouterConfig {
        new_cluster: policy,
        writer_wait: Duration::from_secs(2),
        resolve_interval: Duration::from_millis(200),
        ..config()
    };
    let router = router_with(vec![at], settings).await;
    drop(router.writer().acquire().await.unwrap());
    let new = endpoint(&other.cluster.primary_url());
    balancer.lead_to([format!("{new}").parse().unwrap()]);
    balancer.cut();
    (router, cluster, other, balancer)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_cluster_behind_the_writers_name_gets_no_write_and_the_error_says_why() {
    let (router, cluster, _other, balancer) = replaced(Policy::Refuse).await;
    until("it is noticed", async || router.topology().writer.is_none()).await;
    let refused = router.writer().acquire().await.err().unwrap().to_string();
    assert!(refused.contains("another cluster") && refused.contains("new_cluster"), "{refused}");
    balancer.lead_to([cluster.address_of(0).unwrap()]);
    balancer.cut();
    until("the old one is back", async || router.writer().acquire().await.is_ok()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_cluster_behind_the_writers_name_is_followed_where_that_is_wanted() {
    let (router, _cluster, other, _balancer) = replaced(Policy::Follow).await;
    let port = i64::from(endpoint(&other.cluster.primary_url()).port());
    until("it is followed", async || {
        let Ok(mut conn) = router.writer().acquire().await else { return false };
        // One of the old cluster's may still be lent, and ends.
        let asked = sql_query("SELECT current_setting('port')::int8 AS n").get_result::<Number>(&mut conn);
        asked.await.is_ok_and(|row| row.n == port)
    })
    .await;
}

struct Stranger {
    cluster: db_server::Cluster,
    _directory: tempfile::TempDir,
}

/// A cluster with another system identifier: a place of its own has a template of its own.
async fn stranger(standbys: usize) -> Stranger {
    let start = move || {
        let here = db_server::Place::here().unwrap();
        let directory = tempfile::tempdir_in(here.root()).unwrap();
        let place = db_server::Place::of(Some(directory.path()), here.account().cloned()).unwrap();
        let install = db_server::find(None, &|_| ()).unwrap();
        let builder = db_server::Cluster::builder(install).place(place).standbys(standbys);
        let started = builder.password(Password::new(db_testkit::password())).start().unwrap();
        Stranger { cluster: started, _directory: directory }
    };
    tokio::task::spawn_blocking(start).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_server_under_two_names_is_one_writer() {
    let cluster = Cluster::builder().start().await.unwrap();
    let own = node(&cluster, 0);
    let alias = db_core::Endpoint::new("localhost", own.port());
    let router = router_with(vec![own, alias], config()).await;
    assert!(router.writer().acquire().await.is_ok());
    assert_eq!(router.topology().conflicts, 0);
}
