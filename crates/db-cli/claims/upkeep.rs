//! maintenance-6: what is planted in a database is named, and nothing else; and it is mended under a load.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use db_testkit::TestDatabase;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_postgres::{Client, NoTls};

use crate::run::dbctl;
use crate::{Figure, Size};

const MOST: Duration = Duration::from_millis(100);
const RUNS: usize = 3;
const CLIENTS: u64 = 4;
/// So many runs at most are there behind the first one for what that leaves.
const MOST_RUNS: u32 = 2;
/// Nobody builds an index for so long, or waits for it.
const AT_MOST: Duration = Duration::from_secs(60);

/// One healthy thing of each kind, and what is spoilt later. Nobody else tidies up meanwhile.
const MADE: &str = "CREATE FUNCTION words(id int, version int) RETURNS text[] LANGUAGE sql IMMUTABLE AS \
      $$ SELECT array_agg(md5(id || '-' || version || '-' || k)) FROM generate_series(1, 20) k $$; \
    CREATE TABLE calm (id int PRIMARY KEY, note text, n int DEFAULT 0); \
    INSERT INTO calm SELECT n, md5(n::text) FROM generate_series(1, 150000) n; \
    CREATE INDEX calm_note ON calm (note); \
    CREATE TABLE calm_docs (id int PRIMARY KEY, version int DEFAULT 0); \
    INSERT INTO calm_docs SELECT generate_series(1, 12000); \
    CREATE INDEX calm_words ON calm_docs USING gin (words(id, version)) WITH (fastupdate = off); \
    CREATE MATERIALIZED VIEW calm_view AS SELECT id % 100 AS part, count(*) AS n FROM calm_docs GROUP BY 1; \
    CREATE UNIQUE INDEX ON calm_view (part); \
    CREATE TABLE swollen (id int PRIMARY KEY, body text, n int DEFAULT 0); \
    INSERT INTO swollen SELECT n, repeat(md5(n::text), 3) FROM generate_series(1, 120000) n; \
    CREATE TABLE churned (id int PRIMARY KEY, key text, n int DEFAULT 0); \
    INSERT INTO churned SELECT n, md5(n::text) FROM generate_series(1, 60000) n; \
    CREATE INDEX churned_key ON churned (key); \
    CREATE TABLE docs (id int PRIMARY KEY, version int DEFAULT 0); \
    INSERT INTO docs SELECT generate_series(1, 12000); \
    CREATE INDEX docs_words ON docs USING gin (words(id, version)) WITH (fastupdate = off); \
    CREATE TABLE halves (id int PRIMARY KEY, note text, n int DEFAULT 0); \
    INSERT INTO halves SELECT n, md5(n::text) FROM generate_series(1, 20000) n; \
    CREATE TABLE stale (id int PRIMARY KEY, n int); INSERT INTO stale SELECT n, 1 FROM generate_series(1, \
      10000) n; \
    CREATE TABLE dead (id int PRIMARY KEY, n int DEFAULT 0); INSERT INTO dead SELECT generate_series(1, \
      20000); \
    CREATE TABLE sales (id int PRIMARY KEY, customer int); INSERT INTO sales SELECT n, n % 100 FROM \
      generate_series(1, 20000) n; \
    CREATE MATERIALIZED VIEW totals AS SELECT customer, count(*) AS n FROM sales GROUP BY 1; \
    CREATE UNIQUE INDEX ON totals (customer); \
    CREATE MATERIALIZED VIEW great AS SELECT * FROM totals WHERE n > 100; CREATE UNIQUE INDEX ON great \
      (customer); \
    CREATE TABLE parts (id int) PARTITION BY RANGE (id); \
    CREATE TABLE part PARTITION OF parts FOR VALUES FROM (0) TO (10); CREATE INDEX waits ON ONLY parts (id); \
    CREATE TABLE built (id int PRIMARY KEY, n int); INSERT INTO built SELECT n, n FROM generate_series(1, \
      1000) n; \
    DO $$ DECLARE t regclass; BEGIN FOR t IN SELECT oid FROM pg_class WHERE relkind = 'r' AND relnamespace = \
      'public'::regnamespace LOOP EXECUTE format('ALTER TABLE %s SET (autovacuum_enabled = off)', t); END \
      LOOP; END $$";

