//! How reads are spread over several standbys.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use db_core::{Acquire, Endpoint, Error};
use db_replica_routing::{EjectionConfig, Freshness, NodeConfig, Router, RouterConfig, Signals};
use db_testkit::{Cluster, Faulty, until};

use crate::{Kept, Opener, PATIENCE, answering, config, kept, node, nodes};

async fn shares(router: &Router<Kept>, reads: usize) -> BTreeMap<Endpoint, usize> {
    let mut shares = BTreeMap::new();
    for _ in 0..reads {
        *shares.entry(answering(router, Freshness::Default).await).or_default() += 1;
    }
    shares
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_stay_in_the_own_zone_while_it_answers() {
    let cluster = Cluster::builder().standbys(2).start().await.unwrap();
    let zone =
        |server: usize| NodeConfig { zone: Some(format!("z{server}")), ..node(&cluster, server).into() };
    let settings = RouterConfig { zone: Some("z2".to_owned()), ..config() };
    let signals = Signals::default();
    let router = Router::start((0..3).map(zone), kept(&signals), |_| Opener, settings, signals);
    router.settle(PATIENCE).await;
    let shared = shares(&router, 100).await;
    assert!(shared.get(&node(&cluster, 2)).is_some_and(|share| *share > 90), "{shared:?}");
    cluster.kill(2).await.unwrap();
    until("the other zone answers", async || {
        answering(&router, Freshness::Default).await == node(&cluster, 1)
    })
    .await;
}

/// Its probes succeed, and its pool cannot connect: only the reads know.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_that_fails_reads_is_ejected_and_readmitted_and_all_are_never_ejected() {
    let cluster = Cluster::builder().standbys(2).start().await.unwrap();
    let ejection = EjectionConfig { base: Duration::from_millis(300), ..EjectionConfig::default() };
    let settings = RouterConfig { ejection, slow_start: Duration::ZERO, ..config() };
    let signals = Signals::default();
    let sources: Arc<Mutex<BTreeMap<Endpoint, Faulty<Kept>>>> = Arc::default();
    let open = {
        let (open, sources) = (kept(&signals), Arc::clone(&sources));
        move |endpoint: &Endpoint, purpose| {
            let source = Faulty::new(open(endpoint, purpose));
            sources.lock().unwrap().insert(endpoint.clone(), source.clone());
            source
        }
    };
    let router = Router::start(nodes(&cluster), open, |_| Opener, settings, signals);
    router.settle(PATIENCE).await;
    let faulty = |server: usize| sources.lock().unwrap()[&node(&cluster, server)].clone();
    let broken = || Error::ConnectionLost { reason: "no connection for reads".to_owned() };
    let status = |server: usize| router.topology().node(&node(&cluster, server)).unwrap().clone();
    let read = async || router.reader(Freshness::Default).acquire().await.unwrap().endpoint().clone();

    faulty(1).fail_from(1, broken);
    until("it is ejected", async || {
        read().await;
        status(1).ejected
    })
    .await;
    assert!(status(1).is_up(), "it answers its probes");
    let acquires = faulty(1).acquires();
    for _ in 0..20 {
        assert_eq!(read().await, node(&cluster, 2));
        if !status(1).ejected {
            break;
        }
    }
    assert!(faulty(1).acquires() <= acquires + 1, "an ejected node is left alone");

    faulty(2).fail_from(1, broken);
    assert_eq!(read().await, node(&cluster, 0), "the primary answers where both fail");
    faulty(1).heal();
    faulty(2).heal();
    until("both answer again", async || {
        let (one, two) = (status(1).reads.total(), status(2).reads.total());
        read().await;
        !status(1).ejected
            && !status(2).ejected
            && (status(1).reads.total() > one || status(2).reads.total() > two)
    })
    .await;
    assert!(status(1).ejections >= 1);
}
