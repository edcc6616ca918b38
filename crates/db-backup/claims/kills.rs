//! kill -9 of a backup, an archive_command and a restore at random points, and what comes after it.

use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use db_backup::restore::{self, RestoreConfig, Target};
use db_backup::take::{TakeConfig, WalSource, take};
use db_backup::{Cluster, Compression, Keys, Repository, Store, Summary};
use db_testkit::Restored;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;

use crate::ledger::{ANSWER, create, expected, write};
use crate::live::Live;
use crate::{Figure, Size, commands, runtime};

/// The word that makes this program the one that gets killed: then what it does, the store, the key, and an argument.
pub(crate) const CHILD: &str = "killed-child";

#[derive(Default)]
struct Tally {
    problems: Vec<String>,
    killed: usize,
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
            _ => {
                let cluster = repository.cluster(repository.clusters().await.unwrap()[0]);
                let config = to(argument);
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

fn to(directory: &str) -> RestoreConfig {
    let restore_command = std::env::var(FETCH).unwrap_or_else(|_| "false".to_owned());
    RestoreConfig { target: Target::Consistent, restore_command, ..RestoreConfig::to(directory) }
}

pub(crate) fn measure(size: Size) -> Figure {
    let points = if size == Size::Nightly { 600 } else { 60 };
    runtime().block_on(all(points))
}

async fn all(points: usize) -> Figure {
    let live = Live::start(None, &[]).await;
    let mut random = StdRng::seed_from_u64(3);
    create(&live).await;
    live.run("INSERT INTO noise (body) SELECT repeat(md5(i::text), 30) FROM generate_series(1, 60000) AS i")
        .await;
    let first = live.take().await.summary;
    let mut tally = Tally::default();
    let mut numbers = 1;
    let whole =
        [time(&live, "take", &live.server.primary_url()), time(&live, "restore", &path(&live, "whole"))];
    for point in 0..points {
        write(&live, numbers..numbers + 3, &mut random).await;
        numbers += 3;
        match point % 3 {
            0 => kill_take(&live, whole[0], &mut random, &mut tally).await,
            1 => kill_push(&live, &mut random, &mut tally).await,
            _ => kill_restore(&live, &first, whole[1], &mut random, &mut tally).await,
        }
        eprintln!("backup-3: point {} of {points}", point + 1);
    }
    live.archive().await;
    nothing_is_lost(&live, numbers - 1, &mut tally).await;
    Figure {
        value: tally.problems.len() as f64,
        unit: "broken backups, lost commits and runs that do not go on",
        // Kills that hit nothing would prove nothing.
        holds: tally.problems.is_empty() && tally.killed * 2 > points,
        detail: json!({
            "points": points, "killed": tally.killed, "ended_before": tally.ended_before, "problems": tally.problems,
        }),
    }
}

fn path(live: &Live, name: &str) -> String {
    live.home.path().join(name).display().to_string()
}

fn spawn(live: &Live, what: &str, argument: &str) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let secret = live.keys.secret_text();
    command.args([CHILD, what, &path(live, "store"), &secret, argument]);
    command.env(FETCH, live.restore_to("unused", Target::Consistent).restore_command);
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

fn time(live: &Live, what: &str, argument: &str) -> Duration {
    let began = Instant::now();
    assert!(spawn(live, what, argument).wait().unwrap().success(), "a {what} that nobody disturbs");
    began.elapsed()
}

/// Lets a child run for a while and kills it; whether it was killed.
async fn kill(mut child: Child, after: Duration, tally: &mut Tally) {
    // The point is in the child's time, which nothing but a clock can name.
    tokio::time::sleep(after).await;
    if child.try_wait().unwrap().is_none() {
        child.kill().unwrap();
        tally.killed += 1;
    } else {
        tally.ended_before += 1;
    }
    child.wait().unwrap();
}

async fn kill_take(live: &Live, whole: Duration, random: &mut StdRng, tally: &mut Tally) {
    let child = spawn(live, "take", &live.server.primary_url());
    kill(child, whole.mul_f64(random.random_range(0.02..1.1)), tally).await;
    let cluster = live.cluster().await;
    let backups = cluster.backups().await.unwrap();
    if !backups.damaged.is_empty() {
        tally.problems.push(format!("after a kill of take: {:?}", backups.damaged));
    }
    if let Some(newest) = backups.whole.last()
        && let Err(error) = read_all(&cluster, newest).await
    {
        tally.problems.push(format!("{}: {error}", newest.id));
    }
}

async fn read_all(cluster: &Cluster, summary: &Summary) -> Result<(), String> {
    let manifest = cluster.manifest(&summary.id).await.map_err(|error| error.to_string())?;
    let reader = cluster.reader(&manifest, 2);
    for number in 0..reader.chunks() {
        reader.chunk(number).await.map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// Kills a push of a segment that the server will push, too.
async fn kill_push(live: &Live, random: &mut StdRng, tally: &mut Tally) {
    let data = live.server.dir().join("node1");
    let segment = live.text("SELECT pg_walfile_name(pg_switch_wal() - 1)::text AS t").await;
    let store = live.home.path().join("store");
    let command = commands::push_command(&store, &live.keys, &live.home.path().join("other-spool"));
    let command = command.replace("%p", &format!("pg_wal/{segment}"));
    let mut shell = Command::new("/bin/sh");
    shell.arg("-c").arg(format!("exec env {command}")).current_dir(&data);
    let child = shell.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    kill(child, Duration::from_millis(random.random_range(1..120)), tally).await;
}

async fn kill_restore(
    live: &Live,
    backup: &Summary,
    whole: Duration,
    random: &mut StdRng,
    tally: &mut Tally,
) {
    let directory = path(live, "killed");
    let child = spawn(live, "restore", &directory);
    kill(child, whole.mul_f64(random.random_range(0.02..1.1)), tally).await;
    let has_control = Path::new(&directory).join("global/pg_control").exists();
    let cluster = live.cluster().await;
    let config = live.restore_to("killed", Target::Consistent);
    if !has_control {
        let went_on = match restore::plan(&cluster, &config).await {
            Ok(plan) => restore::apply(&cluster, &config, &plan, &|_| ()).await.map(drop),
            Err(error) => Err(error),
        };
        if let Err(error) = went_on {
            tally.problems.push(format!("a restore of {} does not go on: {error}", backup.id));
        }
    }
    let mut server = Restored::start(Path::new(&directory), "app");
    match server.ready() {
        Ok(()) => {
            let answer = server.psql("SELECT count(*) FROM noise WHERE id <= 60000");
            if answer != "60000" {
                tally.problems.push(format!("a restore that went on has {answer} rows"));
            }
        }
        Err(log) => tally.problems.push(format!("a restore that went on does not start: {log}")),
    }
    drop(server);
    std::fs::remove_dir_all(&directory).unwrap();
}

async fn nothing_is_lost(live: &Live, last: u64, tally: &mut Tally) {
    match live.restored(&live.restore_to("last", Target::Latest)).await {
        Ok(mut server) => {
            let found = server.text(ANSWER);
            if found != expected(last) {
                tally.problems.push(format!("in the end {found} instead of {}", expected(last)));
            }
        }
        Err(error) => tally.problems.push(format!("in the end: {error}")),
    }
}
