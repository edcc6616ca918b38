//! A full backup and its restore against pgBackRest, on the same server, in turns.
//!
//! pgBackRest is `pgbackrest` on PATH, or what `DB_BACKUP_PGBACKREST` names; without it nothing is measured.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::commands::push_command;
use crate::kills::{CHILD, bytes_below};
use crate::live::Live;
use crate::pgbackrest::{PgBackRest, own};
use crate::{Figure, Size, peak, runtime};

/// Rows as applications have them: they compress to about a third.
const DATA: &str = "CREATE TABLE events AS SELECT i AS id, gen_random_uuid() AS tenant, md5(i::text) AS hash, \
                    now() - i * interval '1 second' AS at, jsonb_build_object('kind', i % 17, 'path', '/a/' || i % 1000, 'ms', \
                    random() * 100, 'note', repeat(md5((i % 5000)::text), 2)) AS body FROM generate_series(1, {rows}) AS i; \
                    ALTER TABLE events ADD PRIMARY KEY (id); CREATE INDEX ON events (hash)";

/// Encrypted, compressed as ours is, by two processes.
const PEER: &str = "repo1-retention-full=1\nrepo1-cipher-type=aes-256-cbc\nrepo1-cipher-pass=swordfish\ncompress-type=zst\ncompress-level=3\nprocess-max=2";

/// The seconds of pairs of runs.
#[derive(Default)]
pub(crate) struct Times {
    pub(crate) ours: Vec<f64>,
    pub(crate) theirs: Vec<f64>,
}

pub(crate) fn measure(size: Size) -> Figure {
    let pairs = if size == Size::Nightly { 30 } else { 5 };
    runtime().block_on(all(pairs))
}

async fn all(pairs: usize) -> Figure {
    let found = PgBackRest::program();
    assert!(found.is_some(), "pgBackRest is needed: install it, or name it");
    let (program, _) = found.unwrap();
    let live = Live::start(None, &[("archive_command", "true"), ("max_wal_size", "8GB")]).await;
    let bytes = fill(&live, 2_800_000).await;
    let peer = PgBackRest::of(&live, program, PEER, 1);
    let (mut backup, mut restore, mut peak) = (Times::default(), Times::default(), 0);
    let mut stored = (0, 0);
    for pair in 0..pairs {
        let (seconds, memory) = ours(&live, "take-included", &live.server.primary_url());
        peak = peak.max(memory);
        backup.ours.push(seconds);
        backup.theirs.push(peer.run(&["--type=full", "backup"]));
        stored =
            (ours_stored(&live).await, bytes_below(&PgBackRest::repository(&live, 1).join("backup/main")));
        let (here, there) = (live.home.path().join("ours"), live.home.path().join("theirs"));
        let (seconds, memory) = ours(&live, "restore", &here.display().to_string());
        peak = peak.max(memory);
        restore.ours.push(seconds);
        std::fs::create_dir(&there).unwrap();
        own(&there);
        let to = format!("--pg1-path={}", there.display());
        restore.theirs.push(peer.run(&[&to, "--type=immediate", "restore"]));
        for directory in [here, there] {
            std::fs::remove_dir_all(directory).unwrap();
        }
        eprintln!("backup-1: pair {} of {pairs}: {backup:?} {restore:?}, {} MB", pair + 1, peak / 1_000_000);
    }
    let push = push_rates(&live, &peer).await;
    let (backups, restores, megabytes) = (backup.ratio(), restore.ratio(), peak as f64 / 1e6);
    Figure {
        value: backups,
        unit: "times pgBackRest's time of a full backup",
        // A backup that is faster because it is larger would not be.
        holds: backups <= 0.60
            && restores <= 0.65
            && megabytes <= 64.0
            && push.0 / push.1 >= 1.3
            && stored.0 as f64 <= stored.1 as f64 * 1.01,
        detail: json!({
            "database_bytes": bytes, "pairs": pairs, "restore_ratio": restores, "peak_memory_mb": megabytes,
            "segments_pushed_a_second": [push.0, push.1], "stored_bytes": [stored.0, stored.1],
            "backup_seconds": [backup.ours, backup.theirs], "restore_seconds": [restore.ours, restore.theirs],
        }),
    }
}

