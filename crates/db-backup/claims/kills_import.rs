//! backup-3b: kill -9 of an import from pgBackRest at random points, and what comes after it.
//!
//! It fails where a backup is published before its log is there.

use std::path::Path;

use db_backup::import::{self, Choice, ImportConfig, Passphrase, Source};
use db_backup::restore::{RestoreConfig, Target, apply, plan};
use db_backup::{Cluster, Protection, Repository, Store, VerifyOptions};
use db_testkit::Restored;
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::json;

use crate::commands::fetch_command;
use crate::kills::{Tally, read_all, spawn_on, what_stays, whole};
use crate::live::Live;
use crate::pgbackrest::PgBackRest;
use crate::{Figure, Size, runtime};

const PASSPHRASE: &str = "swordfish";
const PEER: &str = "repo1-retention-full=1\nrepo1-cipher-type=aes-256-cbc\nrepo1-cipher-pass=swordfish\nrepo1-bundle=y\n\
                    compress-type=zst\nprocess-max=2";
/// What a restored server is asked, and what it answers.
const ANSWER: &str = "SELECT count(*) || ' ' || sum(id) FROM orders";

pub(crate) fn measure(size: Size) -> Figure {
    let points = if size == Size::Nightly { 300 } else { 30 };
    runtime().block_on(all(points))
}

/// Imports all that is in this repository of pgBackRest.
pub(crate) async fn import(repository: &Repository, from: &Path) -> Result<(), String> {
    let imported = async {
        let store = Store::local(from)?;
        let source = Source::open(store, None, Some(&Passphrase::new(PASSPHRASE))).await?;
        let config = ImportConfig { backups: Choice::All, ..ImportConfig::default() };
        let plan = import::plan(&source, repository, &config).await?;
        import::apply(&source, repository, &config, &plan, &|_| ()).await
    };
    imported.await.map(drop).map_err(|error: import::ImportError| error.to_string())
}

async fn all(points: usize) -> Figure {
    let found = PgBackRest::program();
    assert!(found.is_some(), "pgBackRest is needed: install it, or name it");
    let (program, version) = found.unwrap();
    let live = Live::start(None, &[("archive_command", "true")]).await;
    let peer = PgBackRest::of(&live, program, PEER, 1);
    live.run(&format!("ALTER SYSTEM SET archive_command = '{} archive-push %p'", peer.command())).await;
    live.run("SELECT pg_reload_conf()").await;
    live.run(
        "CREATE TABLE orders AS SELECT i AS id, md5(i::text) AS note FROM generate_series(1, 50000) AS i",
    )
    .await;
    peer.run(&["--type=full", "backup"]);
    live.run("INSERT INTO orders SELECT i, 'more' FROM generate_series(50001, 60000) AS i").await;
    peer.run(&["--type=incr", "backup"]);
    live.run("INSERT INTO orders VALUES (60001, 'in the log')").await;
    live.archive().await;
    let answer = live.text(&ANSWER.replace(" FROM", " AS t FROM")).await;
    let from = PgBackRest::repository(&live, 1);
    let (mut tally, mut random) = (Tally::default(), StdRng::seed_from_u64(31));
    let start =
        |directory: &Path| spawn_on(directory, &live.keys, "import", &from.display().to_string(), "false");
    let (undisturbed, _) = made(&live).await;
    let mut took = whole(|| start(undisturbed.path()), undisturbed.path(), "import", &mut tally);
    for point in 0..points {
        let (directory, repository) = made(&live).await;
        tally.kill(0, || start(directory.path()), directory.path(), &mut took, &mut random).await;
        for id in repository.clusters().await.unwrap() {
            after(&repository.cluster(id), &mut tally).await;
        }
        match import(&repository, &from).await {
            Err(error) => tally.problem(format!("an import does not go on: {error}")),
            Ok(()) => {
                let cluster = repository.cluster(repository.clusters().await.unwrap()[0]);
                let last = point + 1 == points;
                whole_again(&live, directory.path(), &cluster, last.then_some(&*answer), &mut tally).await;
            }
        }
        eprintln!("backup-3b: point {} of {points}, {} problems", point + 1, tally.problems.len());
    }
    let killed = tally.killed[0];
    Figure {
        value: tally.problems.len() as f64,
        unit: "broken backups and imports that do not go on or clean up",
        // Kills that hit nothing would prove nothing.
        holds: tally.problems.is_empty() && killed * 2 > points,
        detail: json!({ "points": points, "killed": killed, "pgbackrest": version, "problems": tally.problems }),
    }
}

/// An empty repository in a directory of its own.
async fn made(live: &Live) -> (tempfile::TempDir, Repository) {
    let directory = tempfile::Builder::new().prefix("import-").tempdir_in(live.home.path()).unwrap();
    let store = Store::local(directory.path()).unwrap();
    let (repository, _) = Repository::init(store, &live.keys, Protection::Encrypted).await.unwrap();
    (directory, repository)
}

/// What a killed import has published can be read and restored.
async fn after(cluster: &Cluster, tally: &mut Tally) {
    let backups = cluster.backups().await.unwrap();
    if !backups.damaged.is_empty() {
        tally.problem(format!("after a kill of import: {:?}", backups.damaged));
    }
    for backup in backups.whole {
        if let Err(error) = read_all(cluster, &backup.id).await {
            tally.problem(format!("after a kill of import: {error}"));
        }
        let wal = backup.wal.clone().unwrap();
        let config = RestoreConfig {
            backup: Some(backup.id.clone()),
            target: Target::Consistent,
            ..RestoreConfig::to("/nowhere/at/all")
        };
        if let Err(error) = plan(cluster, &config).await {
            tally.problem(format!("{} of {wal:?} was published without its log: {error}", backup.id));
        }
    }
}

/// The import that went on has brought everything, and left nothing else.
async fn whole_again(
    live: &Live,
    directory: &Path,
    cluster: &Cluster,
    answer: Option<&str>,
    tally: &mut Tally,
) {
    let verdict = cluster.verify(VerifyOptions::default()).await.unwrap();
    if !verdict.holds() || verdict.backups != 2 {
        tally.problem(format!("an import that went on: {} backups, {:?}", verdict.backups, verdict.findings));
    }
    let garbage = what_stays(directory, cluster).await;
    tally.problems.extend(garbage.iter().map(|path| format!("no expiry removes {path}")));
    let Some(answer) = answer else { return };
    let to = live.home.path().join("imported");
    let config = RestoreConfig {
        restore_command: fetch_command(directory, &live.keys, &live.home.path().join("imported-ahead")),
        ..RestoreConfig::to(&to)
    };
    let planned = plan(cluster, &config).await.unwrap();
    apply(cluster, &config, &planned, &|_| ()).await.unwrap();
    let mut server = Restored::start(&to, "app");
    match server.ready() {
        Ok(()) => {
            let found = server.psql(ANSWER);
            if found != answer {
                tally.problem(format!("{found} instead of {answer}"));
            }
        }
        Err(log) => tally.problem(format!("what was imported does not start: {log}")),
    }
}