/// What is wrong afterwards; each is what its name says.
const PLANTED: [&str; 9] = [
    "analyze public.stale",
    "compact public.swollen",
    "drop public.halves_pkey_ccnew",
    "refresh public.great",
    "refresh public.totals",
    "reindex public.churned_key",
    "reindex public.docs_words",
    "reindex public.halves_note",
    "vacuum public.dead",
];

/// What must be left alone, and is said to be.
const HELD: [&str; 2] = ["public.built_n", "public.waits"];

pub(crate) fn measure(_: Size) -> Figure {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut seen: Vec<One> = Vec::new();
    for _ in 0..RUNS {
        let one = runtime.block_on(one());
        eprintln!("maintenance-6: {one:?}");
        seen.push(one);
        if seen.iter().any(|one| one.worst <= MOST) {
            break;
        }
    }
    let best = seen.iter().map(|one| one.worst).min().unwrap_or(Duration::MAX);
    let wrong: Vec<&String> = seen.iter().flat_map(|one| &one.wrong).collect();
    let shown = seen.iter().map(|one| {
        json!({
            "worst_statement_ms": one.worst.as_secs_f64() * 1e3,
            "statements": one.statements,
            "apply_seconds": one.took.as_secs_f64(),
            "runs": one.runs + 1,
        })
    });
    Figure {
        value: best.as_secs_f64() * 1e3,
        unit: "ms, the load's longest statement",
        holds: wrong.is_empty() && best <= MOST,
        detail: json!({ "planted": PLANTED.len(), "wrong": wrong, "runs": shown.collect::<Vec<_>>() }),
    }
}

#[derive(Debug, Default)]
struct One {
    /// What was named wrongly, not named, or not mended.
    wrong: Vec<String>,
    worst: Duration,
    statements: u64,
    took: Duration,
    /// Runs behind the first one.
    runs: u32,
}

async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// Runs it, and what is counted is there for all to see.
async fn run(client: &Client, sql: &str) {
    client.batch_execute(sql).await.unwrap();
    client.batch_execute("SELECT pg_stat_force_next_flush()").await.unwrap();
}

async fn number(client: &Client, sql: &str) -> i64 {
    client.query_one(&format!("SELECT ({sql})::int8"), &[]).await.unwrap().get(0)
}

/// What the plan names to be done, and what it leaves alone.
async fn plan(url: &str) -> (BTreeSet<String>, BTreeSet<String>) {
    let ran = dbctl(&[("DATABASE_URL", url)], &["maintain", "plan", "--json"]).await;
    let plan: Value = serde_json::from_str(&ran.out).unwrap_or_else(|_| panic!("{}{}", ran.out, ran.err));
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let tasks = plan["tasks"].as_array().into_iter().flatten();
    let tasks = tasks.map(|task| format!("{} {}", text(&task["kind"]), text(&task["name"])));
    let held = plan["held"].as_array().into_iter().flatten().map(|held| text(&held["name"]));
    (tasks.collect(), held.collect())
}

async fn apply(url: &str) -> Value {
    let ran = dbctl(&[("DATABASE_URL", url)], &["maintain", "apply", "--json"]).await;
    serde_json::from_str(&ran.out).unwrap_or_else(|_| panic!("{}{}", ran.out, ran.err))
}

fn differences(one: &mut One, what: &str, named: &BTreeSet<String>, expected: &[&str]) {
    let expected: BTreeSet<String> = expected.iter().map(|&name| name.to_owned()).collect();
    one.wrong.extend(named.difference(&expected).map(|name| format!("{what}: {name} is too much")));
    one.wrong.extend(expected.difference(named).map(|name| format!("{what}: {name} is missing")));
}

