//! From nothing to the first answer: a restore with its log against pgBackRest's, in turns.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use db_backup::restore::Target;
use db_testkit::Restored;
use serde_json::{Value, json};

use crate::kills::spawn_on;
use crate::live::Live;
use crate::pgbackrest::{PgBackRest, own};

/// Rows as applications have them: they compress to about a third.
const ROWS: &str = "INSERT INTO events SELECT i, gen_random_uuid(), md5(i::text), now() - i * interval '1 second', \
                    jsonb_build_object('kind', i % 17, 'path', '/a/' || i % 1000, 'ms', random() * 100, 'note', \
                    repeat(md5((i % 5000)::text), 2)) FROM generate_series({from}, {to}) AS i";
const TABLE: &str = "CREATE TABLE events (id bigint, tenant uuid, hash text, at timestamptz, body jsonb)";
/// Ends the load of a segment or so at a time.
const BATCH: usize = 20_000;

/// As ours is: encrypted, compressed likewise, by two processes, with the log in the background.
const PEER: &str = "repo1-retention-full=1\nrepo1-cipher-type=aes-256-cbc\nrepo1-cipher-pass=swordfish\ncompress-type=zst\n\
                    compress-level=3\nprocess-max=2\narchive-async=y";

/// How much is restored, and how often.
pub(crate) struct Amount {
    pub(crate) rows: usize,
    pub(crate) segments: usize,
    pub(crate) pairs: usize,
}

/// The median of our time by theirs, and what else was seen.
pub(crate) async fn against_pgbackrest(amount: &Amount) -> (f64, Value) {
    let live = Live::start(None, &[("archive_command", "false"), ("max_wal_size", "8GB")]).await;
    let found = PgBackRest::program();
    assert!(found.is_some(), "pgBackRest is needed: install it, or name it in DB_BACKUP_PGBACKREST");
    let (program, _) = found.unwrap();
    let peer = PgBackRest::of(&live, program, PEER, 1);
    let ours = crate::commands::push_command(
        &live.home.path().join("store"),
        &live.keys,
        &live.home.path().join("spool"),
    );
    let both = format!("{ours} && {} archive-push %p", peer.command());
    live.run(TABLE).await;
    fill(&live, 1, amount.rows).await;
    live.run("ALTER TABLE events ADD PRIMARY KEY (id)").await;
    live.run("CREATE INDEX ON events (hash)").await;
    live.run("CHECKPOINT").await;
    live.run(&format!("ALTER SYSTEM SET archive_command = '{}'", both.replace('\'', "''"))).await;
    live.run("SELECT pg_reload_conf()").await;
    live.take().await;
    peer.run(&["--type=full", "backup"]);
    let begins = live.text(SEGMENTS).await.parse::<usize>().unwrap();
    let mut rows = amount.rows;
    while live.text(SEGMENTS).await.parse::<usize>().unwrap() < begins + amount.segments {
        fill(&live, rows + 1, rows + BATCH).await;
        rows += BATCH;
    }
    live.archive().await;
    let bytes = live.text("SELECT pg_database_size(current_database())::text AS t").await;
    let expected = format!("{rows}");
    let (mut all_ours, mut all_theirs): (Vec<Took>, Vec<Took>) = (Vec::new(), Vec::new());
    for pair in 0..amount.pairs {
        let mut ours = || {
            let to = live.home.path().join("ours");
            all_ours.push(restored(to, &expected, |directory| ours_to(&live, directory)));
        };
        let mut theirs = || {
            let to = live.home.path().join("theirs");
            std::fs::create_dir(&to).unwrap();
            own(&to);
            all_theirs.push(restored(to, &expected, |directory| {
                let to = format!("--pg1-path={}", directory.display());
                peer.run(&[&to, "--archive-mode=off", "restore"]);
            }));
        };
        // Who begins changes, so that what drifts falls on both.
        if pair % 2 == 0 {
            ours();
            theirs();
        } else {
            theirs();
            ours();
        }
        eprintln!("backup-6: RTO, pair {}: {:?} / {:?}", pair + 1, all_ours.last(), all_theirs.last());
    }
    let mut ratios: Vec<f64> =
        all_ours.iter().zip(&all_theirs).map(|(ours, theirs)| ours.all() / theirs.all()).collect();
    ratios.sort_by(f64::total_cmp);
    // The quarters of them, of which the middle is the figure.
    let [lower, median, upper] = [1, 2, 3].map(|quarter| ratios[ratios.len() * quarter / 4]);
    let of = |all: &[Took], part: fn(&Took) -> f64| all.iter().map(part).collect::<Vec<f64>>();
    let detail = json!({
        "database_bytes": bytes, "segments": amount.segments, "pairs": amount.pairs,
        "ratios": ratios, "half_of_the_ratios_are_within": [lower, upper],
        "ours_seconds": of(&all_ours, Took::all), "pgbackrest_seconds": of(&all_theirs, Took::all),
        "of_that_files_seconds": [of(&all_ours, |took| took.files), of(&all_theirs, |took| took.files)],
    });
    (median, detail)
}

/// What a restore takes, in seconds.
#[derive(Debug)]
struct Took {
    /// Until the files are in their places.
    files: f64,
    /// From then on, until the log is replayed and the first query is answered.
    log: f64,
}

impl Took {
    fn all(&self) -> f64 {
        self.files + self.log
    }
}

/// The number of the segment that is being written.
const SEGMENTS: &str = "SELECT (pg_current_wal_lsn() - '0/0')::bigint / (16 << 20) || '' AS t";

async fn fill(live: &Live, from: usize, to: usize) {
    live.run(&ROWS.replace("{from}", &from.to_string()).replace("{to}", &to.to_string())).await;
}

fn ours_to(live: &Live, directory: &Path) {
    let fetch = live.restore_to("unused", Target::Latest).restore_command;
    let to = directory.display().to_string();
    let mut child = spawn_on(&live.home.path().join("store"), &live.keys, "restore-latest", &to, &fetch);
    assert!(child.wait().unwrap().success(), "our restore failed");
}

/// How long it takes until a server that is restored has answered the first query; it must have all rows.
fn restored(directory: PathBuf, rows: &str, restore: impl FnOnce(&Path)) -> Took {
    let began = Instant::now();
    restore(&directory);
    let files = began.elapsed().as_secs_f64();
    let mut server = Restored::start(&directory, "app");
    // Some servers answer before the log is replayed, with less than all of it.
    while server.text("SELECT pg_is_in_recovery()") == "t" {
        db_server::wait_until(Duration::from_millis(5), || false);
    }
    let log = began.elapsed().as_secs_f64() - files;
    let found = server.psql("SELECT count(*) FROM events");
    assert_eq!(found, rows, "{}", server.log());
    drop(server);
    std::fs::remove_dir_all(&directory).unwrap();
    Took { files, log }
}
