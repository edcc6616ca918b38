//! What collecting costs the server, against postgres_exporter on the same server in turns, and how fast
//! /metrics answers.
//!
//! postgres_exporter is `postgres_exporter` or `prometheus-postgres-exporter` on PATH, or what
//! `DB_MONITORING_POSTGRES_EXPORTER` names; without it nothing is measured.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use db_core::{Endpoint, Error};
use db_monitoring::server::{
    Collector, CollectorConfig, DatabaseSnapshot, Databases, OpenConnection, Round, ServerSession, Snapshot,
    metrics_router,
};
use db_testkit::{Cluster, Proxy, until};
use diesel_async::{AsyncConnection, AsyncPgConnection, SimpleAsyncConnection};
use serde_json::json;

use crate::pairs::ratio;
use crate::{Figure, Size, runtime};

/// Everything that one scrape of the exporter's asks for, and more.
const ROUNDS: [Round; 4] = [Round::Sizes, Round::Activity, Round::Counters, Round::Statements];
/// How often each of them is asked in a minute unless told otherwise, while the exporter is scraped as often
/// as counters are asked.
const A_MINUTE: [f64; 4] = [1.0, 60.0, 4.0, 0.2];
const SCRAPES_A_MINUTE: f64 = 4.0;

pub(crate) fn measure(size: Size) -> Figure {
    let pairs = if size == Size::Nightly { 40 } else { 10 };
    runtime().block_on(async {
        let measured = compare(pairs, None).await;
        let (all, minute) = (ratio(&measured.cpu), ratio(&measured.minute));
        Figure {
            value: all.median,
            unit: "times the exporter's CPU time on the server",
            holds: all.median <= 0.10 && minute.median <= 0.10,
            detail: json!({
                "pairs": pairs, "interval": [all.interval.0, all.interval.1], "ours_cpu_ms": all.ours,
                "peer_cpu_ms": all.theirs, "peer": measured.peer, "peer_series": measured.series.1,
                "our_series": measured.series.0,
                "elapsed_ms": [ratio(&measured.elapsed).ours, ratio(&measured.elapsed).theirs],
                "ratio_of_a_minute_as_by_default_with_all_sizes_asked": minute.median,
                "ratio_where_all_databases_were_written_to_each_time": ratio(&measured.cold).median,
                "ours_ms_of_tables_activity_counters_statements": measured.of_rounds,
            }),
        }
    })
}

/// What was measured of pairs: ours and theirs, in milliseconds.
pub(crate) struct Compared {
    pub(crate) cpu: Vec<(f64, f64)>,
    /// The same where the size of each database is asked each time.
    pub(crate) cold: Vec<(f64, f64)>,
    /// What a minute takes, that size of each database included.
    pub(crate) minute: Vec<(f64, f64)>,
    /// Ours by rounds, those of the last pair.
    pub(crate) of_rounds: [f64; ROUNDS.len()],
    pub(crate) elapsed: Vec<(f64, f64)>,
    pub(crate) series: (usize, usize),
    pub(crate) peer: String,
}

