//! What a crash of the server loses of a load: with a receiver to a local repository and to an object store,
//! with a synchronous one, and with archive_command alone.
//!
//! Two things are measured. Of each commit, how long after its answer the server knew it to be in the
//! repository. And of each kill -9, how old the oldest commit was that the restored server lacks.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use db_backup::restore::Target;
use db_backup::session::Plain;
use db_backup::take::{TakeConfig, WalSource, take};
use db_backup::wal::{ReceiveConfig, receive};
use db_core::Lsn;
use diesel_async::{AsyncPgConnection, SimpleAsyncConnection};
use rand::RngExt;
use rand::rngs::StdRng;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::live::{Live, home};

/// How many sessions commit at once.
const WRITERS: usize = 4;
/// How long the load runs before a crash, at least and at most.
const LOAD: (u64, u64) = (1_500, 3_000);

/// How the log gets into the repository.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    Receiver,
    SynchronousReceiver,
    /// archive_command, with this archive_timeout in seconds.
    Push(u64),
}

/// What crashes have lost.
#[derive(Default)]
pub(crate) struct Loss {
    crashes: usize,
    acknowledged: usize,
    lost: usize,
    /// Of each crash, the age of the oldest commit that was lost, in seconds.
    ages: Vec<f64>,
    /// Of each commit, how long after its answer it was stored, in seconds.
    delays: Vec<f64>,
    /// Of each crash, how long a finished segment has waited for archive_command at most, in seconds.
    waits: Vec<f64>,
    pub(crate) problems: Vec<String>,
}

impl Loss {
    /// The time within which 99 of 100 commits are stored, in seconds.
    pub(crate) fn p99(&self) -> f64 {
        let mut delays = self.delays.clone();
        delays.sort_by(f64::total_cmp);
        delays.get(delays.len() * 99 / 100).copied().unwrap_or(f64::INFINITY)
    }

    pub(crate) fn oldest(&self) -> f64 {
        self.ages.iter().copied().fold(0.0, f64::max)
    }

    /// Whether no crash has lost anything, and there was something to lose.
    pub(crate) fn nothing(&self) -> bool {
        self.problems.is_empty() && self.lost == 0 && self.acknowledged > 0
    }

    pub(crate) fn within(&self, seconds: f64) -> bool {
        self.problems.is_empty() && self.acknowledged > 0 && self.oldest() <= seconds
    }

    /// Whether each crash has lost at most what this many seconds, and one archive_command after them, leave.
    pub(crate) fn within_and_one_push(&self, seconds: f64) -> bool {
        let mut crashes = self.ages.iter().zip(&self.waits);
        self.problems.is_empty() && self.acknowledged > 0 && crashes.all(|(age, wait)| *age <= seconds + wait)
    }

    pub(crate) fn detail(&self) -> Value {
        let mut detail = json!({
            "crashes": self.crashes, "commits": self.acknowledged, "lost": self.lost, "ages_of_the_lost": self.ages,
            "problems": self.problems,
        });
        if !self.waits.is_empty() {
            detail["segments_waited_seconds"] = json!(self.waits);
        }
        if !self.delays.is_empty() {
            detail["p99_seconds"] = json!(self.p99());
        }
        detail
    }
}

/// Crashes a server under load so many times. The repository is at `place`, or else a directory.
pub(crate) async fn crashes(by: By, place: Option<PathBuf>, times: usize, random: &mut StdRng) -> Loss {
    let home = home();
    let place = place.unwrap_or_else(|| home.path().join("store"));
    let timeout = if let By::Push(seconds) = by { seconds } else { 0 }.to_string();
    let archives = if matches!(by, By::Push(_)) { "on" } else { "off" };
    let settings = [("archive_mode", archives), ("archive_timeout", timeout.as_str())];
    let live = Live::start_at(home, place, None, &settings, 0).await;
    live.run("CREATE TABLE commits (n bigint PRIMARY KEY)").await;
    let config = TakeConfig { wal: WalSource::Included, ..live.config() };
    take(&live.repository, &config, &|_| ()).await.unwrap();
    let mut loss = Loss::default();
    let numbers = Arc::new(AtomicU64::new(0));
    for time in 0..times {
        if let Err(problem) = crash(&live, by, &numbers, random, &mut loss).await {
            loss.problems.push(problem);
        }
        eprintln!("backup-6: crash {} of {times}, {} lost, ages {:?}", time + 1, loss.lost, loss.ages);
    }
    loss
}

