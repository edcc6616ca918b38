//! What a handle reports to OpenTelemetry, and that the page about it tells the truth.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use db_platform::cache::relay::{Relay, RelayConfig};
use db_platform::cache::simulation::SimulatedTier;
use db_platform::cache::{Cache, CacheConfig, SecondTier};
use db_platform::core::{Measure, MeasureKind, Running};
use db_platform::loader::Loader;
use db_platform::{Config, Db, DbCache, Environment, Error, Freshness, Part};
use db_testkit::{Cluster, Exported, TestDatabase, until};

use crate::{db, port, port_of};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/metrics.md");

/// The names of the pools, as an exporter gets them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_pool_is_observed_under_a_name_of_its_own() {
    let cluster = Cluster::builder().standbys(1).start().await.unwrap();
    let db = db(&cluster).await;
    let exported = Exported::default();
    db.observe_with(&exported.meter());
    // The pool for reads on the primary is opened by the first one.
    db.read_within(Freshness::Primary, port).await.unwrap();
    let max = exported.figures().into_iter().filter(|figure| figure.name == "db.client.connection.max");
    let names: BTreeSet<String> =
        max.map(|figure| figure.attributes["db.client.connection.pool.name"].clone()).collect();
    let (primary, standby) = (port_of(&cluster.primary_url()), port_of(&cluster.standby_urls()[0]));
    let expected = [
        format!("127.0.0.1:{primary}"),
        format!("127.0.0.1:{primary} read-only"),
        format!("127.0.0.1:{standby}"),
    ];
    assert_eq!(names, BTreeSet::from(expected));
}

/// A failover on the way: that is what some are recorded by.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_lists_every_metric_with_its_kind_and_its_unit() {
    let cluster = Cluster::builder().standbys(2).start().await.unwrap();
    let tier: Arc<dyn SecondTier> = Arc::new(SimulatedTier::seeded(7));
    let relay = Relay::new(Arc::clone(&tier), RelayConfig::default());
    let cache = DbCache::new(Cache::with_second_tier(CacheConfig::default(), tier)).relayed_by(relay);
    let db = Db::connect_with_cache(crate::config(&cluster), cache, []).await.unwrap();
    let exported = Exported::default();
    db.observe_with(&exported.meter());
    db.read_within(Freshness::Primary, port).await.unwrap();
    let squares = Loader::new("squares", |keys: Vec<u32>| async move {
        Ok::<_, Error>(keys.into_iter().map(|n| (n, n * n)).collect::<Vec<_>>())
    });
    squares.observe_with(&exported.meter());
    assert_eq!(squares.get(3).await.unwrap(), Some(9));
    cluster.kill(0).await.unwrap();
    cluster.promote(1).await.unwrap();
    db.transaction::<_, Error>(async |conn| Ok(port(conn).await?)).await.unwrap();
    let row = |cells: [&str; 3]| cells.map(|cell| cell.trim().to_owned());
    let page = std::fs::read_to_string(PAGE).unwrap();
    // What dbctl's agent has is another program's.
    let (of_services, _) = page.split_once("\n## Backups\n").unwrap();
    let listed: BTreeSet<[String; 3]> = of_services
        .lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix("| `")?.split('|');
            Some(row([cells.next()?.trim_end_matches(['`', ' ']), cells.next()?, cells.next()?]))
        })
        .collect();
    // The other standby has said how far behind the new writer it is.
    let mut reported = BTreeSet::new();
    until("all that the page lists is reported", async || {
        reported = exported
            .figures()
            .iter()
            .map(|figure| row([&figure.name, &figure.kind.to_string(), &figure.unit]))
            .collect();
        reported.is_superset(&listed)
    })
    .await;
    assert_eq!(reported, listed);
    assert!(listed.len() > 20, "{listed:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_part_is_asked_once_for_all_that_it_measures() {
    let database = TestDatabase::empty().await.unwrap();
    let asked = Arc::new(AtomicU64::new(0));
    let counts = Arc::clone(&asked);
    let part = Part::named("meter").starting(move |_| async move {
        Ok(Running::new().with_metrics(move || {
            let nth = counts.fetch_add(1, Ordering::Relaxed) + 1;
            let measure = |name| Measure::new(name, MeasureKind::Gauge, "{turn}", nth as f64);
            vec![measure("db.meter.one"), measure("db.meter.two"), measure("db.meter.three")]
        }))
    });
    let config = Config::new(Environment::Test, database.url().parse().unwrap());
    let db = Db::connect_with(config, [part]).await.unwrap();
    let exported = Exported::default();
    db.observe_with(&exported.meter());
    for _ in 0..3 {
        let before = AtomicU64::load(&asked, Ordering::Relaxed);
        let figures = exported.figures();
        let own = figures.iter().filter(|figure| figure.name.starts_with("db.meter."));
        let values: Vec<f64> = own.map(|figure| figure.value).collect();
        assert_eq!(values, vec![(before + 1) as f64; 3], "all are of one moment, and of now");
        assert_eq!(AtomicU64::load(&asked, Ordering::Relaxed), before + 1);
    }
}