/// Collects and scrapes in turns, alone or under a load of so many pgbench clients.
pub(crate) async fn compare(pairs: usize, clients: Option<u32>) -> Compared {
    let (program, peer) = exporter();
    let cluster = with_tables(&[]).await;
    let postmaster = cluster.pid(0).unwrap().unwrap();
    let exporter = Exporter::start(&program, &cluster.primary_url()).await;
    let port = exporter.port;
    let _load = clients.map(|clients| Load::start(&cluster, clients));
    let conn = AsyncPgConnection::establish(&cluster.primary_url()).await.unwrap();
    let session = ServerSession::open(conn, Endpoint::new("here", 5432)).await.unwrap();
    let (mut snapshot, mut database) = (Snapshot::default(), DatabaseSnapshot::default());
    let (mut cpu, mut cold, mut minute, mut elapsed) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut series, mut of_rounds) = ((0, 0), [0.0; ROUNDS.len()]);
    // The first pair prepares statements and warms caches, on both sides.
    for pair in 0..=pairs {
        let began = Instant::now();
        for (round, took) in ROUNDS.into_iter().zip(&mut of_rounds) {
            let before = server_cpu(postmaster);
            snapshot.collect(&session, round).await;
            database.collect(&session, round).await;
            *took = server_cpu(postmaster) - before;
        }
        let ours = began.elapsed();
        let before = server_cpu(postmaster);
        Snapshot::default().collect(&session, Round::Statements).await;
        let sizes = server_cpu(postmaster) - before;
        assert!(database.tables.get().is_ok_and(|tables| tables.len() >= 1_000), "{:?}", database.tables);
        assert!(snapshot.database_sizes.get().is_ok() && snapshot.databases.get().is_ok());
        let (again, began) = (server_cpu(postmaster), Instant::now());
        let text = tokio::task::spawn_blocking(move || get(port)).await.unwrap();
        let (after, theirs) = (server_cpu(postmaster), began.elapsed());
        assert!(
            text.matches("\npg_stat_user_tables_n_live_tup{").count() >= 1_000,
            "the exporter sees the tables"
        );
        if pair > 0 {
            let (all, theirs_ms) = (of_rounds.iter().sum::<f64>(), after - again);
            let by_tier: f64 = of_rounds.iter().zip(A_MINUTE).map(|(took, times)| took * times).sum();
            cpu.push((all, theirs_ms));
            cold.push((all + sizes, theirs_ms));
            minute.push((by_tier + sizes * A_MINUTE[3], theirs_ms * SCRAPES_A_MINUTE));
            elapsed.push((ours.as_secs_f64() * 1e3, theirs.as_secs_f64() * 1e3));
            eprintln!("monitoring-3: {all:.1} and {theirs_ms:.1} ms on the server");
        }
        snapshot.by_database.insert("postgres".to_owned(), database.clone());
        let samples = |text: &str| text.lines().filter(|line| !line.starts_with('#')).count();
        series = (samples(&db_monitoring::server::metrics_text(&snapshot)), samples(&text));
    }
    Compared { cpu, cold, minute, of_rounds, elapsed, series, peer }
}

/// A server whose first database, and these, have 1,000 tables each.
async fn with_tables(more: &[&str]) -> Cluster {
    let cluster = Cluster::builder().standbys(0).start().await.unwrap();
    let mut setup = cluster.connect(0).await.unwrap();
    for part in 0..10 {
        let statement = format!(
            "DO $$ BEGIN FOR n IN {}..{} LOOP EXECUTE format('CREATE TABLE t_%s (id bigint PRIMARY KEY, a \
                text); \
             CREATE INDEX ON t_%s (a); INSERT INTO t_%s SELECT g, g::text FROM generate_series(1, 50) g', \
             n, n, n); \
             END LOOP; END $$",
            part * 100,
            part * 100 + 99
        );
        setup.batch_execute(&statement).await.unwrap();
    }
    setup.batch_execute("ANALYZE").await.unwrap();
    for name in more {
        setup.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
    }
    cluster
}

/// The CPU time of the server and all its processes so far, ended ones included, in milliseconds.
fn server_cpu(postmaster: u32) -> f64 {
    let stat = |pid: &str| std::fs::read_to_string(format!("/proc/{pid}/stat")).ok();
    // Behind the name, which may have spaces: state, parent, …
    let fields = |stat: &str| -> Vec<u64> {
        let rest = stat.rsplit_once(')').unwrap().1;
        rest.split_whitespace().map(|field| field.parse().unwrap_or(0)).collect()
    };
    let on_cpu = |pid: &str| {
        let text = std::fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap_or_default();
        text.split(' ').next().and_then(|nanos| nanos.parse::<f64>().ok()).unwrap_or(0.0) / 1e6
    };
    let own = postmaster.to_string();
    let of_ended = stat(&own).map_or(0, |stat| fields(&stat)[13] + fields(&stat)[14]);
    let mut sum = on_cpu(&own) + of_ended as f64 * 10.0;
    for process in std::fs::read_dir("/proc").unwrap().flatten() {
        let name = process.file_name().to_string_lossy().into_owned();
        if name.bytes().all(|byte| byte.is_ascii_digit())
            && stat(&name).is_some_and(|stat| fields(&stat)[1] == u64::from(postmaster))
        {
            sum += on_cpu(&name);
        }
    }
    sum
}

