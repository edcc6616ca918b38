//! backup-1d: how much memory each command of `dbctl` has at most, as the kernel counts.

use std::path::Path;
use std::process::Command;

use db_testkit::claims::{Figure, Size};
use serde_json::{Map, Value, json};

use crate::peak;
use crate::server::{DBCTL, Live};

/// The most memory that is promised.
const MOST_MB: f64 = 64.0;

/// Half of the rows are random and hardly compress, the other half do to a third.
const DATA: &str = "CREATE TABLE events AS SELECT i AS id, md5(i::text) AS hash, jsonb_build_object('kind', i % 17, 'note', \
                    repeat(md5((i % 5000)::text), 5)) AS body FROM generate_series(1, {rows}) AS i; \
                    CREATE TABLE noise AS SELECT gen_random_uuid() AS a, gen_random_uuid() AS b, gen_random_uuid() AS c, \
                    gen_random_uuid() AS d, gen_random_uuid() AS e, gen_random_uuid() AS f, gen_random_uuid() AS g, \
                    gen_random_uuid() AS h FROM generate_series(1, {rows} * 3 / 2)";

/// How many rows make 100 MB.
const ROWS_OF_100_MB: usize = 190_000;

pub(crate) fn measure(size: Size) -> Figure {
    let sizes: &[usize] = if size == Size::Nightly { &[1, 10, 50] } else { &[1, 10] };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (mut most, mut seen) = (0.0_f64, Vec::new());
    for hundreds in sizes {
        let (bytes, peaks) = runtime.block_on(peaks(hundreds * ROWS_OF_100_MB));
        most = peaks.values().filter_map(Value::as_f64).fold(most, f64::max);
        eprintln!("backup-1d: {} MB: {peaks:?}", bytes / 1_000_000);
        seen.push(json!({ "database_bytes": bytes, "peak_mb": peaks }));
    }
    Figure { value: most, unit: "MB", holds: most <= MOST_MB, detail: json!(seen) }
}

/// The bytes of a database with so many rows, and the peak of each command on it.
async fn peaks(rows: usize) -> (u64, Map<String, Value>) {
    let live = Live::start_with("BACKUP_COMPRESSION=zstd:3\nAPP_ENV=test", &[("max_wal_size", "8GB")]).await;
    live.json(&["backup", "init"]).await;
    live.run("ALTER SYSTEM SET archive_command = ''").await;
    live.run("SELECT pg_reload_conf()").await;
    let first = live.ask("pg_walfile_name(pg_current_wal_lsn())").await;
    live.run(&DATA.replace("{rows}", &rows.to_string())).await;
    live.run("CHECKPOINT").await;
    live.ask("pg_switch_wal()").await;
    let bytes = live.ask("SELECT sum(pg_database_size(oid)) FROM pg_database").await.parse().unwrap();
    let data = live.server.dir().join("node1");
    let (copy, spool, scratch) = (live.path("copy"), live.path("spool"), live.path("scratch"));
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let segment = text(&data.join("pg_wal").join(&first));
    let target = text(&copy.join("pg_wal/RECOVERYXLOG"));
    let mut peaks = Map::new();
    let mut run = |name: &str, arguments: &[&str]| {
        peaks.insert(name.to_owned(), json!(peak(&live, arguments)));
    };
    run("wal push", &["wal", "push", &segment, "--spool", &text(&spool)]);
    run("take", &["backup", "take", "--include-log"]);
    run("restore", &["backup", "restore", "--to", &text(&copy), "--consistent", "--yes"]);
    run("wal fetch", &["wal", "fetch", &first, &target, "--spool", &text(&live.path("ahead"))]);
    // What the server has not archived yet is a gap, which is for the server to close.
    live.run("ALTER SYSTEM RESET archive_command").await;
    live.run("SELECT pg_reload_conf()").await;
    live.archive().await;
    let mut run = |name: &str, arguments: &[&str]| {
        peaks.insert(name.to_owned(), json!(peak(&live, arguments)));
    };
    run("verify", &["backup", "verify"]);
    run("rehearse", &["backup", "rehearse", "--scratch", &text(&scratch)]);
    (bytes, peaks)
}

/// Runs `dbctl`, which must succeed; the most memory that it had, in MB.
fn peak(live: &Live, arguments: &[&str]) -> f64 {
    let mut command = Command::new(DBCTL);
    let (_, peak) = peak::run(command.arg("--settings").arg(live.path("dbctl.env")).args(arguments));
    peak as f64 / 1e6
}
