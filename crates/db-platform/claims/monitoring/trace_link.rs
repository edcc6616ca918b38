//! From a slow line in the server's log to the span that caused it, and what that costs and leaves behind.
//!
//! Callers are spans of OpenTelemetry, of which a part is sampled; each has a number, and so have its slow
//! statements. The server's log is read line by line, and what it names is looked for among the spans that
//! were exported.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use db_platform::{Config, DatabaseUrl, Db, Environment, Error};
use db_testkit::claims::{Figure, Size};
use db_testkit::{Cluster, Direction, Exchange, Proxy};
use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use opentelemetry::trace::{SpanId, TraceContextExt, TraceId, TracerProvider};
use opentelemetry_sdk::trace::{InMemorySpanExporter, Sampler, SdkTracerProvider, SpanData};
use serde_json::json;
use tracing::Instrument;
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::layer::SubscriberExt;

/// The name of the service's sessions.
const NAME: &str = "shop";
/// A statement that takes this long is in the server's log.
const SLOW: &str = "20ms";

#[derive(QueryableByName)]
struct Number {
    #[diesel(sql_type = BigInt)]
    n: i64,
}

#[derive(QueryableByName)]
struct Word {
    #[diesel(sql_type = Text)]
    word: String,
}

pub(crate) fn measure(size: Size) -> Figure {
    let callers = if size == Size::Nightly { 400 } else { 80 };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (mut faults, mut found, mut detail) = (Vec::new(), 0, Vec::new());
    for major in [15, 18] {
        let seen = runtime.block_on(check(major, callers));
        faults.extend(seen.faults.iter().map(|fault| format!("{major}: {fault}")));
        found += seen.found;
        detail.push(json!({
            "postgresql": major, "callers": callers, "sampled": seen.sampled, "found_from_the_log": seen.found,
            "round_trips": { "without": seen.without, "with": seen.with },
        }));
    }
    Figure {
        value: faults.len() as f64,
        unit: "spans not found, round trips or statements more, names left behind",
        holds: faults.is_empty() && found > 0,
        detail: json!({ "servers": detail, "faults": faults.iter().take(5).collect::<Vec<_>>() }),
    }
}

#[derive(Default)]
struct Seen {
    faults: Vec<String>,
    sampled: usize,
    found: usize,
    without: (usize, usize),
    with: (usize, usize),
}

async fn check(major: u16, callers: usize) -> Seen {
    let cluster = Cluster::builder()
        .version(major)
        .standbys(0)
        .setting("log_min_duration_statement", SLOW)
        .setting("log_line_prefix", "%m [%p] <%a> ")
        .start()
        .await
        .unwrap();
    let exporter = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder()
        .with_sampler(Sampler::TraceIdRatioBased(0.5))
        .with_simple_exporter(exporter.clone())
        .build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("claims"));
    let _heard = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));
    let mut seen = Seen::default();
    find(&cluster, callers, &exporter, &mut seen).await;
    // The same work without labels and with them.
    let without = cost(&cluster, 0).await;
    let with = cost(&cluster, 100).await;
    (seen.without, seen.with) = ((without.exchanges, without.flights), (with.exchanges, with.flights));
    if seen.without != seen.with {
        seen.faults.push(format!("round trips {:?} against {:?}", seen.with, seen.without));
    }
    if without.prepared != with.prepared {
        seen.faults.push(format!("{:?} prepared against {:?}", with.prepared, without.prepared));
    }
    seen
}

/// Runs the callers one after another on this thread, whose subscriber hears of their spans.
async fn find(cluster: &Cluster, callers: usize, exporter: &InMemorySpanExporter, seen: &mut Seen) {
    let db = connect(&cluster.primary_url(), 100).await;
    let mut other = cluster.connect(0).await.unwrap();
    let mut sampled = BTreeMap::new();
    for n in 0..callers {
        let span = tracing::info_span!("request", n);
        let context = span.context().span().span_context().clone();
        if context.is_sampled() {
            sampled.insert(n, (context.trace_id(), context.span_id()));
        }
        transaction(&db, n).instrument(span).await;
        let left = name_left(&db).await;
        let labelled = "SELECT count(*) AS n FROM pg_stat_activity WHERE application_name LIKE '%#%'";
        let labelled: Number = diesel::sql_query(labelled).get_result(&mut other).await.unwrap();
        if left != NAME || labelled.n != 0 {
            seen.faults.push(format!(
                "after caller {n} a session is called {left}, and {} have a label",
                labelled.n
            ));
        }
    }
    seen.sampled = sampled.len();
    let spans = exporter.get_finished_spans().unwrap();
    let log = log_of(cluster.dir());
    for n in 0..callers {
        let mark = format!("mark_{n}_");
        let lines: Vec<&str> =
            log.lines().filter(|line| line.contains("duration:") && line.contains(&mark)).collect();
        if lines.is_empty() {
            seen.faults.push(format!("no line of caller {n}"));
        }
        let led: Vec<Option<i64>> = lines.iter().map(|line| caller_of(line, &spans)).collect();
        match sampled.contains_key(&n) {
            true if led.iter().all(|led| *led == Some(n as i64)) => seen.found += 1,
            false if lines.iter().all(|line| line.contains(&format!("<{NAME}>"))) => {}
            is_sampled => {
                seen.faults.push(format!("caller {n}, sampled: {is_sampled}: {led:?} in {lines:?}"))
            }
        }
    }
}

