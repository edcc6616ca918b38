//! How long a test waits for its database: a clone of the reference schema against a clone of an empty one.
//!
//! It prints one JSON object a line on standard output and its progress on standard error.

use db_testkit::{Cluster, TestDatabase};
use diesel_async::{AsyncPgConnection, SimpleAsyncConnection};
use std::error::Error;
use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

const PAIRS: usize = 40;
const WARM_UP: usize = 5;
/// What the issue promises, in milliseconds.
const TARGET: f64 = 60.0;
const CHILD: &str = "DB_TESTKIT_BENCH_CHILD";

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> Result<()> {
    let area = std::env::args().skip(1).find(|argument| !argument.starts_with("--"));
    if !matches!(area.as_deref(), Some("first" | "testkit")) {
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    if std::env::var_os(CHILD).is_some() {
        return runtime.block_on(measure());
    }
    // A server of its own, of the version that is promised for, with the kit's usual settings: fsync is off.
    let cluster = runtime.block_on(Cluster::builder().version(15).start())?;
    let mut again = Command::new(std::env::current_exe()?);
    again.args(["testkit"]).env(CHILD, "1").env("DB_TESTKIT_URL", cluster.primary_url());
    let status = again.status()?;
    drop(cluster);
    if status.success() { Ok(()) } else { Err("the measuring process ended with an error".into()) }
}

async fn measure() -> Result<()> {
    let files = migrations()?;
    let hash: String = files.iter().map(|(name, sql)| format!("{name}\n{sql}\n")).collect();
    let mut seen = None;
    let (mut ours, mut peer) = (Vec::new(), Vec::new());
    for pair in 0..WARM_UP + PAIRS {
        let (migrated, empty);
        // Whoever comes second finds warmer caches: they take turns.
        if pair % 2 == 0 {
            migrated = migrated_clone(&hash, &files, &mut seen).await?;
            empty = empty_clone().await?;
        } else {
            empty = empty_clone().await?;
            migrated = migrated_clone(&hash, &files, &mut seen).await?;
        }
        if pair >= WARM_UP {
            ours.push(migrated);
            peer.push(empty);
        }
    }
    let mut ratios: Vec<f64> = ours.iter().zip(&peer).map(|(ours, peer)| ours / peer).collect();
    let (low, high) = interval(&mut ratios);
    let (ratio, ours, peer) = (median(&mut ratios), median(&mut ours), median(&mut peer));
    // The file system decides: making 300 files takes a millisecond in memory and a quarter of a second on
    // some disks.
    let (size, place) = seen.unwrap_or_default();
    let line = serde_json::json!({
        "bench": "testkit-clone", "ours": round(ours), "peer": round(peer),
        "peer_name": "clone of an empty database", "unit": "ms", "ratio": round(ratio),
        "interval": [round(low), round(high)], "target": TARGET, "holds": ours <= TARGET,
        "detail": format!("{} migrations, {} kB, {PAIRS} pairs, fsync off, WAL_LOG, in {place}", files.len(), size / 1024),
    });
    writeln!(io::stdout(), "{line}")?;
    Ok(())
}

async fn migrated_clone(
    hash: &str,
    files: &[(String, String)],
    seen: &mut Option<(i64, String)>,
) -> Result<f64> {
    let start = Instant::now();
    let database = TestDatabase::from_template(hash, async |conn| migrate(conn, files).await).await?;
    let took = start.elapsed().as_secs_f64() * 1000.0;
    if seen.is_none() {
        let (client, connection) = tokio_postgres::connect(database.url(), tokio_postgres::NoTls).await?;
        let connection = tokio::spawn(connection);
        let sql = "SELECT pg_database_size(current_database()), current_setting('data_directory')";
        let row = client.query_one(sql, &[]).await?;
        *seen = Some((row.try_get(0)?, row.try_get(1)?));
        drop(client);
        connection.await??;
    }
    Ok(took)
}

async fn empty_clone() -> Result<f64> {
    let start = Instant::now();
    let _database = TestDatabase::empty().await?;
    Ok(start.elapsed().as_secs_f64() * 1000.0)
}

async fn migrate(conn: &mut AsyncPgConnection, files: &[(String, String)]) -> Result<()> {
    for (name, sql) in files {
        conn.batch_execute(sql).await.map_err(|error| format!("{name}: {error}"))?;
    }
    Ok(())
}

fn migrations() -> Result<Vec<(String, String)>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../migrations");
    let mut files = Vec::new();
    for entry in fs::read_dir(&dir)? {
        let entry = entry?;
        let file = entry.path().join("up.sql");
        if file.is_file() {
            files.push((entry.file_name().to_string_lossy().into_owned(), fs::read_to_string(file)?));
        }
    }
    files.sort();
    if files.is_empty() {
        return Err(format!("no migrations in {}", dir.display()).into());
    }
    Ok(files)
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 }
}

/// The 95 % interval of the median, from order statistics.
fn interval(values: &mut [f64]) -> (f64, f64) {
    values.sort_by(f64::total_cmp);
    let count = values.len() as f64;
    let reach = 0.98 * count.sqrt();
    let low = (count / 2.0 - reach).floor().max(0.0) as usize;
    let high = ((count / 2.0 + reach).ceil() as usize).min(values.len() - 1);
    (values[low], values[high])
}

fn round(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}
