//! backup-3: kill -9 of a backup, an archive_command, a restore, an expiry and a copy at random points, and
//! what comes after it.
//!
//! It fails where a restore that did not finish is not told from a directory that somebody uses, and where
//! segments are not stored in their order.

use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant, SystemTime};

use db_backup::restore::{self, RestoreConfig, Target};
use db_backup::take::{TakeConfig, WalSource, take};
use db_backup::{BackupId, Cluster, Compression, Keys, Repository, RetentionPolicy, Store};
use db_testkit::Restored;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;

use crate::kills_import;
use crate::kills_repository::{self, Copies, Expiries};
use crate::ledger::{ANSWER, create, expected, write};
use crate::live::Live;
use crate::world::files_below;
use crate::{Figure, Size, commands, runtime};

/// The word that makes this program the one that gets killed: then what it does, the store, the key, and an
/// argument.
pub(crate) const CHILD: &str = "killed-child";

/// What is killed, in turns.
const KINDS: [&str; 5] = ["take", "push", "restore", "expire", "copy"];

/// What nobody has touched for so long is garbage.
const A_DAY_AND_AN_HOUR: Duration = Duration::from_secs(25 * 3600);

#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) problems: Vec<String>,
    /// How many of each kind were killed.
    pub(crate) killed: [usize; 5],
    ended_before: usize,
}

