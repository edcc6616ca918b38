//! migrations-14: how much memory `dbctl migrate plan` and `apply` have at most, as the kernel counts, on a
//! set of 100 MB.

use std::fmt::Write as _;
use std::path::Path;

use db_testkit::claims::{Figure, Size};
use db_testkit::{Cluster, TestDatabase};
use diesel_async::SimpleAsyncConnection;
use serde_json::{Map, Value, json};

use crate::peak;
use crate::run::{ask_on, program};

const MOST_MB: f64 = 300.0;
const SET_BYTES: usize = 100_000_000;

/// How a set is cut: so many migrations, so many bytes in each statement, and what is run on it. A million
/// statements take minutes to apply.
const SHAPES: [(&str, usize, usize, &[&str]); 2] = [
    ("a million statements in 40 files", 40, 100, &["plan", "status", "validate"]),
    ("a thousand files", 1_000, 5_000, &["plan", "apply", "status", "validate"]),
];

const TABLES: usize = 6_000;

pub(crate) fn measure(_: Size) -> Figure {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (mut most, mut seen) = (0.0_f64, Vec::new());
    for (name, files, bytes, commands) in SHAPES {
        let peaks = runtime.block_on(peaks(files, bytes, commands));
        most = peaks.values().filter_map(Value::as_f64).fold(most, f64::max);
        eprintln!("migrations-14: {name}: {peaks:?}");
        seen.push(json!({ "set": name, "peak_mb": peaks }));
    }
    let reset = runtime.block_on(reset());
    let resets = reset == "reset" || reset.contains("max_locks_per_transaction");
    seen.push(json!({ "reset_of_6000_tables": reset }));
    Figure { value: most, unit: "MB", holds: most <= MOST_MB && resets, detail: json!(seen) }
}

/// The peak of each command on such a set.
async fn peaks(files: usize, bytes: usize, commands: &[&str]) -> Map<String, Value> {
    let database = TestDatabase::empty().await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let statements = write_set(directory.path(), files, bytes);
    let settings = [("DATABASE_URL", database.url())];
    let dir = directory.path().to_str().unwrap();
    let mut peaks = Map::new();
    for command in commands {
        let mut program = program(&settings, &["migrate", command, "--dir", dir]);
        let (_, peak) =
            tokio::task::block_in_place(|| peak::run(program.stderr(std::process::Stdio::null())));
        peaks.insert((*command).to_owned(), json!(peak as f64 / 1e6));
    }
    if commands.contains(&"apply") {
        let mut conn = database.connect().await.unwrap();
        assert_eq!(ask_on(&mut conn, "(SELECT count(*) FROM sink)").await, statements.to_string());
    }
    peaks
}

/// Writes migrations, and says how many rows they insert.
fn write_set(directory: &Path, files: usize, bytes: usize) -> usize {
    let mut rows = 0;
    for number in 0..files {
        let path = directory.join(format!("{number:06}_part"));
        std::fs::create_dir(&path).unwrap();
        let mut text =
            if number == 0 { "CREATE TABLE sink (id int, said text);\n".to_owned() } else { String::new() };
        let said = "x".repeat(bytes.saturating_sub(40));
        while text.len() < SET_BYTES / files {
            let _ = writeln!(text, "INSERT INTO sink VALUES ({rows}, '{said}');");
            rows += 1;
        }
        std::fs::write(path.join("up.sql"), text).unwrap();
    }
    rows
}

/// `reset` or what dbctl says, of a schema of 6,000 tables on a server with room for few locks.
async fn reset() -> String {
    let few = [("max_locks_per_transaction", "10"), ("max_connections", "20")];
    let builder =
        few.iter().fold(Cluster::builder(), |builder, (name, value)| builder.setting(*name, *value));
    let cluster = builder.start().await.unwrap();
    let mut conn = cluster.connect(cluster.primary()).await.unwrap();
    for from in (1..=TABLES).step_by(50) {
        let make = format!(
            "DO $$ BEGIN FOR n IN {from}..{} LOOP EXECUTE format('CREATE TABLE t%s (id int)', n); END LOOP; END $$",
            from + 49
        );
        conn.batch_execute(&make).await.unwrap();
    }
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("1_one")).unwrap();
    std::fs::write(directory.path().join("1_one/up.sql"), "CREATE TABLE one ()").unwrap();
    let url = cluster.primary_url();
    let dir = directory.path().to_str().unwrap();
    let run = crate::run::dbctl(
        &[("DATABASE_URL", url.as_str()), ("APP_ENV", "test")],
        &["migrate", "reset", "--yes", "--dir", dir],
    )
    .await;
    let left = "(SELECT count(*) FROM pg_tables WHERE schemaname = 'public' AND tablename LIKE 't%')";
    match run.code {
        Some(0) => {
            assert_eq!(ask_on(&mut conn, left).await, "0");
            "reset".to_owned()
        }
        _ => run.err,
    }
}