async fn one() -> One {
    let database = TestDatabase::empty().await.unwrap();
    let (url, mut one) = (database.url(), One::default());
    let client = connect(url).await;
    run(&client, MADE).await;
    run(&client, "VACUUM ANALYZE").await;
    // The first run notes what it finds; after it a healthy database has nothing to do.
    apply(url).await;
    let (tasks, held) = plan(url).await;
    differences(&mut one, "healthy", &tasks, &[]);
    differences(&mut one, "healthy, held", &held, &["public.waits"]);

    let (locks, builds) = spoil(url, &client).await;
    let before = sizes(&client).await;
    let (tasks, held) = plan(url).await;
    differences(&mut one, "planted", &tasks, &PLANTED);
    differences(&mut one, "planted, held", &held, &HELD);

    let load = Load::start(url);
    let began = Instant::now();
    // What one run leaves, because rows came where it had made room, another one takes, as every night.
    let mut report = apply(url).await;
    while one.runs < MOST_RUNS && report["left"].as_array().is_some_and(|left| !left.is_empty()) {
        report = apply(url).await;
        one.runs += 1;
    }
    one.took = began.elapsed();
    (one.worst, one.statements) = load.end().await;
    for word in ["failed", "left"] {
        let tasks = report[word].as_array().into_iter().flatten();
        one.wrong.extend(tasks.map(|task| format!("{word}: {task}")));
    }
    let (tasks, held) = plan(url).await;
    differences(&mut one, "mended", &tasks, &[]);
    differences(&mut one, "mended, held", &held, &HELD);
    one.wrong.extend(unmended(&client, &before).await);
    locks.batch_execute("COMMIT").await.unwrap();
    tokio::time::timeout(AT_MOST, builds).await.unwrap().unwrap();
    if number(&client, "SELECT count(*) FROM pg_index WHERE indexrelid = 'built_n'::regclass AND indisvalid")
        .await
        != 1
    {
        one.wrong.push("the index that somebody built is not there".to_owned());
    }
    one
}

