//! The text for Prometheus of real servers: every name and label set once, whatever things are called.

use std::collections::HashSet;
use std::time::{Duration, SystemTime};

use db_monitoring::server::{Snapshot, metrics_text, metrics_text_at};
use db_testkit::Cluster;
use diesel_async::SimpleAsyncConnection;

use crate::server::{everything, session};

type Tested = Result<(), Box<dyn std::error::Error + Send + Sync>>;

/// Names that break what is careless with quotes, lines, escapes, and keys made of joined names.
const HOSTILE: &[&str] =
    &["a\"b", "line\nbreak", "back\\slash", "curly}", "é,=\"", "x\",relname=\"y", "UPPER", " "];

/// Reads the format as Prometheus does, and fails where it would refuse the whole of it.
fn parse(text: &str) -> HashSet<String> {
    let (mut samples, mut families, mut family) = (HashSet::new(), HashSet::new(), String::new());
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("# TYPE ") {
            let name = name.split(' ').next().unwrap();
            assert!(families.insert(name.to_owned()), "{name} begins twice");
            family = name.to_owned();
        }
        if line.starts_with('#') {
            continue;
        }
        let (labels, value) = line.rsplit_once(' ').unwrap();
        assert!(value.parse::<f64>().is_ok() || value == "+Inf", "{line}");
        let name = labels.split('{').next().unwrap();
        assert_eq!(name, family, "{line}");
        assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'), "{line}");
        check_labels(&labels[name.len()..]);
        assert!(samples.insert(labels.to_owned()), "twice: {line}");
    }
    samples
}

fn check_labels(labels: &str) {
    let mut characters = labels.chars();
    if characters.next().is_none() {
        return;
    }
    let mut names = HashSet::new();
    loop {
        let name: String = characters.by_ref().take_while(|c| *c != '=').collect();
        assert!(
            names.insert(name.clone()) && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'),
            "{labels}"
        );
        assert_eq!(characters.next(), Some('"'), "{labels}");
        loop {
            match characters.next().unwrap() {
                '\\' => assert!(matches!(characters.next(), Some('\\' | '"' | 'n')), "{labels}"),
                '"' => break,
                _ => {}
            }
        }
        match characters.next() {
            Some(',') => {}
            end => return assert_eq!((end, characters.next()), (Some('}'), None), "{labels}"),
        }
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[tokio::test]
async fn label_sets_are_unique_and_escaped_whatever_things_are_called() -> Tested {
    let cluster = Cluster::builder().standbys(0).start().await?;
    let mut setup = cluster.connect(0).await?;
    for name in HOSTILE {
        let name = quoted(name);
        setup
            .batch_execute(&format!(
                "CREATE SCHEMA {name}; CREATE TABLE {name}.{name} (id serial PRIMARY KEY)"
            ))
            .await?;
    }
    let mut other = cluster.connect(0).await?;
    other.batch_execute("SET application_name = 'x\",state=\"\\'; BEGIN; SELECT 'secret-value'").await?;
    let session = session(&cluster.primary_url()).await;
    let (mut snapshot, database) = everything(&session).await;
    snapshot.by_database.insert("a".to_owned(), database.clone());
    snapshot.by_database.insert("a\"".to_owned(), database);
    let text = metrics_text(&snapshot);
    let samples = parse(&text);
    for name in HOSTILE {
        let escaped = name.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let sample = format!(
            "pg_stat_user_tables_seq_scan{{datname=\"a\",schemaname=\"{escaped}\",relname=\"{escaped}\"}}"
        );
        assert!(samples.contains(&sample), "{sample}");
    }
    for name in [
        "pg_up",
        "pg_settings_max_connections",
        "pg_settings_shared_buffers_bytes",
        "pg_locks_count",
        "pg_stat_database_xact_commit",
        "pg_database_size_bytes",
        "pg_stat_activity_count",
        "pg_replication_is_replica",
    ] {
        assert!(
            text.contains(&format!("\n# TYPE {name} ")) || text.starts_with(&format!("# HELP {name} ")),
            "{name}"
        );
    }
    let json = serde_json::to_string(&snapshot)?;
    assert!(!text.contains("secret-value") && !json.contains("secret-value"), "a constant of a statement");
    assert!(json.contains("select ?"), "the statement itself is told");
    Ok(())
}

#[test]
fn what_is_not_known_has_no_samples_and_its_age_is_told() {
    let text = metrics_text(&Snapshot::default());
    let samples = parse(&text);
    assert!(
        samples.iter().all(|sample| sample.starts_with("dbp_section_skipped{")
            || ["pg_up", "dbp_leader"].contains(&sample.as_str())),
        "{text}"
    );
    assert!(samples.contains("dbp_section_skipped{section=\"slots\",datname=\"\",reason=\"too_soon\"}"));
    let mut snapshot = Snapshot::default();
    let now = SystemTime::now();
    snapshot.locks = db_monitoring::server::Section::read(now - Duration::from_secs(7), vec![]);
    let text = metrics_text_at(&snapshot, now);
    assert!(text.contains("dbp_snapshot_age_seconds{section=\"locks\",datname=\"\"} 7\n"), "{text}");
}

#[tokio::test]
async fn the_router_answers_while_the_server_is_gone() -> Tested {
    use tower_service::Service;

    let cluster = Cluster::builder().standbys(0).start().await?;
    let collecting = crate::collecting::collector(&cluster.primary_url());
    let collector = collecting.0.clone();
    db_testkit::until("everything was read", async || collector.latest().databases.get().is_ok()).await;
    cluster.kill(0).await?;
    db_testkit::until("it is known to be gone", async || collector.latest().server.get().is_err()).await;
    let own = db_monitoring::OwnMetrics::new()?;
    own.meter().u64_counter("shop.orders").build().add(3, &[]);
    let also = own.clone();
    let mut router =
        db_monitoring::server::metrics_router(collector, Some(std::sync::Arc::new(move || also.text())));
    let request = axum::http::Request::get("/metrics").body(axum::body::Body::empty())?;
    let response = router.call(request).await?;
    assert!(response.headers()["content-type"].to_str()?.starts_with("text/plain; version=0.0.4"));
    let body = http_body_util::BodyExt::collect(response.into_body()).await?.to_bytes();
    let text = String::from_utf8(body.to_vec())?;
    assert!(text.contains("\npg_up 0\n") && text.contains("shop_orders_total 3"), "{text}");
    assert!(
        text.contains("dbp_section_skipped{section=\"server\",datname=\"\",reason=\"unreachable\"} 1"),
        "{text}"
    );
    parse(&text);
    Ok(())
}

#[tokio::test]
async fn a_page_for_those_who_take_gzip_is_the_same_and_follows_what_is_read() -> Tested {
    use std::io::Read;
    use tower_service::Service;

    let cluster = Cluster::builder().standbys(0).start().await?;
    let collecting = crate::collecting::collector(&cluster.primary_url());
    let mut router = db_monitoring::server::metrics_router(collecting.0.clone(), None);
    let mut get = async |encoding: &str| -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
        let request = axum::http::Request::get("/metrics").header("accept-encoding", encoding);
        let response = router.call(request.body(axum::body::Body::empty())?).await?;
        let (head, body) = response.into_parts();
        let body = http_body_util::BodyExt::collect(body).await?.to_bytes();
        assert_eq!(head.headers["content-length"], body.len().to_string());
        let mut text = String::new();
        match head.headers.get("content-encoding") {
            Some(_) => drop(flate2::read::MultiGzDecoder::new(&body[..]).read_to_string(&mut text)?),
            None => text = String::from_utf8(body.to_vec())?,
        }
        assert_eq!(head.headers.contains_key("content-encoding"), encoding.starts_with("gzip"), "{encoding}");
        parse(&text);
        Ok(text)
    };
    let mut setup = cluster.connect(0).await?;
    for table in ["first", "second"] {
        // Somebody has asked before: what is read later is written without being asked for.
        setup.batch_execute(&format!("CREATE TABLE {table} (id int)")).await?;
        for encoding in ["gzip;q=0.5, identity", "identity", "br, gzip;q=0"] {
            db_testkit::until("the table is shown", async || {
                get(encoding).await.unwrap().contains(&format!("relname=\"{table}\""))
            })
            .await;
        }
    }
    Ok(())
}

/// The names of metrics that a text of Prometheus' language mentions.
fn mentioned(text: &str) -> HashSet<&str> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| word.starts_with("pg_") || word.starts_with("dbp_")).collect()
}