async fn crash(
    live: &Live,
    by: By,
    numbers: &Arc<AtomicU64>,
    random: &mut StdRng,
    loss: &mut Loss,
) -> Result<(), String> {
    let receiver = match by {
        By::Push(_) => None,
        _ => Some(receiving(live, by == By::SynchronousReceiver).await),
    };
    // The server's checkpointer begins during recovery and sleeps then until the next checkpoint: before that
    // nothing switches to another segment at archive_timeout.
    live.run("CHECKPOINT").await;
    let mut load = Load::default();
    for _ in 0..WRITERS {
        load.start(live.connect().await, Arc::clone(numbers), by);
    }
    let watched = receiver.is_some().then(|| tokio::spawn(watch(live.server.primary_url())));
    let archiving = receiver.is_none().then(|| tokio::spawn(watch_archive(live.server.primary_url())));
    let longest = if let By::Push(seconds) = by { seconds * 2_000 } else { 0 };
    // The point is in the load's time, which nothing but a clock can name.
    tokio::time::sleep(Duration::from_millis(random.random_range(LOAD.0..LOAD.1) + longest)).await;
    let killed_at = Instant::now();
    live.server.kill(0).await.map_err(|error| error.to_string())?;
    let commits = load.end().await;
    if let Some(receiver) = receiver {
        receiver.await.map_err(|error| error.to_string())?;
    }
    if let Some(watched) = watched {
        let stored = watched.await.map_err(|error| error.to_string())?;
        loss.delays.extend(commits.iter().filter_map(|commit| commit.stored_after(&stored)));
    }
    if let Some(archiving) = archiving {
        loss.waits.push(archiving.await.map_err(|error| error.to_string())?);
    }
    let config = live.restore_to("restored", Target::Latest);
    let mut restored = live.restored(&config).await.map_err(|error| error.to_string())?;
    restored.ready()?;
    let there: HashSet<u64> =
        restored.psql("SELECT n FROM commits").lines().filter_map(|line| line.parse().ok()).collect();
    drop(restored);
    std::fs::remove_dir_all(&config.directory).map_err(|error| error.to_string())?;
    let lost: Vec<&Commit> = commits.iter().filter(|commit| !there.contains(&commit.number)).collect();
    loss.crashes += 1;
    loss.acknowledged += commits.len();
    loss.lost += lost.len();
    let ages = lost.iter().map(|commit| killed_at.saturating_duration_since(commit.answered).as_secs_f64());
    loss.ages.push(ages.fold(0.0, f64::max));
    live.server.start(0).await.map_err(|error| error.to_string())
}

/// A commit that the server has acknowledged.
struct Commit {
    number: u64,
    answered: Instant,
    /// Where the log stood soon after.
    position: Option<Lsn>,
}

impl Commit {
    /// How many seconds after its answer the server knew it to be stored; `None` where it crashed before.
    fn stored_after(&self, stored: &[(Instant, Lsn)]) -> Option<f64> {
        let position = self.position?;
        let at = stored.partition_point(|(_, flushed)| *flushed < position);
        let (known_at, _) = stored.get(at)?;
        Some(known_at.saturating_duration_since(self.answered).as_secs_f64())
    }
}

/// Sessions that commit one number after another.
#[derive(Default)]
struct Load {
    stop: Arc<AtomicBool>,
    writers: Vec<JoinHandle<Vec<Commit>>>,
}