/// The number of the exported span that a line of the log leads to.
fn caller_of(line: &str, spans: &[SpanData]) -> Option<i64> {
    let (_, label) = line.split_once(&format!("<{NAME}#"))?;
    let (trace, rest) = label.split_once('-')?;
    let (end_of_span, _) = rest.split_once('>')?;
    let trace = TraceId::from_hex(trace).ok()?;
    let is_it = |id: SpanId| id.to_string().ends_with(end_of_span);
    let span = spans
        .iter()
        .find(|span| span.span_context.trace_id() == trace && is_it(span.span_context.span_id()))?;
    let n = span.attributes.iter().find(|one| one.key.as_str() == "n")?;
    n.value.as_str().parse().ok()
}

/// One caller's work, in turn: it commits, fails, has a savepoint that fails, goes away, or is a read.
async fn transaction(db: &Db, n: usize) {
    let slow = format!("SELECT pg_sleep(0.03)::text || 'mark_{n}_' AS word");
    let work = db.transaction::<(), Error>(async |conn: &mut AsyncPgConnection| {
        if n % 5 == 1 {
            conn.batch_execute("SAVEPOINT a").await?;
            let _ = diesel::sql_query("SELECT 1/0").execute(conn).await;
            conn.batch_execute("ROLLBACK TO a").await?;
        }
        diesel::sql_query(slow.clone()).execute(conn).await?;
        match n % 5 {
            2 => diesel::sql_query("SELECT 1/0").execute(conn).await.map(drop)?,
            3 => diesel::sql_query("SELECT pg_sleep(60)").execute(conn).await.map(drop)?,
            _ => {}
        }
        Ok(())
    });
    match n % 5 {
        2 => assert!(work.await.is_err()),
        3 => assert!(tokio::time::timeout(Duration::from_millis(150), work).await.is_err()),
        4 => drop(db.read(async |conn| diesel::sql_query(slow.clone()).execute(conn).await).await.unwrap()),
        _ => work.await.unwrap(),
    }
}

/// What the next user's session is called, by a message that is never labelled.
async fn name_left(db: &Db) -> String {
    let mut conn = db.primary().await.unwrap();
    let keep =
        "DO $$ BEGIN PERFORM set_config('claim.name', current_setting('application_name'), false); END $$";
    conn.batch_execute(keep).await.unwrap();
    let name: Word = diesel::sql_query("SELECT current_setting('claim.name') AS word")
        .get_result(&mut *conn)
        .await
        .unwrap();
    name.word
}

/// What the same work took on the way.
struct Cost {
    exchanges: usize,
    /// Exchanges that began when all before them were answered.
    flights: usize,
    prepared: Vec<i64>,
}

async fn cost(cluster: &Cluster, percent: u32) -> Cost {
    let proxy = Proxy::start(cluster.address_of(0).unwrap()).unwrap();
    proxy.write_down();
    for direction in [Direction::ToServer, Direction::ToClient] {
        proxy.delay(direction, Duration::from_millis(2), Duration::ZERO);
    }
    let db = connect(&format!("{}?sslmode=disable", proxy.through(&cluster.primary_url()).unwrap()), percent)
        .await;
    let prepared = async |db: &Db| {
        let mut conn = db.primary().await.unwrap();
        let count =
            "SELECT count(*) AS n FROM pg_prepared_statements WHERE statement NOT LIKE '%pg_prepared%'";
        diesel::sql_query(count).get_result::<Number>(&mut *conn).await.unwrap().n
    };
    let (mut kept, mut exchanges) = (vec![prepared(&db).await], Vec::new());
    for _ in 0..10 {
        // What is written down until the work begins is not its own.
        let _ = proxy.take_exchanges();
        let work = db.transaction::<(), Error>(async |conn: &mut AsyncPgConnection| {
            for n in 0..3_i64 {
                diesel::sql_query("SELECT $1 AS work").bind::<BigInt, _>(n).execute(conn).await?;
            }
            Ok(())
        });
        work.instrument(sampled()).await.unwrap();
        exchanges.extend(proxy.take_exchanges().into_iter().filter(is_work));
        kept.push(prepared(&db).await);
    }
    exchanges.sort_by_key(|exchange| exchange.began);
    let mut flights = 0;
    let mut answered = None;
    for exchange in &exchanges {
        flights += usize::from(answered.is_none_or(|at| exchange.began >= at));
        answered = answered.max(Some(exchange.ended));
    }
    Cost { exchanges: exchanges.len(), flights, prepared: kept }
}

/// A span that is sampled.
fn sampled() -> tracing::Span {
    loop {
        let span = tracing::info_span!("sampled");
        if span.context().span().span_context().is_sampled() {
            return span;
        }
    }
}

/// Whether it is the work's own, and not a monitor's.
fn is_work(exchange: &Exchange) -> bool {
    ["BEGIN", "COMMIT", "work", "pg_current_xact_id"].iter().any(|what| exchange.text.contains(what))
}

async fn connect(url: &str, percent: u32) -> Db {
    let url: DatabaseUrl = url.parse().unwrap();
    let mut config = Config::new(Environment::Test, url);
    (config.cache, config.retry.attempts) = (None, 1.try_into().unwrap());
    config.pool.max = 1.try_into().unwrap();
    config.connect.application_name = Some(NAME.to_owned());
    config.monitoring.trace_link = percent;
    Db::connect(config).await.unwrap()
}

fn log_of(dir: &Path) -> String {
    let files = std::fs::read_dir(dir).unwrap().flatten().map(|file| file.path());
    let logs = files.filter(|path| path.extension().is_some_and(|end| end == "log"));
    logs.map(|path| std::fs::read_to_string(path).unwrap()).collect()
}