#[tokio::test]
async fn the_board_and_the_rules_ask_for_what_is_exported() -> Tested {
    let cluster = Cluster::builder().standbys(1).start().await?;
    cluster.wait_until_caught_up(1).await?;
    let mut setup = cluster.connect(0).await?;
    setup
        .batch_execute(
            "CREATE TABLE t (id serial PRIMARY KEY); INSERT INTO t DEFAULT VALUES; SELECT \
            pg_create_physical_replication_slot('s', true)",
        )
        .await?;
    let collecting = crate::collecting::collector(&cluster.primary_url());
    let latest = || collecting.0.latest();
    db_testkit::until("everything was read", async || {
        latest().lag.get().is_ok_and(|lag| !lag.standbys.is_empty())
            && latest().database_sizes.get().is_ok()
            && latest().by_database.values().any(|it| it.sequences.get().is_ok() && it.tables.get().is_ok())
    })
    .await;
    let mut snapshot = (*latest()).clone();
    let mut statement = db_monitoring::server::ServerStatement::default();
    statement.queryid = Some(-7);
    snapshot.statements = db_monitoring::server::Section::read(SystemTime::now(), vec![statement]);
    // A cluster without checksums has no such figure.
    let mut databases = snapshot.databases.get().unwrap().clone();
    databases[0].checksum_failures = Some(0);
    snapshot.databases = db_monitoring::server::Section::read(SystemTime::now(), databases);
    let text = metrics_text(&snapshot);
    let names: HashSet<String> =
        parse(&text).iter().map(|sample| sample.split('{').next().unwrap().to_owned()).collect();
    let docs = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/monitoring");
    let board = std::fs::read_to_string(docs.join("grafana.json"))?;
    let board: serde_json::Value = serde_json::from_str(&board)?;
    let panels = board["panels"].as_array().unwrap().iter();
    let asked = panels.flat_map(|panel| panel["targets"].as_array().unwrap());
    let mut expressions: Vec<String> =
        asked.map(|target| target["expr"].as_str().unwrap().to_owned()).collect();
    let rules = std::fs::read_to_string(docs.join("alert-rules.yml"))?;
    let lines: Vec<_> = rules.lines().collect();
    expressions
        .extend(lines.windows(2).filter(|two| two[0].trim() == "expr: >-").map(|two| two[1].to_owned()));
    assert!(expressions.len() > 30, "{expressions:?}");
    for expression in &expressions {
        for name in mentioned(expression) {
            assert!(names.contains(name), "{name} is not exported: {expression}");
        }
    }
    Ok(())
}