/// Plants what is wrong. Answers the session that keeps an index under construction, and its end.
async fn spoil(url: &str, client: &Client) -> (Client, JoinHandle<()>) {
    // A table and a B-tree with much room; an index of another kind that has all its old words.
    run(client, "DELETE FROM swollen WHERE id % 3 <> 0").await;
    run(client, "VACUUM (ANALYZE, TRUNCATE off) swollen").await;
    let emptier = "ALTER INDEX churned_key SET (fillfactor = 25); REINDEX INDEX churned_key; \
        ALTER INDEX churned_key RESET (fillfactor)";
    run(client, emptier).await;
    run(client, "UPDATE docs SET version = 1").await;
    run(client, "VACUUM ANALYZE docs").await;
    run(client, "UPDATE docs SET version = 2").await;
    run(client, "VACUUM ANALYZE docs").await;
    // An index whose build failed, and one that a REINDEX left which was interrupted.
    run(client, "INSERT INTO halves VALUES (0, md5('1'))").await;
    client.batch_execute("CREATE UNIQUE INDEX CONCURRENTLY halves_note ON halves (note)").await.unwrap_err();
    run(client, "DELETE FROM halves WHERE id = 0").await;
    let locks = connect(url).await;
    locks.batch_execute("BEGIN; LOCK TABLE halves IN ROW EXCLUSIVE MODE").await.unwrap();
    client.batch_execute("SET lock_timeout = '200ms'").await.unwrap();
    client.batch_execute("REINDEX INDEX CONCURRENTLY halves_pkey").await.unwrap_err();
    client.batch_execute("RESET lock_timeout").await.unwrap();
    locks.batch_execute("COMMIT").await.unwrap();
    // Statistics, dead rows, views.
    run(client, "INSERT INTO stale SELECT n, 2 FROM generate_series(10001, 40000) n").await;
    run(client, "UPDATE dead SET n = 1 WHERE id <= 15000").await;
    run(client, "INSERT INTO sales SELECT n, 7 FROM generate_series(20001, 20100) n").await;
    // A build that waits for a writer of its table.
    locks.batch_execute("BEGIN; LOCK TABLE built IN ROW EXCLUSIVE MODE").await.unwrap();
    let builder = connect(url).await;
    let builds = tokio::spawn(async move {
        builder.batch_execute("CREATE INDEX CONCURRENTLY built_n ON built (n)").await.unwrap();
    });
    while number(client, "SELECT count(*) FROM pg_index WHERE indexrelid = to_regclass('built_n')").await == 0
    {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    (locks, builds)
}

/// The sizes of what is bloated.
async fn sizes(client: &Client) -> [i64; 3] {
    let mut sizes = [0; 3];
    for (at, name) in ["swollen", "churned_key", "docs_words"].into_iter().enumerate() {
        sizes[at] = number(client, &format!("SELECT pg_relation_size('{name}')")).await;
    }
    sizes
}

/// What the server itself says is not as it should be.
async fn unmended(client: &Client, before: &[i64; 3]) -> Vec<String> {
    let mut wrong = Vec::new();
    for (at, now) in sizes(client).await.into_iter().enumerate() {
        // Of three parts two were given back, and of two one; some of it the load needs.
        if now * 10 > before[at] * 6 {
            wrong.push(format!("bloat {at}: {} bytes, and then {now}", before[at]));
        }
    }
    for (sql, what) in [
        (
            "SELECT count(*) FROM pg_index WHERE NOT indisvalid AND indexrelid <> 'built_n'::regclass AND \
          indexrelid <> 'waits'::regclass",
            "INVALID indexes",
        ),
        (
            "SELECT count(*) FROM (SELECT customer, count(*) FROM sales GROUP BY 1 EXCEPT SELECT * FROM \
            totals) d",
            "totals that are stale",
        ),
        (
            "SELECT count(*) FROM (SELECT * FROM totals WHERE n > 100 EXCEPT SELECT * FROM great) d",
            "views of views that are stale",
        ),
        ("SELECT abs(reltuples - 40000) FROM pg_class WHERE oid = 'stale'::regclass", "rows not counted"),
        (
            "SELECT abs(count(*) - 40000) FROM swollen WHERE body = repeat(md5(id::text), 3)",
            "rows of swollen",
        ),
    ] {
        let found = number(client, sql).await;
        wrong.extend((found != 0).then(|| format!("{found} {what}")));
    }
    wrong
}

/// Clients that read and write what is mended.
struct Load {
    end: Arc<AtomicBool>,
    clients: Vec<JoinHandle<(Duration, u64)>>,
}

impl Load {
    fn start(url: &str) -> Self {
        let end = Arc::new(AtomicBool::new(false));
        let clients =
            (0..CLIENTS).map(|number| tokio::spawn(client(url.to_owned(), number, Arc::clone(&end))));
        Load { clients: clients.collect(), end }
    }

    async fn end(self) -> (Duration, u64) {
        self.end.store(true, Ordering::Relaxed);
        let mut all = (Duration::ZERO, 0);
        for client in self.clients {
            let (worst, statements) = client.await.unwrap();
            all = (all.0.max(worst), all.1 + statements);
        }
        all
    }
}

async fn client(url: String, number: u64, end: Arc<AtomicBool>) -> (Duration, u64) {
    let client = connect(&url).await;
    let (mut worst, mut statements, mut step) = (Duration::ZERO, 0, number * 7_919);
    while !end.load(Ordering::Relaxed) {
        // Knuth's linear congruential generator: the same numbers each time.
        step = step.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let id = (step >> 33) % 10_000;
        // Of all rows that are left.
        let left = (step >> 33) % 40_000 * 3 + 3;
        let sql = match (step >> 20) % 12 {
            0 => format!("UPDATE swollen SET n = n + 1 WHERE id = {left}"),
            1 => format!("SELECT * FROM swollen WHERE id = {left}"),
            2 => format!("UPDATE churned SET n = n + 1 WHERE id = {id}"),
            3 => format!("SELECT * FROM churned WHERE key = md5('{id}')"),
            4 => format!("SELECT * FROM totals WHERE customer = {}", id % 100),
            5 => "SELECT count(*) FROM great".to_owned(),
            6 => format!("UPDATE halves SET n = n + 1 WHERE id = {id}"),
            7 => format!("SELECT * FROM halves WHERE note = md5('{id}')"),
            8 => format!("SELECT * FROM docs WHERE words(id, version) @> ARRAY[md5('{id}-2-7')]"),
            // Of a table so large that what it changes makes nothing due.
            9 => format!("UPDATE calm SET n = n + 1 WHERE id = {left}"),
            10 => format!("SELECT * FROM stale WHERE id = {id}"),
            _ => format!("SELECT * FROM dead WHERE id = {id}"),
        };
        let began = Instant::now();
        client.batch_execute(&sql).await.unwrap();
        worst = worst.max(began.elapsed());
        statements += 1;
        // A client in a service does other things too; two cores serve all of them and the server.
        tokio::time::sleep(Duration::from_millis(4)).await;
    }
    (worst, statements)
}
