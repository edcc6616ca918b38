//! What was planted as a bind value, a constant, a row, a password and a token, looked for in all that
//! monitoring puts out.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::Request;
use db_platform::monitoring::checks::{self, Selection, Visit};
use db_platform::monitoring::dashboard::{self, Access};
use db_platform::monitoring::report::Report;
use db_platform::monitoring::server::{Collector, CollectorConfig, ServerSession, metrics_router};
use db_platform::{Config, Db, Error};
use db_testkit::claims::{Figure, Size};
use db_testkit::{Cluster, Stop, until};
use diesel::sql_query;
use diesel::sql_types::Text;
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use serde_json::json;
use tower_service::Service;
use tracing_subscriber::Layer;
use tracing_subscriber::layer::SubscriberExt;

use super::alerting::{Inbox, receiver};

const BIND: &str = "planted-bind-value";
const CONSTANT: &str = "planted-constant";
const ROW: &str = "planted-row-value";
const PASSWORD: &str = "planted-password";
const ROLE_PASSWORD: &str = "planted-role-password";
const KEY: &str = "planted-signing-key-0123456789";
const PATH: &str = "planted-path-token";
const ROUTING: &str = "planted0routing0key0of0thirtytwo";
const SMTP: &str = "planted-smtp-password";
const TOKEN: &str = "planted-dashboard-token";
const SECRETS: [&str; 10] = [BIND, CONSTANT, ROW, PASSWORD, ROLE_PASSWORD, KEY, PATH, ROUTING, SMTP, TOKEN];

/// Where something was put out, and what.
type Outputs = Vec<(String, String)>;

/// The log of this process, of every level and every crate of ours.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl tracing_subscriber::fmt::MakeWriter<'_> for Log {
    type Writer = Log;

    fn make_writer(&self) -> Log {
        self.clone()
    }
}

pub(crate) fn measure(size: Size) -> Figure {
    let times = if size == Size::Nightly { 5 } else { 1 };
    let log = Log::default();
    let writer = log.clone();
    let ours = tracing_subscriber::filter::filter_fn(|about| about.target().starts_with("db_"));
    let layer = tracing_subscriber::fmt::layer()
        .with_span_events(tracing_subscriber::fmt::format::FmtSpan::CLOSE)
        .with_ansi(false)
        .with_writer(writer)
        .with_filter(ours);
    let dispatch = tracing::Dispatch::new(tracing_subscriber::registry().with(layer));
    let _here = tracing::dispatcher::set_default(&dispatch);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        // For as long as the thread lives: other claims of this process are not logged.
        .on_thread_start(move || std::mem::forget(tracing::dispatcher::set_default(&dispatch)))
        .enable_all()
        .build()
        .unwrap();
    let (mut places, mut outputs) = (Vec::new(), 0);
    for _ in 0..times {
        let mut all = runtime.block_on(outputs_of_one_life());
        all.push(("log".to_owned(), String::from_utf8_lossy(&log.0.lock().unwrap()).into_owned()));
        is_worth_looking_at(&all);
        outputs += all.len();
        for (place, text) in &all {
            let found = SECRETS.iter().filter(|secret| text.to_lowercase().contains(&secret.to_lowercase()));
            places.extend(found.map(|secret| format!("{secret} in {place}")));
        }
    }
    Figure {
        value: places.len() as f64,
        unit: "places",
        holds: places.is_empty(),
        detail: json!({ "places": places, "outputs": outputs, "secrets": SECRETS.len() }),
    }
}

