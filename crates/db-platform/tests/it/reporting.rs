//! What the handle tells of itself: health, topology, pools, and how it ends.

use std::time::Duration;

use db_platform::{Condition, Db, Error};
use db_testkit::{Cluster, Stop, until};
use diesel_async::{RunQueryDsl, SimpleAsyncConnection};

use crate::db;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_follows_the_servers() {
    let cluster = Cluster::builder().standbys(1).start().await.unwrap();
    let db = db(&cluster).await;
    until("everything is up", async || db.health().condition == Condition::Up).await;
    cluster.stop(1, Stop::Immediate).await.unwrap();
    let ready = db.readiness();
    assert!(ready.reads && ready.writes && ready.why.is_none(), "{ready:?}");
    until("a standby is missing", async || db.health().condition == Condition::Degraded).await;
    cluster.stop(0, Stop::Immediate).await.unwrap();
    until("the primary is gone", async || db.health().condition == Condition::Down).await;
    let text = db.health().to_string();
    assert!(text.starts_with("down\n") && text.contains(" down ("), "{text}");
    assert!(!text.contains(db_testkit::password()), "{text}");
    assert_eq!(text.matches("\npool of 127.0.0.1:").count(), 2, "{text}");
    assert!(text.contains(" (writes): ") && !text.contains("ns;"), "{text}");
    let ready = db.readiness();
    assert!(!ready.reads && !ready.writes && ready.why.is_some(), "{ready:?}");
    assert!(Db::liveness().up);
    let json = serde_json::to_value(db.health()).unwrap();
    assert_eq!((&json["condition"], &json["servers"][0]["up"]), (&"down".into(), &false.into()), "{json}");
    assert_eq!(json["pools"][0]["purpose"], "writes");
    let metrics = serde_json::to_value(db.metrics()).unwrap();
    assert!(metrics["waiting"] == 0 && metrics["server"].is_null(), "{metrics}");
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
