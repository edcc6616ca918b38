//! What `dbctl check`, `locks`, `slow`, `bloat`, `monitor setup`, `repeats` and `advise` print: scripts read
//! it.

use std::io::Write as _;
use std::process::Stdio;

use db_testkit::{TestDatabase, until};
use diesel_async::SimpleAsyncConnection;
use serde_json::Value;

use crate::run::program;
use crate::{Run, ask, dbctl};

async fn made(sql: &str) -> TestDatabase {
    let database = TestDatabase::empty().await.unwrap();
    database.connect().await.unwrap().batch_execute(sql).await.unwrap();
    database
}

async fn on(database: &TestDatabase, arguments: &[&str]) -> Run {
    dbctl(&[("DATABASE_URL", database.url())], arguments).await
}

fn json(run: &Run) -> Value {
    serde_json::from_str(&run.out).unwrap_or_else(|error| panic!("{error}: {}{}", run.out, run.err))
}

#[tokio::test]
async fn bloat_is_a_list_of_relations_with_kind_bytes_and_percent() {
    let database = made(
        "CREATE TABLE half (id int PRIMARY KEY, pad text) WITH (autovacuum_enabled = off);
        INSERT INTO half SELECT n, repeat('x', 100) FROM generate_series(1, 40000) n;
        DELETE FROM half WHERE id % 2 = 0;",
    )
    .await;
    // In one session without a pause: the server's counters of its rows come after the VACUUM, and are wrong.
    let mut conn = database.connect().await.unwrap();
    for statement in [
        "INSERT INTO half SELECT n FROM generate_series(40001, 80000) n",
        "DELETE FROM half WHERE id > 40000",
    ] {
        conn.batch_execute(statement).await.unwrap();
    }
    conn.batch_execute("VACUUM ANALYZE half").await.unwrap();
    let list = json(&on(&database, &["bloat", "--json"]).await);
    let of = |kind: &str| list.as_array().unwrap().iter().find(|one| one["kind"] == kind).unwrap().clone();
    let (table, index) = (of("table"), of("index"));
    assert_eq!(
        (table["relation"].as_str(), index["relation"].as_str()),
        (Some("public.half"), Some("public.half_pkey"))
    );
    assert!((40.0..60.0).contains(&table["bloat_percent"].as_f64().unwrap()), "{table}");
    assert!(table["bytes"].as_u64() > Some(4_000_000), "{table}");
}

#[tokio::test]
async fn a_check_that_fails_is_told_with_a_fix_that_can_be_copied() {
    let database =
        made("CREATE TABLE plain AS SELECT n FROM generate_series(1, 5000) n; ANALYZE plain").await;
    let all = on(&database, &["check", "--json", "--fail-on", "never"]).await;
    assert_eq!(all.code, Some(0), "{}", all.err);
    let words: Vec<Value> = json(&all).as_array().unwrap().iter().map(|one| one["status"].clone()).collect();
    assert!(
        words.len() > 40 && words.contains(&"ok".into()) && words.contains(&"skipped".into()),
        "{words:?}"
    );
    let warned = on(&database, &["check", "--only", "primary-keys", "--fail-on", "warn"]).await;
    assert_eq!(warned.code, Some(3), "{}{}", warned.out, warned.err);
    assert!(warned.out.contains("public.plain has no primary key"), "{}", warned.out);
    let quiet = on(&database, &["check", "--only", "primary-keys"]).await;
    assert_eq!(quiet.code, Some(0), "a warning alone fails nothing unless that is asked for");
    let settings = on(&database, &["check", "--only", "settings-advice", "--fail-on", "never"]).await;
    assert!(settings.out.contains("ALTER SYSTEM SET ") && !settings.out.contains('\\'), "{}", settings.out);
    let unknown = on(&database, &["check", "--only", "nonsense"]).await;
    assert!(unknown.code != Some(0) && unknown.err.contains("primary-keys"), "{}", unknown.err);
}

#[tokio::test]
async fn who_blocks_whom_is_a_tree_without_values() {
    let database =
        made("CREATE TABLE t (id int PRIMARY KEY, note text); INSERT INTO t VALUES (1, 'a')").await;
    assert_eq!(json(&on(&database, &["locks", "--json"]).await), Value::Array(Vec::new()));
    let mut holder = database.connect().await.unwrap();
    holder.batch_execute("BEGIN; UPDATE t SET note = 'planted-secret' WHERE id = 1").await.unwrap();
    let mut waiter = database.connect().await.unwrap();
    let waits =
        tokio::spawn(async move { waiter.batch_execute("UPDATE t SET note = 'planted-secret'").await });
    let waiting = "(SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database())";
    until("one session waits", async || ask(&database, waiting).await == "1").await;
    let tree = on(&database, &["locks", "--json"]).await;
    let text = on(&database, &["locks"]).await;
    holder.batch_execute("ROLLBACK").await.unwrap();
    waits.await.unwrap().unwrap();
    let root = &json(&tree)[0];
    assert_eq!(
        (root["victims"].as_u64(), root["blocks"].as_array().map(Vec::len)),
        (Some(1), Some(1)),
        "{}",
        tree.out
    );
    assert!(text.out.contains("UPDATE") || text.out.contains("update t set note = ?"), "{}", text.out);
    assert!(!format!("{}{}", tree.out, text.out).contains("planted-secret"));
}