/// What shows nothing proves nothing: the statements that held the secrets are there, without them.
fn is_worth_looking_at(outputs: &Outputs) {
    for (place, part) in [
        ("log", "insert into notes values (?, ?)"),
        ("log", "slow"),
        ("slow statements", "pg_sleep"),
        ("statements", "insert into notes values (?, ?)"),
        ("pages /queries", "pg_sleep"),
        ("pages /locks", "lock table notes"),
        ("messages", "blocking"),
        ("report text", "notes"),
        ("checks of a visit", "blocking"),
        ("/metrics", "pg_stat_user_tables_n_tup_ins"),
        ("incidents", "blocking"),
    ] {
        let text = outputs.iter().find(|(name, _)| name == place).map(|(_, text)| text.to_lowercase());
        assert!(text.as_ref().is_some_and(|text| text.contains(part)), "{place} lacks {part}: {text:?}");
    }
}

async fn outputs_of_one_life() -> Outputs {
    let cluster = Cluster::builder()
        .standbys(1)
        .setting("shared_preload_libraries", "pg_stat_statements")
        .start()
        .await
        .unwrap();
    let mut setup = cluster.connect(0).await.unwrap();
    let roles = format!(
        "CREATE EXTENSION pg_stat_statements; CREATE TABLE notes (id int PRIMARY KEY, body text); \
         CREATE ROLE ann LOGIN SUPERUSER PASSWORD '{PASSWORD}'"
    );
    setup.batch_execute(&roles).await.unwrap();
    let inbox = Inbox::default();
    let config = config(&cluster, &receiver(&inbox).await);
    let mut outputs: Outputs = vec![("settings".to_owned(), format!("{config:?}"))];
    let db = Db::connect(config).await.unwrap();
    work(&db).await;
    let (holder, waiting) = block(&cluster).await;
    until("people are told", async || {
        inbox.lock().unwrap().iter().any(|(_, one)| one.to_string().contains("/blocking"))
    })
    .await;
    until("statements were read", async || {
        db.collector().is_some_and(|collector| collector.latest().statements.get().is_ok())
    })
    .await;
    of_handle(&db, "", &mut outputs).await;
    let (endpoint, looked) = db.open_direct()(None).await.unwrap();
    let session = ServerSession::open(looked, endpoint).await.unwrap();
    let visit = Visit::to(&session).await;
    let found = checks::judge(&visit.evidence(None), &Selection::default());
    outputs.push((
        "checks of a visit".to_owned(),
        serde_json::to_string(&found).unwrap() + &format!("{found:?}"),
    ));
    of_tables(&mut setup, &mut outputs).await;
    drop(holder);
    waiting.await.unwrap();
    cluster.stop(0, Stop::Immediate).await.unwrap();
    until("the server is known to be gone", async || db.health().primary.is_err()).await;
    let one = async |conn: &mut AsyncPgConnection| Ok::<_, Error>(conn.batch_execute("SELECT 1").await?);
    let failed = db.transaction(one).await.unwrap_err();
    outputs.push(("an error".to_owned(), format!("{failed:?} {failed}")));
    of_handle(&db, " without a server", &mut outputs).await;
    let _ = db.shutdown(Duration::from_secs(5)).await;
    let messages: Vec<String> =
        inbox.lock().unwrap().iter().map(|(_, message)| message.to_string()).collect();
    outputs.push(("messages".to_owned(), messages.join("\n")));
    outputs
}

