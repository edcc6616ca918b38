//! Segments are fetched ahead beside restore_command, whole or not at all.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use db_backup::wal::{FetchConfig, Fetched, fetch, fetched_before, needs_refill, refill};
use db_backup::{Compression, Protection, Segment, WalName};
use rand::RngExt;

use crate::commands::{KEY, NAME, PATH, REFILL, SPOOL, STORE};
use crate::world::{SYSTEM, World, archive, segment};

/// A directory like that of a server which replays its log.
struct Replaying {
    world: World,
    data: PathBuf,
}

impl Replaying {
    /// With these segments in its repository.
    async fn new(numbers: std::ops::Range<u32>) -> Replaying {
        let world = World::new(Protection::Encrypted).await;
        archive(&world.cluster, numbers).await;
        let data = world.directory.path().join("data");
        fs::create_dir_all(data.join("global")).unwrap();
        fs::create_dir(data.join("pg_wal")).unwrap();
        fs::write(data.join("global/pg_control"), SYSTEM.to_le_bytes()).unwrap();
        Replaying { world, data }
    }

    fn destination(&self) -> PathBuf {
        self.data.join("pg_wal/RECOVERYXLOG")
    }

    fn config(&self) -> FetchConfig {
        FetchConfig { ahead: 3, ..FetchConfig::beside(&self.destination()) }
    }

    fn spool(&self) -> PathBuf {
        self.config().spool.unwrap()
    }

    fn has(&self, number: u32) -> bool {
        self.spool().join(name(number)).exists()
    }

    async fn asks(&self, name: &str) -> Fetched {
        fetch(&self.world.repository, name, &self.destination(), &self.config()).await.unwrap()
    }

    /// Fetches ahead until nothing more is wanted.
    fn refill(&self) -> tokio::task::JoinHandle<()> {
        let (repository, config) = (self.world.repository.clone(), self.config());
        let destination = self.destination();
        tokio::spawn(async move { refill(&repository, &destination, &config).await.unwrap() })
    }
}

fn name(number: u32) -> String {
    whole(number).to_string()
}

fn whole(number: u32) -> Segment {
    Segment { timeline: 1, log: 0, number }
}

fn content(number: u32) -> Vec<u8> {
    segment(whole(number), SYSTEM, u64::from(number)).to_vec()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn segments_are_fetched_ahead_beside_the_server_until_it_wants_no_more() {
    let server = Replaying::new(1..20).await;
    assert_eq!(server.asks(&name(1)).await, Fetched::Restored);
    assert!(!server.has(2) && needs_refill(&name(1), &server.config()));
    let ahead = server.refill();
    db_testkit::until("three are ahead", async || (2..5).all(|number| server.has(number))).await;
    assert!(!needs_refill(&name(1), &server.config()), "one is enough");
    server.refill().await.unwrap();

    let taken = fetched_before(&name(2), &server.destination(), &server.config()).await.unwrap();
    assert!(taken && fs::read(server.destination()).unwrap() == content(2));
    db_testkit::until("it goes on", async || server.has(5)).await;
    assert!(!server.has(6) && !server.has(2), "no more than it is told, and none twice");

    // Back, as a server that starts again.
    assert_eq!(server.asks(&name(12)).await, Fetched::Restored);
    db_testkit::until("it follows", async || (13..16).all(|number| server.has(number))).await;
    assert_eq!(server.asks("00000002.history").await, Fetched::NotThere);
    ahead.await.unwrap();
    assert!(!server.spool().exists(), "what was fetched ahead is left behind");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partial_segment_is_not_fetched_ahead() {
    let server = Replaying::new(1..3).await;
    let (partial, bytes) = (WalName::Partial(whole(3)), content(3).into());
    server.world.cluster.put_wal(partial, bytes, Compression::Zstd(1)).await.unwrap();
    archive(&server.world.cluster, 4..5).await;
    assert_eq!(server.asks(&name(1)).await, Fetched::Restored);
    let ahead = server.refill();
    db_testkit::until("the whole one is ahead", async || server.has(2)).await;
    assert!(fetched_before(&name(2), &server.destination(), &server.config()).await.unwrap());
    assert!(!fetched_before(&name(3), &server.destination(), &server.config()).await.unwrap());
    assert_eq!(server.asks(&name(3)).await, Fetched::NotThere);
    ahead.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fetches_ahead_ends_with_its_server() {
    let server = Replaying::new(1..20).await;
    let mut postmaster = Command::new("sleep").arg("600").spawn().unwrap();
    fs::write(server.data.join("postmaster.pid"), format!("{}\n/data\n", postmaster.id())).unwrap();
    server.asks(&name(1)).await;
    let ahead = server.refill();
    db_testkit::until("it fetches ahead", async || server.has(2)).await;
    postmaster.kill().unwrap();
    postmaster.wait().unwrap();
    tokio::time::timeout(Duration::from_secs(5), ahead).await.expect("it goes on without a server").unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_of_what_fetches_ahead_leaves_no_torn_segment_and_no_lock() {
    let server = Replaying::new(1..30).await;
    let spool = server.spool();
    for round in 0..20 {
        assert_eq!(server.asks(&name(1)).await, Fetched::Restored);
        let mut ahead = command(&server, &spool);
        // Where it is then nothing but a clock can say.
        let delay = rand::rng().random_range(0..60);
        tokio::time::sleep(Duration::from_millis(delay)).await;
        ahead.kill().unwrap();
        ahead.wait().unwrap();
        assert!(needs_refill(&name(1), &server.config()), "round {round}: it holds the lock");
        for number in (2..30).filter(|number| server.has(*number)) {
            let path = spool.join(name(number));
            assert!(fs::read(&path).unwrap() == content(number), "round {round}: {number} is torn");
            fs::remove_file(path).unwrap();
        }
        // Whether it is under way in a process that is dead or not: it is not waited for.
        assert!(!fetched_before(&name(2), &server.destination(), &server.config()).await.unwrap());
    }
    let ahead = server.refill();
    db_testkit::until("the next goes on", async || (2..5).all(|number| server.has(number))).await;
    let left = fs::read_dir(&spool).unwrap().flatten().map(|entry| entry.file_name().into_string().unwrap());
    let unfinished: Vec<String> = left.filter(|name| name.starts_with(".unfinished-")).collect();
    assert!(unfinished.is_empty(), "{unfinished:?}");
    server.asks("00000002.history").await;
    ahead.await.unwrap();
}

/// The program that fetches ahead, as restore_command starts it.
fn command(server: &Replaying, spool: &Path) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "commands::fetch"]).env(REFILL, "").env(NAME, name(1));
    command.env(STORE, server.world.directory.path()).env(KEY, &**server.world.keys.secret_text());
    command.env(SPOOL, spool).env(PATH, server.destination());
    command.stdout(Stdio::null()).spawn().unwrap()
}
