//! migrations-12 and 13: whether a runner that waits says for whom, and what locks of rows cost a data
//! migration.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use db_testkit::TestDatabase;
use db_testkit::claims::{Figure, Size};
use diesel_async::{AsyncPgConnection, SimpleAsyncConnection};
use serde_json::{Value, json};

use crate::pairs;
use crate::run::{ask_on, program};

const BLOCKED_FOR: Duration = Duration::from_secs(10);
const FIRST_WORD_S: f64 = 1.5;
const BETWEEN_WORDS_S: f64 = 6.0;
const RUNS: usize = 3;

/// A blocker that holds something, and a migration that waits for it.
struct Case {
    name: &'static str,
    /// What the blocker does in its transaction; the constants are nobody's business.
    blocker: &'static str,
    migration: &'static str,
    /// What the words say of the blocker's query.
    shape: &'static str,
}

const CASES: [Case; 3] = [
    Case {
        name: "a table",
        blocker: "SELECT count(*) FROM people WHERE name = 'hunter2'",
        migration: "ALTER TABLE people ADD COLUMN born date",
        shape: "select count(*) from people",
    },
    Case {
        name: "older transactions",
        blocker: "UPDATE people SET name = 'hunter2' WHERE id = 7",
        migration: "CREATE INDEX CONCURRENTLY people_name_idx ON people (name)",
        shape: "update people set name",
    },
    Case {
        name: "a row",
        blocker: "UPDATE people SET name = 'hunter2' WHERE id = 7",
        migration: "UPDATE people SET name = lower(name)",
        shape: "update people set name",
    },
];

/// What was said while a migration waited.
struct Heard {
    /// Seconds from the program's start to each word that names the blocker.
    words: Vec<f64>,
    first: String,
    problem: Option<String>,
}

pub(crate) fn told(_: Size) -> Figure {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut runs: Vec<(f64, Vec<String>, Value)> = Vec::new();
    for _ in 0..RUNS {
        let heard: Vec<(&'static str, Heard)> = runtime.block_on(async {
            let [table, older, row] = CASES;
            let (runner, a, b, c) = tokio::join!(behind_a_runner(), one(&table), one(&older), one(&row));
            vec![("another runner", runner), (table.name, a), (older.name, b), (row.name, c)]
        });
        let first = |heard: &Heard| heard.words.first().copied().unwrap_or(f64::INFINITY);
        let worst = heard.iter().map(|(_, heard)| first(heard)).fold(0.0, f64::max);
        let problems: Vec<String> = heard
            .iter()
            .filter_map(|(name, heard)| Some(format!("{name}: {}", heard.problem.as_ref()?)))
            .collect();
        let shown = heard
            .iter()
            .map(|(name, heard)| json!({ "behind": name, "words_s": heard.words, "says": heard.first }));
        runs.push((worst, problems, shown.collect()));
        if runs.last().is_some_and(|(worst, problems, _)| *worst <= FIRST_WORD_S && problems.is_empty()) {
            break;
        }
    }
    let best = runs.iter().map(|(worst, ..)| *worst).fold(f64::INFINITY, f64::min);
    let holds = runs.iter().any(|(worst, problems, _)| *worst <= FIRST_WORD_S && problems.is_empty());
    let detail = runs.iter().map(|(_, problems, words)| json!({ "problems": problems, "words": words }));
    Figure { value: best, unit: "s", holds, detail: detail.collect() }
}

/// A migration behind a session that keeps its transaction open for ten seconds.
async fn one(case: &Case) -> Heard {
    let database = TestDatabase::empty().await.unwrap();
    let mut blocker = database.connect().await.unwrap();
    blocker
        .batch_execute(
            "CREATE TABLE people (id int PRIMARY KEY, name text); INSERT INTO people SELECT n, 'N' FROM \
             generate_series(1, 100) n; SET application_name = 'billing'",
        )
        .await
        .unwrap();
    let pid = ask_on(&mut blocker, "pg_backend_pid()").await;
    for statement in ["BEGIN", case.blocker] {
        blocker.batch_execute(statement).await.unwrap();
    }
    let directory = migration(case.migration);
    let (child, began) = apply(&database, directory.path());
    let listening = tokio::task::spawn_blocking(move || listen(child, began));
    tokio::time::sleep(BLOCKED_FOR).await;
    blocker.batch_execute("COMMIT").await.unwrap();
    heard(listening.await.unwrap(), &pid, &["(billing)", "idle in transaction for ", case.shape])
}

/// A migration behind another runner that is at work for ten seconds.
async fn behind_a_runner() -> Heard {
    let database = TestDatabase::empty().await.unwrap();
    let mut observer = database.connect().await.unwrap();
    let directory = migration("SELECT pg_sleep(10), 'hunter2'");
    let (other, _) = apply(&database, directory.path());
    let sleeps = "(SELECT max(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database())";
    let mut pid = "null".to_owned();
    while pid == "null" {
        pid = ask_on(&mut observer, sleeps).await;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let (child, began) = apply(&database, directory.path());
    let other = tokio::task::spawn_blocking(move || listen(other, began));
    let listened = tokio::task::spawn_blocking(move || listen(child, began)).await.unwrap();
    assert!(other.await.unwrap().1, "the other runner ends");
    heard(listened, &pid, &["(dbctl)", "active for ", "select pg_sleep"])
}

fn migration(sql: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("1_waits")).unwrap();
    std::fs::write(directory.path().join("1_waits/up.sql"), sql).unwrap();
    directory
}

/// Starts `dbctl migrate apply`.
fn apply(database: &TestDatabase, directory: &std::path::Path) -> (Child, Instant) {
    let arguments = ["migrate", "apply", "--dir", directory.to_str().unwrap()];
    let mut command = program(&[("DATABASE_URL", database.url())], &arguments);
    let began = Instant::now();
    (command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap(), began)
}