#[tokio::test]
async fn setup_applied_and_undone_leaves_the_server_as_it_was() {
    let database = made("CREATE TABLE t (id int)").await;
    let state = async || {
        let roles = "(SELECT string_agg(rolname, ',' ORDER BY rolname) FROM pg_roles WHERE rolname LIKE 'db_platform%')";
        let settings = "(SELECT string_agg(name || setting, ',' ORDER BY name) FROM pg_settings WHERE source <> 'session')";
        let extensions = "(SELECT string_agg(extname, ',' ORDER BY extname) FROM pg_extension)";
        let schema = "coalesce(to_regnamespace('dbp')::text, 'none')";
        let (roles, settings) = (ask(&database, roles).await, ask(&database, settings).await);
        (roles, settings, ask(&database, extensions).await, ask(&database, schema).await)
    };
    let before = state().await;
    let planned = on(&database, &["monitor", "setup", "--plan"]).await;
    assert!(planned.out.contains("CREATE ROLE"), "{}{}", planned.out, planned.err);
    assert!(!planned.out.contains("would    log statements"), "no setting unasked: {}", planned.out);
    let logs = on(&database, &["monitor", "setup", "--plan", "--log", "slow"]).await;
    assert!(logs.out.contains("ALTER SYSTEM SET log_min_duration_statement"), "{}{}", logs.out, logs.err);
    assert!(logs.out.contains("with the constants that stand in them"), "{}", logs.out);
    assert!(!logs.out.contains("ALTER SYSTEM SET log_statement = 'mod'"), "{}", logs.out);
    assert_eq!(state().await, before, "a plan changes nothing");
    let applied = on(&database, &["monitor", "setup", "--apply"]).await;
    assert_eq!(applied.code, Some(0), "{}", applied.err);
    assert_ne!(state().await.0, before.0);
    let counted =
        ask(&database, "(SELECT (sum(connections) > 0)::text FROM dbp.get_connection_stats())").await;
    assert_eq!(counted, "true");
    let undone = on(&database, &["monitor", "setup", "--undo"]).await;
    assert_eq!(undone.code, Some(0), "{}", undone.err);
    assert_eq!(state().await, before);
}

#[tokio::test]
async fn traces_and_workloads_come_from_a_file_or_from_standard_input() {
    let selects: Vec<String> = (0..6)
        .map(|n| {
            format!(r#"{{"t_ms":{n},"scope":"r","sql":"SELECT * FROM a WHERE id = $1","binds":["{n}"]}}"#)
        })
        .collect();
    let traces =
        format!(r#"[{{"id":"x","events":[{}]}},{{"id":"y"}},{{"id":"z","events":null}}]"#, selects.join(","));
    let told = with_input(&[], &["repeats", "--trace", "-", "--json"], &traces).await;
    let labels: Vec<Value> = json(&told).as_array().unwrap().iter().map(|one| one["label"].clone()).collect();
    assert_eq!(labels, ["n+1", "ok", "ok"]);
    let database = made(
        "CREATE TABLE big AS SELECT n AS id, n % 1000 AS k FROM generate_series(1, 50000) n; ANALYZE big",
    )
    .await;
    let workload = r#"[{"id":7,"sql":"SELECT * FROM big WHERE k = $1","params":["5"],"calls_per_day":1000}]"#;
    let settings = [("DATABASE_URL", database.url())];
    let advised =
        json(&with_input(&settings, &["advise", "indexes", "--workload", "-", "--json"], workload).await);
    let one = &advised["suggestions"][0];
    assert_eq!(
        (one["case"].as_u64(), one["index"].as_str()),
        (Some(7), Some("big USING btree (k)")),
        "{advised}"
    );
    assert_eq!(advised["drop"], Value::Array(Vec::new()));
}

async fn with_input(settings: &[(&str, &str)], arguments: &[&str], input: &str) -> Run {
    let mut command = program(settings, arguments);
    let input = input.to_owned();
    let output = tokio::task::spawn_blocking(move || {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    })
    .await
    .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Run { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}