fn config(cluster: &Cluster, receiver: &str) -> Config {
    let as_ann = |url: &str| {
        let (_, rest) = url.split_once('@').unwrap();
        format!("postgres://ann:{PASSWORD}@{rest}")
    };
    // Nobody listens at port 1: what cannot be told is logged.
    let vars = [
        ("APP_ENV", "production".to_owned()),
        ("DATABASE_URL", as_ann(&cluster.primary_url())),
        (
            "DATABASE_READ_URLS",
            cluster.standby_urls().iter().map(|url| as_ann(url)).collect::<Vec<_>>().join(","),
        ),
        ("DB_SLOW_QUERY_THRESHOLD", "100ms".to_owned()),
        ("DB_LOG_SLOW_QUERIES", "true".to_owned()),
        ("DB_LOG_QUERIES", "true".to_owned()),
        ("MONITORING_INTERVAL", "200ms".to_owned()),
        ("ALERT_AFTER", "200ms".to_owned()),
        ("NOTIFICATION_WEBHOOK", receiver.replace("/hook", &format!("/hook?token={PATH}"))),
        ("NOTIFICATION_WEBHOOK_SECRET", KEY.to_owned()),
        ("NOTIFICATION_PAGERDUTY_KEY", ROUTING.to_owned()),
        ("NOTIFICATION_PAGERDUTY_URL", format!("http://127.0.0.1:1/{PATH}")),
        ("NOTIFICATION_HEARTBEAT", format!("http://127.0.0.1:1/{PATH}")),
        ("NOTIFICATION_EMAIL", "people@example.com".to_owned()),
        ("NOTIFICATION_EMAIL_FROM", "db@example.com".to_owned()),
        ("NOTIFICATION_SMTP_URL", format!("smtp://mail:{SMTP}@127.0.0.1:1")),
    ];
    let mut config = Config::from_vars(vars.map(|(name, value)| (name.to_owned(), value))).unwrap();
    config.cache = None;
    config
}

/// Statements with secrets in every place: run, slow, failed, in the middle of a message of several.
async fn work(db: &Db) {
    let insert = async |conn: &mut AsyncPgConnection| {
        sql_query(format!("INSERT INTO notes VALUES (1, '{ROW}')")).execute(conn).await?;
        let found = sql_query("UPDATE notes SET body = body WHERE body = $1")
            .bind::<Text, _>(BIND)
            .execute(conn)
            .await?;
        assert_eq!(found, 0);
        let password =
            format!("ALTER ROLE ann PASSWORD '{ROLE_PASSWORD}'; ALTER ROLE ann PASSWORD '{PASSWORD}'");
        conn.batch_execute(&password).await?;
        Ok::<_, Error>(())
    };
    db.transaction(insert).await.unwrap();
    for text in [
        format!("SELECT pg_sleep(0.3) FROM notes WHERE body <> '{CONSTANT}'"),
        format!("SELECT '{CONSTANT}'::int"),
        format!("SELECT /* {CONSTANT} */ '{CONSTANT}"),
        format!("INSERT INTO notes VALUES (1, '{ROW}')"),
        format!("SELECT $planted${CONSTANT}$planted$, E'\\x41{CONSTANT}', U&'{CONSTANT}' FROM nowhere"),
    ] {
        // Most of them fail: that is told, too.
        let _ = db
            .transaction::<_, Error>(async move |conn: &mut AsyncPgConnection| {
                Ok(sql_query(text.as_str()).execute(conn).await?)
            })
            .await;
    }
    let slow = async |conn: &mut AsyncPgConnection| {
        let slow = "SELECT pg_sleep(0.2) FROM notes WHERE body <> $1";
        Ok::<_, Error>(sql_query(slow).bind::<Text, _>(BIND).execute(conn).await?)
    };
    db.transaction(slow).await.unwrap();
}

/// Five sessions that wait for one, with secrets in what they and it run.
async fn block(cluster: &Cluster) -> (AsyncPgConnection, tokio::task::JoinHandle<()>) {
    let mut holder = cluster.connect(0).await.unwrap();
    holder.batch_execute(&format!("BEGIN; LOCK TABLE notes /* {CONSTANT} */")).await.unwrap();
    let url = cluster.primary_url();
    let waiting = tokio::spawn(async move {
        let mut all = tokio::task::JoinSet::new();
        for _ in 0..5 {
            let url = url.clone();
            all.spawn(async move {
                let mut conn = AsyncPgConnection::establish(&url).await.unwrap();
                conn.batch_execute(&format!("SELECT FROM notes WHERE body = '{CONSTANT}'")).await
            });
        }
        while all.join_next().await.is_some() {}
    });
    (holder, waiting)
}

