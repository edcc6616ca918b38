//! All rounds on each major, as three roles: what is missing or refused is skipped, and the server logs no
//! error.

use db_core::Endpoint;
use db_monitoring::server::{DatabaseSnapshot, Round, ServerSession, Snapshot};
use db_testkit::Cluster;
use diesel_async::{AsyncConnection, AsyncPgConnection, SimpleAsyncConnection};
use serde_json::{Value, json};

use crate::{Figure, Size, runtime};

pub(crate) fn measure(_: Size) -> Figure {
    runtime().block_on(async {
        let (mut errors, mut detail) = (0, serde_json::Map::new());
        for major in 15..=19 {
            eprintln!("monitoring-9b: {major}");
            // No wheel of it is fetched: it is at hand where its programs are named.
            if major == 19 && std::env::var_os("DB_PLATFORM_PG_BIN").is_none() {
                detail.insert(major.to_string(), json!("not at hand: DB_PLATFORM_PG_BIN names no programs"));
                continue;
            }
            let cluster = match Cluster::builder().version(major).standbys(0).start().await {
                Ok(cluster) => cluster,
                Err(error) if major > 18 => {
                    detail.insert(major.to_string(), json!(format!("not at hand: {error}")));
                    continue;
                }
                Err(error) => panic!("{major}: {error}"),
            };
            let (found, seen) = check(&cluster).await;
            errors += found;
            detail.insert(major.to_string(), seen);
        }
        Figure {
            value: f64::from(u32::try_from(errors).unwrap()),
            unit: "errors in servers' logs",
            holds: errors == 0,
            detail: Value::Object(detail),
        }
    })
}

async fn check(cluster: &Cluster) -> (usize, Value) {
    let mut setup = cluster.connect(0).await.unwrap();
    setup
        .batch_execute(
            "CREATE ROLE nobody LOGIN PASSWORD 'nobody'; CREATE ROLE watcher LOGIN PASSWORD 'watcher'; \
                GRANT pg_monitor TO watcher; \
             CREATE TABLE t (id serial PRIMARY KEY, a text); INSERT INTO t (a) SELECT g::text FROM \
             generate_series(1, 1000) g",
        )
        .await
        .unwrap();
    let mut seen = serde_json::Map::new();
    for role in ["postgres", "watcher", "nobody"] {
        let url = match role {
            "postgres" => cluster.primary_url(),
            role => format!("postgres://{role}:{role}@{}", cluster.primary_url().split_once('@').unwrap().1),
        };
        let conn = AsyncPgConnection::establish(&url).await.unwrap();
        let session = ServerSession::open(conn, Endpoint::new("here", 5432)).await.unwrap();
        let (mut snapshot, mut database) = (Snapshot::default(), DatabaseSnapshot::default());
        // Twice: the second time knows who it is.
        for round in Round::ALL.into_iter().chain(Round::ALL) {
            snapshot.collect(&session, round).await;
            database.collect(&session, round).await;
        }
        assert!(
            !session.is_lost() && database.tables.get().is_ok() && snapshot.server.get().is_ok(),
            "{role}"
        );
        let json = serde_json::to_value(&snapshot).unwrap();
        let skipped =
            json.as_object().unwrap().iter().filter_map(|(name, section)| {
                Some((name.clone(), section.get("skipped")?["reason"].clone()))
            });
        seen.insert(role.to_owned(), Value::Object(skipped.collect()));
    }
    let is_log = |path: &std::path::PathBuf| path.extension().is_some_and(|end| end == "log");
    let files = std::fs::read_dir(cluster.dir()).unwrap().flatten().map(|file| file.path()).filter(is_log);
    let log: String = files.map(|path| std::fs::read_to_string(path).unwrap()).collect();
    assert!(log.contains("ready to accept connections"), "the server's log is found");
    let errors: Vec<_> = log
        .lines()
        .filter(|line| ["ERROR:", "FATAL:", "PANIC:"].iter().any(|mark| line.contains(mark)))
        .collect();
    seen.insert("errors".to_owned(), json!(errors));
    (errors.len(), Value::Object(seen))
}