/// The lines of standard error with the seconds at which they came, and whether the program succeeded.
fn listen(mut child: Child, began: Instant) -> (Vec<(f64, String)>, bool) {
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let heard = lines.map(|line| (began.elapsed().as_secs_f64(), line.unwrap())).collect();
    (heard, child.wait().unwrap().success())
}

fn heard((lines, succeeded): (Vec<(f64, String)>, bool), pid: &str, told: &[&str]) -> Heard {
    let named = format!("pid {pid} ");
    let is_word = |line: &str| line.contains(&named) && told.iter().all(|told| line.contains(told));
    let words: Vec<f64> = lines.iter().filter(|(_, line)| is_word(line)).map(|(at, _)| *at).collect();
    let gap = words.windows(2).map(|pair| pair[1] - pair[0]).fold(0.0, f64::max);
    let problem = match () {
        () if lines.iter().any(|(_, line)| line.contains("hunter2")) => Some("shows a constant".to_owned()),
        () if !succeeded => Some("the migration fails".to_owned()),
        () if words.len() < 2 || gap > BETWEEN_WORDS_S => Some(format!("does not go on telling: {lines:?}")),
        () => None,
    };
    let first = lines.into_iter().find(|(_, line)| is_word(line)).map(|(_, line)| line).unwrap_or_default();
    Heard { words, first, problem }
}

const ROWS: usize = 200_000;
const PAIRS: usize = 30;
const MOST: f64 = 1.5;

/// Each holds a row for longer than a table's lock is waited for.
const HOLDERS: usize = 5;
const HELD_FOR: Duration = Duration::from_millis(150);

const UPDATE: &str = "UPDATE accounts SET note = 'checked', balance = balance + 1";

pub(crate) fn data_migration(_: Size) -> Figure {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let seconds: Vec<(f64, f64)> = runtime.block_on(async {
        let database = TestDatabase::empty().await.unwrap();
        let directory = migration(UPDATE);
        let file = directory.path().join("1_waits/up.sql");
        let psql = db_server::find(None, &|_: &str| ()).unwrap().bin.join("psql");
        let mut all = Vec::new();
        for pair in 0..PAIRS {
            let ours = async || {
                let dir = directory.path().to_str().unwrap();
                let settings = [("DATABASE_URL", database.url())];
                timed(&database, program(&settings, &["migrate", "apply", "--dir", dir])).await
            };
            let theirs = async || {
                let mut command = Command::new(&psql);
                command
                    .args(["-X", "-q", "-1", "-v", "ON_ERROR_STOP=1", "-d", database.url(), "-f"])
                    .arg(&file);
                timed(&database, command).await
            };
            // Whoever is second finds the machine as the first left it.
            all.push(match pair % 2 {
                0 => (ours().await, theirs().await),
                _ => {
                    let theirs = theirs().await;
                    (ours().await, theirs)
                }
            });
        }
        all
    });
    let ratio = pairs::ratio(&seconds);
    let detail = json!({
        "interval": ratio.interval, "ours_s": ratio.ours, "psql_s": ratio.theirs, "pairs": PAIRS, "rows": ROWS,
    });
    Figure { value: ratio.median, unit: "times psql's time", holds: ratio.median <= MOST, detail }
}

/// How long a program takes to update all rows, of which five are held by others for a while, one after the
/// other.
async fn timed(database: &TestDatabase, mut command: Command) -> f64 {
    let mut conn = database.connect().await.unwrap();
    conn.batch_execute(&format!(
        "DROP TABLE IF EXISTS accounts, __diesel_schema_migrations, __db_migrations, __db_migrations_under_way; \
         CREATE TABLE accounts (id bigint PRIMARY KEY, balance int NOT NULL, note text); \
         INSERT INTO accounts SELECT n, n, 'new' FROM generate_series(1, {ROWS}) n"
    ))
    .await
    .unwrap();
    for statement in ["VACUUM ANALYZE accounts", "CHECKPOINT"] {
        conn.batch_execute(statement).await.unwrap();
    }
    let mut holders = Vec::new();
    for place in 1..=HOLDERS {
        let mut holder = database.connect().await.unwrap();
        let row = place * ROWS / (HOLDERS + 1);
        let hold = format!("BEGIN; SELECT FROM accounts WHERE id = {row} FOR UPDATE");
        holder.batch_execute(&hold).await.unwrap();
        holders.push(holder);
    }
    let began = Instant::now();
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let ending = tokio::task::spawn_blocking(move || {
        let status = child.wait().unwrap();
        (status.success(), began.elapsed().as_secs_f64())
    });
    for mut holder in holders {
        if !waited_for(&mut conn, &mut holder, &ending).await {
            break;
        }
        tokio::time::sleep(HELD_FOR).await;
        holder.batch_execute("COMMIT").await.unwrap();
    }
    let (succeeded, seconds) = ending.await.unwrap();
    assert!(succeeded, "the data migration fails");
    assert_eq!(
        ask_on(&mut conn, "(SELECT count(*) FROM accounts WHERE note = 'checked')").await,
        ROWS.to_string()
    );
    seconds
}

/// Whether somebody waits for the holder's row; no where the program has ended before.
async fn waited_for<T>(
    conn: &mut AsyncPgConnection,
    holder: &mut AsyncPgConnection,
    ending: &tokio::task::JoinHandle<T>,
) -> bool {
    let pid = ask_on(holder, "pg_backend_pid()").await;
    let waits =
        format!("(SELECT count(*) > 0 FROM pg_stat_activity WHERE {pid} = ANY (pg_blocking_pids(pid)))");
    while ask_on(conn, &waits).await != "true" {
        if ending.is_finished() {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    true
}