/// All that a handle says of itself and of the server.
async fn of_handle(db: &Db, when: &str, outputs: &mut Outputs) {
    let mut put = |name: &str, text: String| outputs.push((format!("{name}{when}"), text));
    let health = db.health();
    put("health", format!("{health} {health:?} {}", serde_json::to_string(&health).unwrap()));
    put("metrics", serde_json::to_string(&db.metrics()).unwrap());
    put("slow statements", format!("{:?}", db.slow_queries(100)));
    put("statements", format!("{:?}", db.monitor().statements()));
    put("counts", format!("{:?}", db.monitor().counts()));
    put("alerts", format!("{:?}", db.alerts().unwrap().status()));
    put("handle", format!("{db:?}"));
    let collector = db.collector().unwrap();
    put("snapshot", serde_json::to_string(&*collector.latest()).unwrap());
    let history = collector.history(db_platform::monitoring::server::Resolution::TenSeconds);
    put("history", serde_json::to_string(&history).unwrap());
    put("/metrics", get(&metrics_router(collector.clone(), None), "/metrics").await);
    let pages = dashboard::router(db.dashboard("shop"), Access::Layered).unwrap();
    let signed_out = dashboard::router(db.dashboard("shop"), Access::token(TOKEN).unwrap()).unwrap();
    for page in PAGES {
        let json = format!("{}.json", if page == "/" { "/overview" } else { page });
        put(&format!("pages {page}"), get(&pages, page).await);
        put(&format!("pages {json}"), get(&pages, &json).await);
        put(&format!("signed out {page}"), get(&signed_out, page).await);
    }
    put("signed in wrongly", get(&signed_out, &format!("/?token={PATH}")).await.replace(PATH, ""));
    let report = db.report().await;
    put("report text", report.to_text());
    put("report html", report.to_html());
    put("report json", report.to_json().to_string());
    let once =
        Collector::new(db.open_direct(), CollectorConfig { one_leader: false, ..CollectorConfig::default() });
    let again = Report::of(&*once.collect_once().await, None);
    put("second report", again.to_text());
}

const PAGES: [&str; 13] = [
    "/",
    "/queries",
    "/locks",
    "/tables",
    "/indexes",
    "/pool",
    "/cache",
    "/replication",
    "/migrations",
    "/backups",
    "/alerts",
    "/checks",
    "/server",
];

async fn get(router: &Router, path: &str) -> String {
    let request = Request::builder().uri(path).body(Body::empty()).unwrap();
    let Ok(response) = router.clone().call(request).await;
    let head = format!("{} {:?}", response.status(), response.headers());
    let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    format!("{head}\n{}", String::from_utf8_lossy(&body))
}

/// What monitoring keeps in the database.
async fn of_tables(conn: &mut AsyncPgConnection, outputs: &mut Outputs) {
    #[derive(diesel::QueryableByName)]
    struct Line {
        #[diesel(sql_type = Text)]
        line: String,
    }
    until("incidents are kept", async || {
        let there = "SELECT coalesce(to_regclass('dbp.alert')::text, '') AS line";
        sql_query(there).get_result::<Line>(conn).await.unwrap().line == "dbp.alert"
    })
    .await;
    let kept = "SELECT coalesce(string_agg(line, E'\\n'), '') AS line FROM (SELECT a::text AS line FROM dbp.alert a \
        UNION ALL SELECT m::text FROM dbp.alert_message m UNION ALL SELECT r::text FROM dbp.alert_reading r) AS all_of_it";
    outputs.push(("incidents".to_owned(), sql_query(kept).get_result::<Line>(conn).await.unwrap().line));
    let history = "SELECT coalesce(to_regclass('dbp.history')::text, '') AS line";
    if sql_query(history).get_result::<Line>(conn).await.unwrap().line == "dbp.history" {
        let kept = "SELECT coalesce(string_agg(h::text, E'\\n'), '') AS line FROM dbp.history h";
        outputs
            .push(("kept history".to_owned(), sql_query(kept).get_result::<Line>(conn).await.unwrap().line));
    }
}
