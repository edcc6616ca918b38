//! What is wrong with the database reaches people without a line of the service's own code.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::routing::post;
use db_platform::{Config, Db};
use db_testkit::{Cluster, Stop, TestDatabase, until};
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use serde_json::Value;

use crate::{Number, alone, sql_query};

/// A receiver on loopback, and what it got.
#[derive(Clone)]
struct Receiver {
    url: String,
    got: Arc<Mutex<Vec<Value>>>,
}

impl Receiver {
    async fn start() -> Self {
        let got = Arc::<Mutex<Vec<Value>>>::default();
        let kept = Arc::clone(&got);
        let keep = async move |body: String| kept.lock().unwrap().push(serde_json::from_str(&body).unwrap());
        let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", socket.local_addr().unwrap());
        let service = axum::Router::new().route("/hook", post(keep));
        tokio::spawn(async move { axum::serve(socket, service).await });
        Receiver { url, got }
    }

    /// How often it was told that an incident with this end of its key began, or is over.
    fn told(&self, key: &str, is_over: bool) -> usize {
        let of = |message: &&Value| {
            let incident = message["incident"].as_str().unwrap_or_default();
            incident.starts_with(key) || incident.split('#').next().unwrap_or_default().ends_with(key)
        };
        let got = self.got.lock().unwrap();
        // Of many at once there is one message.
        let all = got.iter().flat_map(|one| match one["messages"].as_array() {
            Some(gathered) if !gathered.is_empty() => gathered.iter().collect::<Vec<_>>(),
            _ => vec![one],
        });
        all.filter(of).filter(|message| message["resolved"] == is_over).count()
    }
}

/// A service that sets nothing but its environment.
async fn service(cluster: &Cluster, receiver: &Receiver) -> Db {
    let vars = [
        ("APP_ENV", "test".to_owned()),
        ("DATABASE_URL", cluster.primary_url()),
        ("DATABASE_READ_URLS", cluster.standby_urls().join(",")),
        ("DB_HEALTH_CHECK_INTERVAL", "100ms".to_owned()),
        ("MONITORING_INTERVAL", "200ms".to_owned()),
        ("NOTIFICATION_WEBHOOK", receiver.url.clone()),
        ("ALERT_AFTER", "200ms".to_owned()),
        ("ALERT_RESOLVE_AFTER", "200ms".to_owned()),
        ("ALERT_REPLICATION_LAG", "500ms".to_owned()),
    ];
    let config = Config::from_vars(vars.map(|(name, value)| (name.to_owned(), value))).unwrap();
    Db::connect(config).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blocked_session_lag_and_a_stopped_standby_reach_a_webhook() {
    let cluster = Cluster::builder().standbys(1).start().await.unwrap();
    let receiver = Receiver::start().await;
    let db = service(&cluster, &receiver).await;
    let mut holder = cluster.connect(0).await.unwrap();
    holder.batch_execute("CREATE TABLE orders (id int)").await.unwrap();
    holder.batch_execute("BEGIN; LOCK TABLE orders").await.unwrap();
    // Five behind one are critical at once.
    let waiting = (0..5).map(|_| {
        let url = cluster.primary_url();
        tokio::spawn(async move {
            let mut conn = AsyncPgConnection::establish(&url).await.unwrap();
            conn.batch_execute("SELECT FROM orders").await.unwrap();
        })
    });
    let waiting: Vec<_> = waiting.collect();
    until("it is told that sessions wait", async || receiver.told("/blocking", false) == 1).await;
    let found = db.health().checks.unwrap();
    assert!(found.iter().any(|check| check.id == "blocking" && check.status.is_problem()), "{found:?}");
    assert!(db.metrics().server.unwrap().locks_awaited.unwrap() >= 5);
    holder.batch_execute("COMMIT").await.unwrap();
    for one in waiting {
        one.await.unwrap();
    }
    until("it is told that they go on", async || receiver.told("/blocking", true) == 1).await;

    cluster.pause_replay(1).await.unwrap();
    until("it is told that the standby is behind", async || {
        holder.batch_execute("INSERT INTO orders VALUES (1)").await.unwrap();
        receiver.told("/replication-lag", false) == 1
    })
    .await;
    cluster.resume_replay(1).await.unwrap();

    cluster.stop(1, Stop::Immediate).await.unwrap();
    until("it is told that the standby is down", async || receiver.told("/down", false) == 1).await;
    let _ = db.shutdown(Duration::from_secs(5)).await;
    assert_eq!(receiver.told("/blocking", false), 1, "once");
}

async fn sessions_of_monitoring(database: &TestDatabase) -> i64 {
    let mut conn = database.connect().await.unwrap();
    let sessions = "SELECT count(*) AS n FROM pg_stat_activity WHERE application_name = 'db-platform monitoring' \
                    AND datname = current_database()";
    sql_query(sessions).get_result::<Number>(&mut conn).await.unwrap().n
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_is_looked_at_where_the_settings_say_so_and_no_longer_than_the_handle() {
    let database = TestDatabase::empty().await.unwrap();
    let quiet = alone(&database, |_| {}).await;
    let asked =
        alone(&database, |config| config.monitoring.collect_every = Some(Duration::from_secs(1))).await;
    until("the server has answered", async || asked.metrics().server.is_some()).await;
    until("checks have looked", async || asked.health().checks.is_some_and(|checks| checks.len() > 40)).await;
    until("both sessions are there", async || sessions_of_monitoring(&database).await == 2).await;
    let _ = asked.shutdown(Duration::from_secs(5)).await;
    until("none is left", async || sessions_of_monitoring(&database).await == 0).await;
    assert!(quiet.collector().is_none() && quiet.metrics().server.is_none());
    // The parts of a handle check themselves, and need no server for it.
    let parts = ["cache", "cache-relay"];
    let checks = quiet.health().checks.unwrap_or_default();
    assert!(checks.iter().all(|check| parts.contains(&&*check.id)), "{checks:?}");
    assert!(!quiet.health().parts.iter().any(|part| ["collector", "checks"].contains(&part.name)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_of_the_services_own_takes_the_place_of_the_handles() {
    use db_platform::monitoring::server::{Collector, CollectorConfig};

    let database = TestDatabase::empty().await.unwrap();
    let mut config = Config::new(db_platform::Environment::Test, database.url().parse().unwrap());
    config.monitoring.collect_every = Some(Duration::from_secs(1));
    let (collector, part) = Collector::beside(CollectorConfig::default());
    let db = Db::connect_with(config, [part]).await.unwrap();
    assert!(db.collector().is_none());
    db.follow(&collector);
    until("it is followed", async || db.metrics().server.is_some()).await;
    until("checks look at it", async || db.health().checks.is_some_and(|checks| checks.len() > 40)).await;
    assert!(sessions_of_monitoring(&database).await <= 2);
    let _ = db.shutdown(Duration::from_secs(5)).await;
}