impl Load {
    fn start(&mut self, mut conn: AsyncPgConnection, numbers: Arc<AtomicU64>, by: By) {
        let stop = Arc::clone(&self.stop);
        self.writers.push(tokio::spawn(async move {
            let mut commits = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                let number = numbers.fetch_add(1, Ordering::Relaxed);
                if conn.batch_execute(&format!("INSERT INTO commits VALUES ({number})")).await.is_err() {
                    break;
                }
                let mut commit = Commit { number, answered: Instant::now(), position: None };
                if by == By::Receiver {
                    commit.position = position(&mut conn).await;
                }
                commits.push(commit);
            }
            commits
        }));
    }

    async fn end(self) -> Vec<Commit> {
        self.stop.store(true, Ordering::Relaxed);
        let mut commits = Vec::new();
        for writer in self.writers {
            commits.extend(writer.await.unwrap());
        }
        commits
    }
}

async fn position(conn: &mut AsyncPgConnection) -> Option<Lsn> {
    try_text(conn, "SELECT pg_current_wal_insert_lsn()::text AS t").await?.parse().ok()
}

/// Up to where the receiver has stored the log, again and again until the server is gone.
async fn watch(url: String) -> Vec<(Instant, Lsn)> {
    let mut stored: Vec<(Instant, Lsn)> = Vec::new();
    let Ok(mut conn) = <AsyncPgConnection as diesel_async::AsyncConnection>::establish(&url).await else {
        return stored;
    };
    let sql = "SELECT coalesce(max(flush_lsn), '0/0')::text AS t FROM pg_stat_replication";
    while let Some(flushed) = try_text(&mut conn, sql).await {
        let flushed = flushed.parse().unwrap_or_default();
        if stored.last().is_none_or(|(_, last)| *last < flushed) {
            stored.push((Instant::now(), flushed));
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    stored
}

/// How many seconds a finished segment has waited for archive_command at most until the server is gone.
async fn watch_archive(url: String) -> f64 {
    let mut since: HashMap<String, Instant> = HashMap::new();
    let mut longest = 0.0_f64;
    let Ok(mut conn) = <AsyncPgConnection as diesel_async::AsyncConnection>::establish(&url).await else {
        return longest;
    };
    let sql = "SELECT coalesce(string_agg(name, ' '), '') AS t FROM pg_ls_archive_statusdir() WHERE name LIKE '%.ready'";
    while let Some(waiting) = try_text(&mut conn, sql).await {
        let now = Instant::now();
        let waiting: Vec<&str> = waiting.split_whitespace().collect();
        since.retain(|name, _| waiting.contains(&name.as_str()));
        for name in waiting {
            let began = *since.entry(name.to_owned()).or_insert(now);
            longest = longest.max(now.duration_since(began).as_secs_f64());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    longest
}

/// Starts a receiver and waits until it streams, and until commits wait for it where they must.
async fn receiving(live: &Live, synchronous: bool) -> JoinHandle<()> {
    let mut config = ReceiveConfig::new(live.config().url);
    config.slot = Some("receiver".to_owned());
    if synchronous {
        config.every = Duration::ZERO;
    }
    let repository = live.repository.clone();
    let receiver = tokio::spawn(async move {
        // It ends with an error when the server is killed.
        drop(receive(&repository, &config, &Plain, std::future::pending(), &|_| ()).await);
    });
    let streams = "SELECT count(*)::text AS t FROM pg_stat_replication WHERE application_name = 'db-backup'";
    db_testkit::until("the receiver streams", async || live.text(streams).await == "1").await;
    if synchronous {
        live.run("ALTER SYSTEM SET synchronous_standby_names = '\"db-backup\"'").await;
        live.run("SELECT pg_reload_conf()").await;
        let is_sync = "SELECT coalesce(max(sync_state), '') AS t FROM pg_stat_replication";
        db_testkit::until("commits wait", async || live.text(is_sync).await == "sync").await;
    }
    receiver
}

#[derive(diesel::QueryableByName)]
struct Text {
    #[diesel(sql_type = diesel::sql_types::Text)]
    t: String,
}

/// The answer to a query; `None` where the server is gone.
async fn try_text(conn: &mut AsyncPgConnection, sql: &str) -> Option<String> {
    let row = diesel_async::RunQueryDsl::get_result::<Text>(diesel::sql_query(sql), conn).await;
    row.ok().map(|row| row.t)
}
