//! What the handle tells of itself: health, topology, pools, and how it ends.

use std::time::Duration;

use db_platform::{Condition, Error, Freshness};
use db_testkit::{Cluster, Stop, until};
use diesel::sql_query;
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};

use opentelemetry::metrics::MeterProvider;
use opentelemetry_sdk::metrics::data::{AggregatedMetrics, MetricData};
use opentelemetry_sdk::metrics::{InMemoryMetricExporter, PeriodicReader, SdkMeterProvider};

use crate::{db, port_of};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_follows_the_servers() {
    let cluster = Cluster::builder().standbys(1).start().await.unwrap();
    let db = db(&cluster).await;
    until("everything is up", async || db.health().await.condition == Condition::Up).await;
    cluster.stop(1, Stop::Immediate).await.unwrap();
    until("a standby is missing", async || db.health().await.condition == Condition::Degraded).await;
    cluster.stop(0, Stop::Immediate).await.unwrap();
    until("the primary is gone", async || db.health().await.condition == Condition::Down).await;
    let text = db.health().await.to_string();
    assert!(text.starts_with("down\n") && text.contains(" down ("), "{text}");
    assert!(!text.contains("postgres:postgres"), "{text}");
    assert_eq!(text.matches("\npool of 127.0.0.1:").count(), 2, "{text}");
}

/// The names of the pools, as an exporter gets them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_pool_is_observed_under_a_name_of_its_own() {
    let cluster = Cluster::builder().standbys(1).start().await.unwrap();
    let db = db(&cluster).await;
    let exporter = InMemoryMetricExporter::default();
    let provider =
        SdkMeterProvider::builder().with_reader(PeriodicReader::builder(exporter.clone()).build()).build();
    db.observe_with(&provider.meter("test"));
    // The pool for reads on the primary is opened by the first one.
    let read = async |conn: &mut AsyncPgConnection| sql_query("SELECT 1").execute(conn).await;
    db.read_within(Freshness::Primary, read).await.unwrap();
    provider.force_flush().unwrap();
    let metrics = exporter.get_finished_metrics().unwrap().pop().unwrap();
    let mut metrics = metrics.scope_metrics().flat_map(|scope| scope.metrics());
    let max = metrics.find(|metric| metric.name() == "db.client.connection.max").unwrap();
    let AggregatedMetrics::I64(MetricData::Sum(sum)) = max.data() else { panic!("{max:?}") };
    let mut names: Vec<String> =
        sum.data_points().flat_map(|point| point.attributes().map(|pair| pair.value.to_string())).collect();
    names.sort();
    let (primary, standby) = (port_of(&cluster.primary_url()), port_of(&cluster.standby_urls()[0]));
    let expected = [
        format!("127.0.0.1:{primary}"),
        format!("127.0.0.1:{primary} read-only"),
        format!("127.0.0.1:{standby}"),
    ];
    assert_eq!(names, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handle_that_is_shut_down_refuses_and_leaves_no_session() {
    let cluster = Cluster::builder().start().await.unwrap();
    let db = db(&cluster).await;
    let mut held = db.primary().await.unwrap();
    held.batch_execute("SELECT 1").await.unwrap();
    let drained = db.shutdown(Duration::from_millis(200)).await;
    assert_eq!(drained.abandoned, 1);
    assert!(matches!(db.primary().await, Err(Error::PoolClosed { .. })));
    drop((held, db));
    let mut observer = cluster.connect(0).await.unwrap();
    until("only the observer is left", async || {
        let sessions = "SELECT count(*) AS n FROM pg_stat_activity WHERE backend_type = 'client backend'";
        crate::sql_query(sessions).get_result::<crate::Number>(&mut observer).await.unwrap().n == 1
    })
    .await;
}
