//! What the handle tells of itself: health, topology, pools, and how it ends.

use std::time::Duration;

use db_platform::{Condition, Error};
use db_testkit::{Cluster, Stop, until};
use diesel_async::{RunQueryDsl, SimpleAsyncConnection};

use crate::db;

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
    assert!(!text.contains(db_testkit::password()), "{text}");
    assert_eq!(text.matches("\npool of 127.0.0.1:").count(), 2, "{text}");
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
