//! A disk that is really full, below the repository and below the spool: archiving falls behind, says why,
//! and catches up when there is room again.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use db_backup::restore::Target;
use db_backup::wal::{self, PushConfig};
use db_backup::{BackupError, Cluster, PhysicalError, VerifyOptions};
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::{Value, json};

use crate::ledger::{ANSWER, create, expected, write};
use crate::live::{Live, home};
use crate::world::files_below;

/// How soon a push must say that there is no room.
const TOLD_WITHIN: Duration = Duration::from_secs(10);
/// How long the archive may take to fill up, or to catch up; the server itself pauses for a minute.
const MOVES_WITHIN: Duration = Duration::from_secs(150);
/// Rows that no compression makes small: about half a segment.
const NOISE: &str = "INSERT INTO noise (body) SELECT string_agg(md5(random()::text), '') FROM \
                     generate_series(1, 200000) AS i GROUP BY i % 4000";

/// What was seen of it.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) problems: Vec<String>,
    pub(crate) detail: Value,
}

/// A file system of its own size, in memory.
struct Disk {
    path: PathBuf,
}

impl Disk {
    /// `None` where this account may not mount.
    fn mount(path: PathBuf, size: &str) -> Option<Disk> {
        std::fs::create_dir(&path).unwrap();
        let mounted = run("mount", &["-t", "tmpfs", "-o", &format!("size={size},mode=0777"), "tmpfs"], &path);
        mounted.then_some(Disk { path })
    }

    fn resize(&self, size: &str) {
        assert!(run("mount", &["-o", &format!("remount,size={size}")], &self.path), "remount");
    }

    /// Leaves no room.
    fn fill(&self) {
        let zeros = vec![0; 1 << 20];
        let mut file = std::fs::File::create(self.path.join("filler")).unwrap();
        while std::io::Write::write(&mut file, &zeros).is_ok_and(|written| written > 0) {}
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        run("umount", &["--lazy"], &self.path);
    }
}

fn run(program: &str, arguments: &[&str], path: &Path) -> bool {
    let status = Command::new(program).args(arguments).arg(path).stderr(std::process::Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// `None` where this account may not mount a file system.
pub(crate) async fn full_disk() -> Option<Seen> {
    let home = home();
    let store = Disk::mount(home.path().join("store"), "24m")?;
    let spool = Disk::mount(home.path().join("spool"), "64k")?;
    let place = store.path.clone();
    let live = Live::start_at(home, place, None, &[("max_wal_size", "2GB")], 0).await;
    create(&live).await;
    live.take().await;
    spool.fill();
    let mut random = StdRng::seed_from_u64(5);
    let mut problems = Vec::new();
    let mut number = 1;
    let mut commit = async || {
        live.run(NOISE).await;
        write(&live, number..number + 1, &mut random).await;
        number += 1;
        number
    };
    let began = Instant::now();
    let failures = "SELECT failed_count::text AS t FROM pg_stat_archiver";
    while live.text(failures).await == "0" && began.elapsed() < MOVES_WITHIN {
        commit().await;
    }
    if live.text(failures).await == "0" {
        problems.push("the disk is full, and archiving does not fail".to_owned());
    }
    // What is acknowledged while nothing can be archived stays with the server.
    for _ in 0..6 {
        commit().await;
    }
    let told = one_push(&live).await;
    problems.extend(told.as_ref().err().cloned());
    problems.extend(half_objects(&store.path).await);
    let behind = live.text(BEHIND).await;
    store.resize("1g");
    let began = Instant::now();
    let caught_up = catches_up(&live).await;
    if !caught_up {
        problems.push("archiving does not catch up".to_owned());
    }
    let seconds = began.elapsed().as_secs_f64();
    let last = commit().await - 1;
    if caught_up {
        live.archive().await;
        problems.extend(whole(&live.cluster().await).await);
        problems.extend(restored(&live, last).await);
    }
    problems.extend(half_objects(&store.path).await);
    let detail = json!({
        "told": told.ok(), "segments_behind": behind, "caught_up_after_seconds": seconds, "commits": last,
    });
    // The server goes first, and with it what keeps files on the disks open.
    drop(live);
    Some(Seen { problems, detail })
}

/// How many segments the server still keeps for the archive.
const BEHIND: &str = "SELECT count(*)::text AS t FROM pg_ls_archive_statusdir() WHERE name LIKE '%.ready'";

async fn catches_up(live: &Live) -> bool {
    let began = Instant::now();
    while live.text(BEHIND).await != "0" {
        if began.elapsed() > MOVES_WITHIN {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    true
}

/// Pushes a segment that waits, as the server does: it must say at once that there is no room.
async fn one_push(live: &Live) -> Result<String, String> {
    let sql = "SELECT min(name) AS t FROM pg_ls_archive_statusdir() WHERE name LIKE '%.ready'";
    let name = live.text(sql).await.replace(".ready", "");
    let path = live.server.dir().join("node1/pg_wal").join(&name);
    let spool = tempfile::tempdir().unwrap();
    let began = Instant::now();
    let pushed = wal::push(&live.repository, &path, &PushConfig::new(spool.path())).await;
    match pushed {
        Err(PhysicalError::Repository(error @ BackupError::Full { .. })) if began.elapsed() < TOLD_WITHIN => {
            Ok(error.to_string())
        }
        other => Err(format!("a push to a full disk took {:?} and said {other:?}", began.elapsed())),
    }
}

/// Files of puts that were not finished. One may be under way, so it is looked until there is none.
async fn half_objects(store: &Path) -> Option<String> {
    let began = Instant::now();
    loop {
        let mut halves = files_below(store).into_iter().filter(|path| path.to_string_lossy().contains('#'));
        let half = halves.next()?;
        if began.elapsed() > TOLD_WITHIN {
            return Some(format!("{} is left", half.display()));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn whole(cluster: &Cluster) -> Option<String> {
    let verdict = cluster.verify(VerifyOptions::default()).await.unwrap();
    (!verdict.holds()).then(|| format!("{:?}", verdict.findings))
}

async fn restored(live: &Live, last: u64) -> Option<String> {
    match live.restored(&live.restore_to("after", Target::Latest)).await {
        Err(error) => Some(error.to_string()),
        Ok(mut server) => match server.ready() {
            Err(log) => Some(log),
            Ok(()) => {
                let found = server.psql(ANSWER);
                (found != expected(last)).then(|| format!("{found} instead of {}", expected(last)))
            }
        },
    }
}