pub(crate) fn child(arguments: &[String]) -> ExitCode {
    let at = arguments.iter().position(|argument| argument == CHILD).unwrap();
    let [what, store, key, argument] = &arguments[at + 1..at + 5] else { return ExitCode::from(2) };
    let done = runtime().block_on(async {
        let keys = Keys::from_text(key).unwrap();
        let repository =
            Repository::open(Store::local(store).unwrap(), &keys).await.map_err(|error| error.to_string())?;
        match what.as_str() {
            "take" | "take-included" | "take-incremental" => {
                let mut config = TakeConfig::new(argument.parse().unwrap());
                if what != "take" {
                    config.wal = WalSource::Included;
                    config.writer.compression = Compression::Zstd(3);
                }
                if what == "take-incremental" {
                    let cluster = repository.cluster(repository.clusters().await.unwrap()[0]);
                    config.parent = cluster.backups().await.unwrap().whole.pop().map(|backup| backup.id);
                }
                take(&repository, &config, &|_| ()).await.map(drop).map_err(|error| error.to_string())
            }
            "expire" => kills_repository::expire(&repository).await,
            "import" => kills_import::import(&repository, Path::new(argument)).await,
            "copy" => {
                let to = Repository::open(Store::local(argument).unwrap(), &keys).await;
                kills_repository::copy(&repository, &to.map_err(|error| error.to_string())?).await
            }
            _ => {
                let cluster = repository.cluster(repository.clusters().await.unwrap()[0]);
                let target = if what == "restore-latest" { Target::Latest } else { Target::Consistent };
                let config = to(argument, target);
                let plan = restore::plan(&cluster, &config).await.map_err(|error| error.to_string())?;
                restore::apply(&cluster, &config, &plan, &|_| ())
                    .await
                    .map(drop)
                    .map_err(|error| error.to_string())
            }
        }
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Names what the restored server runs to get a file of the log.
const FETCH: &str = "DB_BACKUP_TEST_FETCH";

fn to(directory: &str, target: Target) -> RestoreConfig {
    let restore_command = std::env::var(FETCH).unwrap_or_else(|_| "false".to_owned());
    RestoreConfig { target, restore_command, ..RestoreConfig::to(directory) }
}

pub(crate) fn measure(size: Size) -> Figure {
    let points = if size == Size::Nightly { 1_000 } else { 200 };
    runtime().block_on(all(points))
}

async fn all(points: usize) -> Figure {
    let live = Live::start(None, &[]).await;
    let mut random = StdRng::seed_from_u64(3);
    create(&live).await;
    live.run("INSERT INTO noise (body) SELECT repeat(md5(i::text), 30) FROM generate_series(1, 6000) AS i")
        .await;
    let mut read = live.take().await.summary.id;
    let mut tally = Tally::default();
    let mut numbers = 1;
    let url = live.server.primary_url();
    let store = live.home.path().join("store");
    let mut took = whole(|| spawn(&live, "take", &url), &store, "take", &mut tally);
    let directory = live.home.path().join("whole");
    let mut restored =
        whole(|| spawn(&live, "restore", &path(&live, "whole")), &directory, "restore", &mut tally);
    let mut pushed = first_push(&live, &mut tally).await;
    let mut expiries = Expiries::new(&mut tally).await;
    let mut copies = Copies::new(&mut tally).await;
    for point in 0..points {
        match KINDS[point % KINDS.len()] {
            "take" => {
                write(&live, numbers..numbers + 3, &mut random).await;
                numbers += 3;
                tally.kill(0, || spawn(&live, "take", &url), &store, &mut took, &mut random).await;
                after_take(&live, &mut read, &mut tally).await;
            }
            "push" => kill_push(&live, &mut pushed, &mut random, &mut tally).await,
            "restore" => {
                let restore = || spawn(&live, "restore", &path(&live, "killed"));
                let directory = live.home.path().join("killed");
                tally.kill(2, restore, &directory, &mut restored, &mut random).await;
                after_restore(&live, &mut tally).await;
            }
            "expire" => expiries.kill(3, &mut random, &mut tally).await,
            _ => copies.kill(4, &mut random, &mut tally).await,
        }
        eprintln!("backup-3: point {} of {points}, {} problems", point + 1, tally.problems.len());
    }
    copies.source_is_whole(&mut tally).await;
    live.archive().await;
    nothing_is_lost(&live, numbers - 1, &mut tally).await;
    let garbage = what_stays(&store, &live.cluster().await).await;
    tally.problems.extend(garbage.iter().map(|path| format!("no expiry removes {path}")));
    tally.figure(points)
}

impl Tally {
    pub(crate) fn problem(&mut self, what: String) {
        eprintln!("backup-3: {what}");
        self.problems.push(what);
    }

    /// Starts a child and kills it: after a part of the time that it takes as a whole, or, where that would
    /// hit nothing but its beginning and its end, once a part of what it does to the files in `watched` is
    /// done.
    pub(crate) async fn kill(
        &mut self,
        kind: usize,
        start: impl FnOnce() -> Child,
        watched: &Path,
        whole: &mut Whole,
        random: &mut StdRng,
    ) {
        let before = bytes_below(watched);
        let mut child = start();
        if random.random_bool(0.5) {
            // The point is in the child's time, which nothing but a clock can name.
            tokio::time::sleep(whole.time.mul_f64(random.random_range(0.02..0.95))).await;
        } else {
            let enough = (whole.bytes as f64 * random.random_range(0.0..0.95)) as u64 + 1;
            while bytes_below(watched).abs_diff(before) < enough && child.try_wait().unwrap().is_none() {
                tokio::task::yield_now().await;
            }
        }
        if child.try_wait().unwrap().is_none() {
            child.kill().unwrap();
            self.killed[kind] += 1;
            // Busier or quieter than when it was timed: the points stay spread over all of it.
            whole.time = whole.time.mul_f64(1.05);
        } else {
            whole.time = whole.time.mul_f64(0.8);
            self.ended_before += 1;
        }
        child.wait().unwrap();
    }

    fn figure(self, points: usize) -> Figure {
        let killed: Vec<_> = KINDS.iter().zip(self.killed).collect();
        Figure {
            value: self.problems.len() as f64,
            unit: "broken backups, lost commits and runs that do not go on or clean up",
            // Kills that hit nothing would prove nothing.
            holds: self.problems.is_empty() && self.killed.iter().all(|killed| killed * 10 >= points),
            detail: json!({
                "points": points, "killed": killed, "ended_before": self.ended_before, "problems": self.problems,
            }),
        }
    }
}

fn path(live: &Live, name: &str) -> String {
    live.home.path().join(name).display().to_string()
}

fn spawn(live: &Live, what: &str, argument: &str) -> Child {
    let fetch = live.restore_to("unused", Target::Consistent).restore_command;
    spawn_on(&live.home.path().join("store"), &live.keys, what, argument, &fetch)
}

/// Starts this program as one that gets killed.
pub(crate) fn spawn_on(store: &Path, keys: &Keys, what: &str, argument: &str, fetch: &str) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let (store, secret) = (store.display().to_string(), keys.secret_text());
    command.args([CHILD, what, &store, &secret, argument]).env(FETCH, fetch);
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// What a child takes that nobody disturbs.
pub(crate) struct Whole {
    time: Duration,
    /// By how much it changes the size of the files that are watched.
    bytes: u64,
}

pub(crate) fn whole(start: impl FnOnce() -> Child, watched: &Path, what: &str, tally: &mut Tally) -> Whole {
    let (began, before) = (Instant::now(), bytes_below(watched));
    if !start().wait().unwrap().success() {
        tally.problem(format!("a {what} that nobody disturbs fails"));
    }
    Whole { time: began.elapsed(), bytes: bytes_below(watched).abs_diff(before) }
}

/// The bytes of the files below a directory in which somebody works.
pub(crate) fn bytes_below(directory: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(directory) else { return 0 };
    let bytes = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(about) if about.is_dir() => bytes_below(&entry.path()),
        Ok(about) => about.len(),
        Err(_) => 0,
    };
    entries.flatten().map(bytes).sum()
}

/// Each backup that is published can be read; `read` is the newest that was.
async fn after_take(live: &Live, read: &mut BackupId, tally: &mut Tally) {
    let cluster = live.cluster().await;
    let backups = cluster.backups().await.unwrap();
    if !backups.damaged.is_empty() {
        tally.problem(format!("after a kill of take: {:?}", backups.damaged));
    }
    let Some(newest) = backups.whole.last().filter(|newest| newest.id != *read) else { return };
    *read = newest.id.clone();
    if let Err(error) = read_all(&cluster, &newest.id).await {
        tally.problem(format!("{}: {error}", newest.id));
    }
}

/// Reads every chunk of a backup.
pub(crate) async fn read_all(cluster: &Cluster, id: &BackupId) -> Result<(), String> {
    let manifest = cluster.manifest(id).await.map_err(|error| error.to_string())?;
    let reader = cluster.reader(&manifest, 2);
    for number in 0..reader.chunks() {
        reader.chunk(number).await.map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// How many segments are ready when a push begins: it archives all of them.
const READY: usize = 5;

/// Lets some segments become ready that the server does not archive now; the first of them.
async fn ready(live: &Live) -> String {
    live.archive().await;
    live.run("ALTER SYSTEM SET archive_command = ''").await;
    live.run("SELECT pg_reload_conf()").await;
    let mut first = None;
    for _ in 0..READY {
        live.run(
            "INSERT INTO noise (body) SELECT repeat(md5(i::text), 30) FROM generate_series(1, 1500) AS i",
        )
        .await;
        let segment = live.text("SELECT pg_walfile_name(pg_switch_wal() - 1)::text AS t").await;
        first.get_or_insert(segment);
    }
    first.unwrap()
}

/// The server archives again, and all of it.
async fn archive_again(live: &Live) {
    live.run("ALTER SYSTEM RESET archive_command").await;
    live.run("SELECT pg_reload_conf()").await;
    live.archive().await;
}

/// A push of what is ready, with the server's own spool.
fn push(live: &Live, segment: &str) -> Child {
    let (store, spool) = (live.home.path().join("store"), live.home.path().join("spool"));
    let command = commands::push_command(&store, &live.keys, &spool);
    let command = command.replace("%p", &format!("pg_wal/{segment}"));
    let mut shell = Command::new("/bin/sh");
    shell.arg("-c").arg(format!("exec env {command}")).current_dir(live.server.dir().join("node1"));
    shell.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

async fn first_push(live: &Live, tally: &mut Tally) -> Whole {
    let segment = ready(live).await;
    let whole = whole(|| push(live, &segment), &live.home.path().join("store"), "push", tally);
    archive_again(live).await;
    whole
}

/// Kills a push of several segments. Were the server lost in that moment, what is archived must lead to its
/// own end; and the server goes on with what is missing.
async fn kill_push(live: &Live, pushed: &mut Whole, random: &mut StdRng, tally: &mut Tally) {
    let segment = ready(live).await;
    let store = live.home.path().join("store");
    tally.kill(1, || push(live, &segment), &store, pushed, random).await;
    let config = live.restore_to("never", Target::Latest);
    if let Err(error) = restore::plan(&live.cluster().await, &config).await {
        tally.problem(format!("after a kill of push the archive does not lead to its end: {error}"));
    }
    archive_again(live).await;
}

/// A restore that was killed goes on, and its server has what the backup had.
async fn after_restore(live: &Live, tally: &mut Tally) {
    let config = live.restore_to("killed", Target::Consistent);
    let has_control = config.directory.join("global/pg_control").exists();
    let cluster = live.cluster().await;
    let went_on = match restore::plan(&cluster, &config).await {
        _ if has_control => Ok(()),
        Ok(plan) => restore::apply(&cluster, &config, &plan, &|_| ()).await.map(drop),
        Err(error) => Err(error),
    };
    match went_on {
        Err(error) => tally.problem(format!("a restore does not go on: {error}")),
        Ok(()) => {
            let mut server = Restored::start(&config.directory, "app");
            match server.ready() {
                Ok(()) => {
                    let answer = server.psql("SELECT count(*) FROM noise WHERE id <= 6000");
                    if answer != "6000" {
                        tally.problem(format!("a restore that went on has {answer} rows"));
                    }
                }
                Err(log) => tally.problem(format!("a restore that went on does not start: {log}")),
            }
        }
    }
    let _ = std::fs::remove_dir_all(&config.directory);
}

async fn nothing_is_lost(live: &Live, last: u64, tally: &mut Tally) {
    match live.restored(&live.restore_to("last", Target::Latest)).await {
        Ok(mut server) => match server.ready() {
            Ok(()) => {
                let found = server.psql(ANSWER);
                if found != expected(last) {
                    tally.problem(format!("in the end {found} instead of {}", expected(last)));
                }
            }
            Err(log) => tally.problem(format!("in the end: {log}")),
        },
        Err(error) => tally.problem(format!("in the end: {error}")),
    }
}

/// What the runs that were killed have left, and an expiry a day later does not remove.
pub(crate) async fn what_stays(store: &Path, cluster: &Cluster) -> Vec<String> {
    let backups = cluster.backups().await.unwrap().whole;
    let is_published = |path: &str| backups.iter().any(|backup| path.contains(backup.id.as_str()));
    let is_garbage = |path: &str| {
        path.contains("/backups/") && !is_published(path) || path.rsplit('/').next().unwrap().contains('#')
    };
    let left = || {
        let files = files_below(store).into_iter().map(|path| path.display().to_string());
        files.filter(|path| is_garbage(path)).collect::<Vec<_>>()
    };
    for path in left() {
        let file = std::fs::File::options().write(true).open(path).unwrap();
        file.set_modified(SystemTime::now() - A_DAY_AND_AN_HOUR).unwrap();
    }
    let keep = RetentionPolicy { last: 10_000, ..RetentionPolicy::NOTHING };
    let expiry = cluster.expiry(&keep).await.unwrap();
    cluster.expire(&expiry).await.unwrap();
    left()
}