fn exporter() -> (String, String) {
    let named = std::env::var("DB_MONITORING_POSTGRES_EXPORTER").ok();
    let candidates =
        named.into_iter().chain(["postgres_exporter".to_owned(), "prometheus-postgres-exporter".to_owned()]);
    for program in candidates {
        if let Ok(said) = Command::new(&program).arg("--version").output() {
            let text = String::from_utf8_lossy(&[said.stdout, said.stderr].concat()).into_owned();
            let version =
                text.split("version ").nth(1).and_then(|rest| rest.split([' ', ',']).next()).unwrap_or("?");
            return (program, format!("postgres_exporter {version}"));
        }
    }
    panic!("postgres_exporter is needed: install it, or name it in DB_MONITORING_POSTGRES_EXPORTER")
}

struct Exporter {
    child: Child,
    port: u16,
}

impl Exporter {
    async fn start(program: &str, url: &str) -> Exporter {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let separator = if url.contains('?') { '&' } else { '?' };
        let child = Command::new(program)
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .env("DATA_SOURCE_NAME", format!("{url}{separator}sslmode=disable"))
            .stderr(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let exporter = Exporter { child, port };
        until("the exporter listens", async || TcpStream::connect(("127.0.0.1", port)).is_ok()).await;
        exporter
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// pgbench, for as long as it lives.
struct Load(Child);

impl Load {
    fn start(cluster: &Cluster, clients: u32) -> Load {
        let url = cluster.primary_url();
        let program = std::env::var("DB_PLATFORM_PG_BIN")
            .map_or_else(|_| "pgbench".to_owned(), |bin| format!("{bin}/pgbench"));
        let filled = Command::new(&program).args(["-i", "-q", &url]).stderr(Stdio::null()).status();
        assert!(
            filled.is_ok_and(|status| status.success()),
            "pgbench is needed: install it, or name its directory in DB_PLATFORM_PG_BIN"
        );
        let clients = clients.to_string();
        let child = Command::new(&program)
            .args(["-c", &clients, "-T", "3600", &url])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Load(child.unwrap())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn get(port: u16) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.0\r\nhost: x\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

/// Opens connections to this server; to `stuck` through a proxy.
pub(crate) fn open(url: &str, stuck: Option<String>) -> OpenConnection {
    let url = url.to_owned();
    Arc::new(move |database| {
        let base = match (&stuck, database.as_deref()) {
            (Some(through), Some("stuck")) => through.clone(),
            _ => url.clone(),
        };
        Box::pin(async move {
            let url = match database.as_deref() {
                Some(database) => format!("{}/{database}", base.rsplit_once('/').unwrap().0),
                None => base,
            };
            let conn = AsyncPgConnection::establish(&url).await;
            let conn = conn.map_err(|error| Error::ConnectionLost { reason: error.to_string() })?;
            Ok((Endpoint::new("here", 5432), conn))
        })
    })
}

pub(crate) fn measure_answers(size: Size) -> Figure {
    let requests = if size == Size::Nightly { 5_000 } else { 500 };
    runtime().block_on(answers(requests))
}

pub(crate) async fn answers(requests: usize) -> Figure {
    const NAMES: [&str; 4] = ["one", "two", "three", "stuck"];
    let cluster = with_tables(&NAMES).await;
    let proxy = Proxy::start(cluster.address_of(0).unwrap()).unwrap();
    let through = proxy.through(&cluster.primary_url()).unwrap();
    // Tables more often than a collector asks for them unless told: a minute would be long to wait.
    let periods = [1_000, 5_000, 5_000, 5_000, 60_000].map(Duration::from_millis);
    let config = CollectorConfig { databases: Databases::All, periods, ..CollectorConfig::default() };
    let collector = Collector::new(open(&cluster.primary_url(), Some(through)), config);
    let task = tokio::spawn(collector.clone().run());
    let read =
        |name: &str| collector.latest().by_database.get(name).is_some_and(|it| it.tables.get().is_ok());
    let tables = || {
        collector
            .latest()
            .by_database
            .values()
            .filter_map(|it| it.tables.get().ok())
            .map(Vec::len)
            .sum::<usize>()
    };
    until("all are read", async || NAMES.iter().all(|name| read(name)) && tables() >= 1_000).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let router = metrics_router(collector.clone(), None);
    let serves = tokio::spawn(async move { axum::serve(listener, router).await });
    let running = [p99(requests, port, true).await, p99(requests, port, false).await];
    let bytes = [answer(port, true).len(), answer(port, false).len()];

    // A stuck one: how far apart the others' looks are, against the five seconds that are asked for.
    proxy.stall();
    let (began, mut last) = (Instant::now(), [Instant::now(); 3]);
    let (mut seen, mut longest) = ([None; 3], Duration::ZERO);
    while began.elapsed() < Duration::from_secs(20) {
        for (place, name) in NAMES[..3].iter().enumerate() {
            let at = collector.latest().by_database[*name].tables.at();
            if at != seen[place] {
                if seen[place].is_some() {
                    longest = longest.max(last[place].elapsed());
                }
                (seen[place], last[place]) = (at, Instant::now());
            }
            longest = longest.max(last[place].elapsed());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(!read("stuck"), "the stuck one is known to be");
    assert!(["one", "two", "three"].iter().all(|name| read(name)));

    cluster.stop(0, db_testkit::Stop::Immediate).await.unwrap();
    let stopped = [p99(requests, port, true).await, p99(requests, port, false).await];
    until("it is known to be gone", async || collector.latest().server.get().is_err()).await;
    let gone = [p99(requests, port, true).await, p99(requests, port, false).await];
    task.abort();
    serves.abort();
    let worst = [running, stopped, gone].concat().into_iter().fold(0.0, f64::max);
    let in_ms = |[gzip, plain]: [f64; 2]| json!({ "gzip": gzip * 1e3, "plain": plain * 1e3 });
    Figure {
        value: worst * 1e3,
        unit: "ms at p99",
        holds: worst <= 0.005 && longest <= Duration::from_millis(6_500),
        detail: json!({
            "requests": requests, "p99_ms": { "running": in_ms(running), "as_it_stops": in_ms(stopped),
                "stopped": in_ms(gone) }, "bytes_gzip_plain": bytes,
            "longest_between_looks_at_the_other_databases_s": longest.as_secs_f64(), "asked_for_s": 5.0,
        }),
    }
}

/// The 99th percentile of the time of an answer, in seconds: the best of three runs, because others use the
/// machine, too.
async fn p99(requests: usize, port: u16, takes_gzip: bool) -> f64 {
    let mut best = f64::INFINITY;
    for _ in 0..3 {
        best = best.min(p99_once(requests, port, takes_gzip).await);
    }
    best
}

async fn p99_once(requests: usize, port: u16, takes_gzip: bool) -> f64 {
    let measured = tokio::task::spawn_blocking(move || {
        let mut times: Vec<f64> = (0..requests)
            .map(|_| {
                let began = Instant::now();
                let answer = answer(port, takes_gzip);
                let took = began.elapsed().as_secs_f64();
                assert!(text_of(&answer, takes_gzip).contains("pg_up "), "{} bytes", answer.len());
                took
            })
            .collect();
        times.sort_by(f64::total_cmp);
        times[times.len() * 99 / 100]
    });
    measured.await.unwrap()
}

/// All that is sent, as Prometheus asks for it or plain.
fn answer(port: u16, takes_gzip: bool) -> Vec<u8> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let encoding = if takes_gzip { "accept-encoding: gzip\r\n" } else { "" };
    stream.write_all(format!("GET /metrics HTTP/1.0\r\nhost: x\r\n{encoding}\r\n").as_bytes()).unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    bytes
}

fn text_of(answer: &[u8], takes_gzip: bool) -> String {
    let head = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    let mut text = String::new();
    match takes_gzip {
        true => flate2::read::MultiGzDecoder::new(&answer[head + 4..]).read_to_string(&mut text).unwrap(),
        false => (&answer[head + 4..]).read_to_string(&mut text).unwrap(),
    };
    text
}
