//! All checks on each major, as three roles, and on a catalogue whose columns changed: nothing is falsely ok,
//! and the server logs no error.

use std::collections::{BTreeMap, BTreeSet};

use db_core::Endpoint;
use db_monitoring::checks::{self, Selection, Visit};
use db_monitoring::server::ServerSession;
use db_testkit::Cluster;
use db_testkit::claims::{Figure, Size};
use diesel_async::{AsyncConnection, AsyncPgConnection, SimpleAsyncConnection};
use serde_json::{Value, json};

use crate::runtime;

/// What a role without pg_monitor cannot know.
const BLIND: [&str; 9] = [
    "blocking",
    "connections-used",
    "idle-in-transaction",
    "long-transactions",
    "xmin-horizon",
    "replication-lag",
    "lightweight-locks",
    "slow-statements",
    "rows-per-call",
];

/// Columns that are renamed: for a check one is gone and another one is new.
const RENAMED: [(&str, &str); 8] = [
    ("pg_stat_activity", "backend_xmin"),
    ("pg_stat_activity", "query_id"),
    ("pg_stat_archiver", "failed_count"),
    ("pg_stat_database", "temp_bytes"),
    ("pg_stat_replication", "replay_lag"),
    ("pg_replication_slots", "wal_status"),
    ("pg_locks", "waitstart"),
    ("pg_prepared_xacts", "prepared"),
];

pub(crate) fn measure(_: Size) -> Figure {
    runtime().block_on(async {
        let (mut faults, mut detail) = (Vec::new(), serde_json::Map::new());
        for major in 15..=19 {
            let builder = Cluster::builder().version(major).standbys(0);
            let builder = builder.setting("shared_preload_libraries", "pg_stat_statements");
            let cluster = match builder.start().await {
                Ok(cluster) => cluster,
                Err(error) if major > 18 => {
                    detail.insert(major.to_string(), json!(format!("not at hand: {error}")));
                    continue;
                }
                Err(error) => panic!("{major}: {error}"),
            };
            let (found, seen) = check(&cluster).await;
            faults.extend(found.into_iter().map(|fault| format!("{major}: {fault}")));
            detail.insert(major.to_string(), seen);
        }
        detail.insert("faults".to_owned(), json!(faults));
        Figure {
            value: faults.len() as f64,
            unit: "false answers and errors",
            holds: faults.is_empty(),
            detail: detail.into(),
        }
    })
}

/// The gravest word of each check, as this role.
async fn verdicts(cluster: &Cluster, role: &str) -> BTreeMap<String, BTreeSet<&'static str>> {
    let url = match role {
        "postgres" => cluster.primary_url(),
        role => format!("postgres://{role}:{role}@{}", cluster.primary_url().split_once('@').unwrap().1),
    };
    let conn = AsyncPgConnection::establish(&url).await.unwrap();
    let session = ServerSession::open(conn, Endpoint::new("here", 5432)).await.unwrap();
    let before = Visit::counters(&session).await;
    let visit = Visit::to(&session).await;
    let mut words: BTreeMap<String, BTreeSet<&'static str>> = BTreeMap::new();
    for result in checks::judge(&visit.evidence(Some(&before)), &Selection::default()) {
        assert!(result.status.word() != "skipped" || !result.summary.is_empty(), "{} says why", result.id);
        words.entry(result.id.to_string()).or_default().insert(result.status.word());
    }
    assert!(!session.is_lost(), "{role}");
    words
}

async fn check(cluster: &Cluster) -> (Vec<String>, Value) {
    let mut setup = cluster.connect(0).await.unwrap();
    for statement in [
        "CREATE EXTENSION pg_stat_statements",
        "CREATE ROLE nobody LOGIN PASSWORD 'nobody'",
        "CREATE ROLE watcher LOGIN PASSWORD 'watcher'",
        "GRANT pg_monitor TO watcher",
        "CREATE TABLE keyless AS SELECT n, n % 7 AS m FROM generate_series(1, 200000) n",
        "CREATE TABLE child (id serial PRIMARY KEY, n int)",
        "CREATE UNLOGGED TABLE lost (n int PRIMARY KEY)",
        "CREATE INDEX one ON keyless (m)",
        "CREATE INDEX two ON keyless (m)",
        "SELECT setval('child_id_seq', 2100000000)",
        "SELECT pg_create_physical_replication_slot('left', true)",
        "DELETE FROM keyless WHERE n % 10 <> 0",
        "VACUUM ANALYZE",
    ] {
        setup.batch_execute(statement).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
    }
    let truth = verdicts(cluster, "postgres").await;
    let mut faults = Vec::new();
    let problems = |words: &BTreeSet<&str>| words.contains("warn") || words.contains("critical");
    assert!(truth.values().filter(|words| problems(words)).count() >= 5, "problems were planted: {truth:?}");
    for role in ["watcher", "nobody"] {
        let seen = verdicts(cluster, role).await;
        for (id, words) in &truth {
            let theirs = &seen[id];
            if problems(words) && theirs.contains("ok") {
                faults.push(format!("{role}: {id} is ok, and in truth {words:?}"));
            }
        }
        if role == "nobody" {
            let known = BLIND.iter().filter(|id| !seen[**id].contains("skipped"));
            faults.extend(known.map(|id| format!("nobody: {id} is {:?}", seen[*id])));
        }
    }
    // A catalogue of a major that nobody has seen.
    setup.batch_execute("SET allow_system_table_mods = on").await.unwrap();
    for (view, column) in RENAMED {
        let sql = format!("ALTER VIEW pg_catalog.{view} RENAME COLUMN {column} TO {column}_of_late");
        setup.batch_execute(&sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
    let changed = verdicts(cluster, "postgres").await;
    if !changed["xmin-horizon"].is_disjoint(&BTreeSet::from(["ok"]))
        && !changed["xmin-horizon"].contains("skipped")
    {
        faults.push(format!("xmin-horizon is {:?} without its column", changed["xmin-horizon"]));
    }
    let errors = errors(cluster);
    let mine: Vec<_> = errors.iter().map(|line| format!("log: {line}")).collect();
    faults.extend(mine);
    (faults, json!({ "as_superuser": truth, "on_a_changed_catalogue": changed }))
}

/// The errors in the server's log.
fn errors(cluster: &Cluster) -> Vec<String> {
    let is_log = |path: &std::path::PathBuf| path.extension().is_some_and(|end| end == "log");
    let files = std::fs::read_dir(cluster.dir()).unwrap().flatten().map(|file| file.path()).filter(is_log);
    let log: String = files.map(|path| std::fs::read_to_string(path).unwrap()).collect();
    assert!(log.contains("ready to accept connections"), "the server's log is found");
    let is_error = |line: &&str| ["ERROR:", "FATAL:", "PANIC:"].iter().any(|mark| line.contains(mark));
    log.lines().filter(is_error).map(str::to_owned).collect()
}
