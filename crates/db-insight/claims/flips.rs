//! How many planted flips of plans the history finds, and how many changes that are none it takes for one.

use std::time::{Duration, Instant, SystemTime};

use db_insight::{EVERY, ExplainConfig, PlanHistory, Window, explain_text};
use db_statement::fingerprint;
use db_testkit::Cluster;
use db_testkit::claims::{Figure, Size};
use diesel::sql_query;
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use serde_json::json;

/// How many flips are planted, and how many controls there are.
const EACH: usize = 20;

pub(crate) fn measure(_: Size) -> Figure {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(measured())
}

/// One statement, what changes, and how it is asked before and after.
struct Planted {
    name: String,
    setup: String,
    sql: String,
    /// With which value before and after.
    values: (i32, i32),
    change: String,
    is_flip: bool,
}

/// Rows enough that reading them all takes milliseconds.
fn table(name: &str) -> String {
    format!(
        "CREATE TABLE {name} (id int NOT NULL, k int NOT NULL, pad text NOT NULL);
         INSERT INTO {name} SELECT i, i % 20000, repeat('p', 40) FROM generate_series(1, 60000) i;
         CREATE INDEX {name}_k ON {name} (k); ANALYZE {name};"
    )
}

fn planted() -> Vec<Planted> {
    let mut all = Vec::new();
    for n in 0..EACH {
        let t = format!("flip_{n}");
        // The index goes, or becomes invalid, or the planner is led astray.
        let change = match n % 4 {
            0 => format!("DROP INDEX {t}_k"),
            1 => format!("UPDATE pg_index SET indisvalid = false WHERE indexrelid = '{t}_k'::regclass"),
            2 => format!("DROP INDEX {t}_k; CREATE INDEX {t}_k ON {t} (k) WHERE k < 0"),
            _ => format!("ALTER TABLE {t} ALTER k TYPE numeric USING k + 0; DROP INDEX {t}_k; ANALYZE {t}"),
        };
        let sql = format!("SELECT * FROM {t} WHERE k = $1");
        all.push(Planted { name: t.clone(), setup: table(&t), sql, values: (17, 17), change, is_flip: true });
    }
    for n in 0..EACH {
        let t = format!("control_{n}");
        let mut sql = format!("SELECT * FROM {t} WHERE k = $1");
        let mut setup = table(&t);
        let mut values = (17, 17);
        let change = match n % 5 {
            0 => format!("ALTER INDEX {t}_k RENAME TO {t}_other"),
            // More rows of the value, the same way.
            1 => format!("INSERT INTO {t} SELECT i, 17, 'x' FROM generate_series(1, 40) i; ANALYZE {t}"),
            2 => {
                setup = format!(
                    "CREATE TABLE {t} (id int NOT NULL, k int NOT NULL) PARTITION BY RANGE (id);
                     CREATE TABLE {t}_1 PARTITION OF {t} FOR VALUES FROM (0) TO (50000);
                     CREATE TABLE {t}_2 PARTITION OF {t} FOR VALUES FROM (50000) TO (90000);
                     INSERT INTO {t} SELECT i, i % 20000 FROM generate_series(1, 60000) i;
                     CREATE INDEX {t}_k ON {t} (k); ANALYZE {t};"
                );
                format!(
                    "CREATE TABLE {t}_3 PARTITION OF {t} FOR VALUES FROM (90000) TO (200000);
                     INSERT INTO {t} SELECT i, i % 20000 FROM generate_series(90000, 150000) i; ANALYZE {t};"
                )
            }
            // A value that half of the rows have is read by the whole table.
            3 => {
                setup += &format!("UPDATE {t} SET k = 1 WHERE id % 2 = 0; VACUUM ANALYZE {t};");
                values = (17, 1);
                "SELECT 1".to_owned()
            }
            // Another way, as fast: a table of a page.
            _ => {
                setup = format!(
                    "CREATE TABLE {t} (id int NOT NULL, k int NOT NULL);
                     INSERT INTO {t} SELECT i, i FROM generate_series(1, 300) i;
                     CREATE INDEX {t}_k ON {t} (k); ANALYZE {t};"
                );
                sql = format!("SELECT * FROM {t} WHERE k = $1");
                format!("DROP INDEX {t}_k")
            }
        };
        all.push(Planted { name: t, setup, sql, values, change, is_flip: false });
    }
    all
}

async fn measured() -> Figure {
    let cluster = Cluster::builder().version(18).setting("autovacuum", "off").start().await.unwrap();
    let mut conn = cluster.connect(0).await.unwrap();
    conn.batch_execute("SET allow_system_table_mods = on; SET max_parallel_workers_per_gather = 0")
        .await
        .unwrap();
    let mut history = PlanHistory::default();
    let (mut found, mut missed, mut alarms) = (0_u32, Vec::new(), Vec::new());
    let start = SystemTime::now();
    for case in planted() {
        each(&mut conn, &case.setup).await;
        let mut flips = Vec::new();
        // Three looks before, three after: one an hour.
        for hour in 0..6_u32 {
            if hour == 3 {
                each(&mut conn, &case.change).await;
            }
            let value = if hour < 3 { case.values.0 } else { case.values.1 };
            let at = start + EVERY * hour;
            let config = ExplainConfig { parameters: vec![value.to_string()], ..ExplainConfig::default() };
            let plan = explain_text(&mut conn, &case.sql, &config).await.unwrap();
            let window = run(&mut conn, &case.sql, value).await;
            flips.extend(history.record(fingerprint(&case.sql), &plan, window, at));
        }
        let flips: Vec<_> = flips.into_iter().filter(db_insight::Flip::is_regression).collect();
        match (case.is_flip, flips.len()) {
            (true, 1) => found += 1,
            (true, n) => {
                let looks = history.seen(fingerprint(&case.sql)).iter();
                let looks: Vec<_> = looks.map(|seen| (seen.shape, seen.window.mean_ms)).collect();
                missed.push(format!("{}: {n} findings; {looks:?}", case.name));
            }
            (false, 0) => {}
            (false, _) => {
                alarms.push(format!("{}: {} to {} ms", case.name, flips[0].before_ms, flips[0].after_ms))
            }
        }
    }
    let holds = found as usize == EACH && alarms.is_empty();
    let detail = json!({ "missed": missed, "alarms": alarms, "controls": EACH });
    Figure { value: f64::from(found), unit: "of 20 flips found", holds, detail }
}

async fn each(conn: &mut AsyncPgConnection, statements: &str) {
    for statement in statements.split(';').filter(|statement| !statement.trim().is_empty()) {
        conn.batch_execute(statement).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
    }
}

/// Thirty executions, as a service would run them.
async fn run(conn: &mut AsyncPgConnection, sql: &str, value: i32) -> Window {
    const CALLS: u64 = 30;
    let mut rows = 0;
    let start = Instant::now();
    for _ in 0..CALLS {
        let sql = sql.replace("$1", &value.to_string());
        rows += sql_query(sql).execute(conn).await.unwrap() as u64;
    }
    let took: Duration = start.elapsed();
    Window { calls: CALLS, mean_ms: took.as_secs_f64() * 1000.0 / CALLS as f64, rows }
}
