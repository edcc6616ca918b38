//! How soon people are told: of sessions that wait, of a change of a table in the queue, of a server that is
//! down.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::routing::post;
use db_platform::{Config, Db};
use db_testkit::claims::{Figure, Size};
use db_testkit::{Cluster, Stop};
use diesel_async::{AsyncConnection, AsyncPgConnection, SimpleAsyncConnection};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

/// For how long a condition must last in this measurement.
const RAISE_AFTER: Duration = Duration::from_secs(1);
/// A wait for ACCESS EXCLUSIVE is bad from here on.
const LOCK_IS_BAD_AFTER: Duration = Duration::from_secs(2);
/// A round takes at least so long: six messages each, of the fifteen that a channel takes in a minute besides
/// critical ones.
const ROUND: Duration = Duration::from_secs(30);
/// More sessions than this behind one blocker are bad at once.
const VICTIMS: usize = 5;
/// What is not told by then is lost.
const LOST_AFTER: Duration = Duration::from_secs(30);

/// Messages, and when they came.
pub(super) type Inbox = Arc<Mutex<Vec<(Instant, Value)>>>;

pub(crate) fn measure(size: Size) -> Figure {
    let rounds = match size {
        Size::Ci => 8,
        Size::Nightly => 60,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (delays_in_order, lost, twice) = runtime.block_on(of_rounds(rounds));
    let mut delays = delays_in_order.clone();
    delays.sort_by(f64::total_cmp);
    let at = (delays.len() * 99).div_ceil(100).saturating_sub(1);
    let p99 = delays.get(at).copied().unwrap_or(f64::INFINITY);
    Figure {
        value: p99,
        unit: "s at p99 between the moment in which a condition had lasted long enough and its delivery",
        holds: p99 <= 2.0 && lost == 0 && twice.is_empty(),
        detail: json!({ "delays_s": delays_in_order, "lost": lost, "told_twice": twice }),
    }
}

/// The delays, how many were not told at all, and what was told twice.
async fn of_rounds(rounds: usize) -> (Vec<f64>, usize, Vec<String>) {
    let cluster = Cluster::builder().standbys(1).start().await.unwrap();
    let inbox = Inbox::default();
    let db = service(&cluster, receiver(&inbox).await).await;
    let mut setup = cluster.connect(0).await.unwrap();
    setup.batch_execute("CREATE TABLE orders (id int); CREATE TABLE users (id int)").await.unwrap();
    let (mut delays, mut lost) = (Vec::new(), 0_usize);
    for round in 1..=rounds {
        let next_round = tokio::time::Instant::now() + ROUND;
        let blocker = open(&cluster, "BEGIN; LOCK TABLE orders").await;
        let reader = open(&cluster, "BEGIN; SELECT FROM users").await;
        let begun = Instant::now();
        let mut waiting: Vec<JoinHandle<()>> = Vec::new();
        for _ in 0..=VICTIMS {
            waiting.push(wait(&cluster, "SELECT FROM orders"));
        }
        waiting.push(wait(&cluster, "LOCK TABLE users"));
        let stopped = Instant::now();
        cluster.stop(1, Stop::Immediate).await.unwrap();
        let due = [
            ("/blocking", begun + RAISE_AFTER),
            ("/exclusive-lock-waits", begun + LOCK_IS_BAD_AFTER + RAISE_AFTER),
            ("/down", stopped + RAISE_AFTER),
        ];
        for (key, due) in due {
            match told(&inbox, key, false, round).await {
                Some(at) => delays.push(at.saturating_duration_since(due).as_secs_f64()),
                None => lost += 1,
            }
        }
        drop((blocker, reader));
        for one in waiting {
            one.await.unwrap();
        }
        cluster.start(1).await.unwrap();
        for (key, _) in due {
            lost += usize::from(told(&inbox, key, true, round).await.is_none());
        }
        if round < rounds {
            tokio::time::sleep_until(next_round).await;
        }
    }
    let _ = db.shutdown(Duration::from_secs(5)).await;
    let twice = repeated(&inbox);
    (delays, lost, twice)
}

/// A service with the settings of production, except for how long a condition must last.
async fn service(cluster: &Cluster, receiver: String) -> Db {
    let vars = [
        ("APP_ENV", "production".to_owned()),
        ("DATABASE_URL", cluster.primary_url()),
        ("DATABASE_READ_URLS", cluster.standby_urls().join(",")),
        ("NOTIFICATION_WEBHOOK", receiver),
        ("ALERT_AFTER", "1s".to_owned()),
        ("ALERT_RESOLVE_AFTER", "1s".to_owned()),
    ];
    let mut config = Config::from_vars(vars.map(|(name, value)| (name.to_owned(), value))).unwrap();
    config.cache = None;
    Db::connect(config).await.unwrap()
}

pub(super) async fn receiver(inbox: &Inbox) -> String {
    let kept = Arc::clone(inbox);
    let keep = async move |body: String| {
        let message = serde_json::from_str(&body).unwrap();
        kept.lock().unwrap().push((Instant::now(), message));
    };
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", socket.local_addr().unwrap());
    let service = axum::Router::new().route("/hook", post(keep));
    tokio::spawn(async move { axum::serve(socket, service).await });
    url
}

async fn open(cluster: &Cluster, begin: &str) -> AsyncPgConnection {
    let mut conn = cluster.connect(0).await.unwrap();
    conn.batch_execute(begin).await.unwrap();
    conn
}

fn wait(cluster: &Cluster, sql: &'static str) -> JoinHandle<()> {
    let url = cluster.primary_url();
    tokio::spawn(async move {
        let mut conn = AsyncPgConnection::establish(&url).await.unwrap();
        conn.batch_execute(&format!("BEGIN; {sql}; COMMIT")).await.unwrap();
    })
}

/// One message that came.
struct Came {
    at: Instant,
    id: String,
    incident: String,
    is_over: bool,
}

/// All that was told, those in a digest one by one.
fn all(inbox: &Inbox) -> Vec<Came> {
    let inbox = inbox.lock().unwrap();
    let word = |message: &Value, name: &str| message[name].as_str().unwrap_or_default().to_owned();
    let one = |at: Instant, message: &Value| Came {
        at,
        id: word(message, "id"),
        incident: word(message, "incident"),
        is_over: message["resolved"] == true,
    };
    let each = inbox.iter().flat_map(|(at, message)| match message["messages"].as_array() {
        Some(gathered) if !gathered.is_empty() => gathered.iter().map(|part| one(*at, part)).collect(),
        _ => vec![one(*at, message)],
    });
    each.collect()
}

/// When the incident of this key and number was told.
async fn told(inbox: &Inbox, key: &str, is_over: bool, number: usize) -> Option<Instant> {
    let (begun, end) = (Instant::now(), format!("{key}#{number}"));
    let mut looks = tokio::time::interval(Duration::from_millis(5));
    while begun.elapsed() < LOST_AFTER {
        looks.tick().await;
        let it = all(inbox).into_iter().find(|one| one.incident.ends_with(&end) && one.is_over == is_over);
        if let Some(one) = it {
            return Some(one.at);
        }
    }
    None
}

/// What was told under one id more than once.
fn repeated(inbox: &Inbox) -> Vec<String> {
    let mut seen = std::collections::BTreeSet::new();
    all(inbox).into_iter().filter(|one| !seen.insert(one.id.clone())).map(|one| one.id).collect()
}