/// How many bytes our newest backup takes.
async fn ours_stored(live: &Live) -> u64 {
    live.cluster().await.backups().await.unwrap().whole.pop().unwrap().figures.stored_bytes
}

/// Fills the server with so many rows, 360 bytes each with their indexes; how many bytes all its databases
/// have then.
pub(crate) async fn fill(live: &Live, rows: usize) -> u64 {
    live.run(&DATA.replace("{rows}", &rows.to_string())).await;
    live.run("VACUUM (FREEZE, ANALYZE)").await;
    live.run("CHECKPOINT").await;
    live.text("SELECT sum(pg_database_size(oid))::text AS t FROM pg_database").await.parse().unwrap()
}

/// How many segments a second the server's archiver gets rid of, with our command and with theirs: the best
/// of three.
async fn push_rates(live: &Live, peer: &PgBackRest) -> (f64, f64) {
    let ours = push_command(&live.home.path().join("store"), &live.keys, &live.home.path().join("spool"));
    let theirs = format!("{} --archive-async archive-push %p", peer.command());
    let (mut best_ours, mut best_theirs) = (0.0_f64, 0.0_f64);
    for _ in 0..3 {
        best_ours = best_ours.max(drained(live, &ours).await);
        best_theirs = best_theirs.max(drained(live, &theirs).await);
        eprintln!("backup-1: {best_ours:.1} and {best_theirs:.1} segments a second");
    }
    (best_ours, best_theirs)
}

/// Fills some segments while nothing is archived, then measures how fast a command archives them.
async fn drained(live: &Live, command: &str) -> f64 {
    live.run("ALTER SYSTEM SET archive_command = ''").await;
    live.run("SELECT pg_reload_conf()").await;
    let first = live.text("SELECT pg_walfile_name(pg_current_wal_lsn())::text AS t").await;
    live.run("CREATE TABLE IF NOT EXISTS filler (tenant uuid, hash text, body jsonb)").await;
    let rows = "INSERT INTO filler SELECT gen_random_uuid(), md5(i::text), jsonb_build_object('n', i, 'note', \
                md5(random()::text)) FROM generate_series(1, 1500000) AS i";
    live.run(rows).await;
    let last = live.text("SELECT pg_walfile_name(pg_switch_wal() - 1)::text AS t").await;
    live.run(&format!("ALTER SYSTEM SET archive_command = '{}'", command.replace('\'', "''"))).await;
    let began = Instant::now();
    live.run("SELECT pg_reload_conf()").await;
    let all = format!("SELECT (last_archived_wal >= '{last}' IS TRUE)::text AS t FROM pg_stat_archiver");
    while live.text(&all).await != "true" {
        assert!(began.elapsed() < Duration::from_secs(300), "the archiver does not get on");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let number = |name: &str| u64::from_str_radix(&name[16..], 16).unwrap();
    (number(&last) + 1).saturating_sub(number(&first)) as f64 / began.elapsed().as_secs_f64()
}

impl Times {
    /// The median of the ratios of the pairs.
    pub(crate) fn ratio(&self) -> f64 {
        let mut ratios: Vec<f64> =
            self.ours.iter().zip(&self.theirs).map(|(ours, theirs)| ours / theirs).collect();
        ratios.sort_by(f64::total_cmp);
        ratios[ratios.len() / 2]
    }
}

impl std::fmt::Debug for Times {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.2?} / {:.2?}", self.ours.last(), self.theirs.last())
    }
}

/// Runs our program; its seconds, and the most memory that it had.
pub(crate) fn ours(live: &Live, what: &str, argument: &str) -> (f64, u64) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let (store, secret) = (live.home.path().join("store"), live.keys.secret_text());
    peak::run(command.args([CHILD, what, &store.display().to_string(), &secret, argument]))
}
