//! What pgBackRest took is imported, and restores from our repository as it would have from its own.
//!
//! Skipped by name where there is no pgBackRest.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use db_backup::import::{self, Choice, ImportConfig, ImportError, Imported, Passphrase, Source};
use db_backup::restore::{self, RestoreConfig, Target};
use db_backup::{
    Cluster, Keys, Progress, Protection, Repository, Store, Summary, VerifyOptions, WalName, WriterOptions,
};
use db_testkit::Restored;

use crate::commands::fetch_command;
use crate::live::Live;
use crate::pgbackrest::{PgBackRest, own};
use crate::world::files_below;

const PASSPHRASE: &str = "swordfish";
/// What a restored database is compared by.
const CONTENT: &str = "SELECT md5(string_agg(t, '|')) AS t FROM (SELECT id || note AS t FROM orders UNION ALL \
                       SELECT 'fast' || i FROM fast ORDER BY 1) AS all_of_it";

/// Repositories of one server: how each is written, and what its backups are compressed by.
const REPOSITORIES: [(&str, &str); 4] = [
    ("", "gz"),
    ("bundle=y\nblock=y\ncipher-type=aes-256-cbc\ncipher-pass=swordfish", "zst"),
    ("bundle=y", "lz4"),
    ("cipher-type=aes-256-cbc\ncipher-pass=swordfish", "bz2"),
];
/// The one that is encrypted, and has bundles and blocks.
const RICHEST: usize = 2;

/// A server with backups in all repositories, and a moment to come back to.
struct World {
    live: Live,
    moment: String,
    content: String,
    tablespace: u32,
}

/// A repository of ours.
struct Ours {
    directory: PathBuf,
    keys: Keys,
    repository: Repository,
}

impl World {
    /// `None` where there is no pgBackRest.
    async fn new() -> Option<World> {
        let (program, version) = PgBackRest::program()?;
        let blocks = !version.starts_with("2.45");
        let live = Live::start(None, &[("archive_command", "true")]).await;
        let mut settings = String::from("compress-type=zst\ncompress-level=1\n");
        for (number, (own, _)) in REPOSITORIES.iter().enumerate() {
            for line in own.lines().filter(|line| blocks || !line.starts_with("block")) {
                settings.push_str(&format!("repo{}-{line}\n", number + 1));
            }
        }
        let peer = PgBackRest::of(&live, program, &settings, REPOSITORIES.len());
        live.run(&format!("ALTER SYSTEM SET archive_command = '{} archive-push %p'", peer.command())).await;
        live.run("SELECT pg_reload_conf()").await;
        let space = live.home.path().join("space");
        std::fs::create_dir(&space).unwrap();
        own(&space);
        live.run(&format!("CREATE TABLESPACE fast LOCATION '{}'", space.display())).await;
        live.run("CREATE TABLE fast TABLESPACE fast AS SELECT generate_series(1, 1000) AS i").await;
        live.run("CREATE TABLE orders (id bigint PRIMARY KEY, note text)").await;
        live.run("INSERT INTO orders SELECT i, md5(i::text) || repeat('x', i % 90) FROM generate_series(1, 40000) AS i")
            .await;
        // Later an autovacuum would touch every page, and nothing would be the same in two backups.
        live.run("VACUUM (FREEZE) orders").await;
        let take = |kind: &str| {
            for (number, (_, compression)) in REPOSITORIES.iter().enumerate() {
                let (repository, compression) =
                    (format!("--repo={}", number + 1), format!("--compress-type={compression}"));
                peer.run(&[&repository, &compression, &format!("--type={kind}"), "backup"]);
            }
        };
        take("full");
        live.run("UPDATE orders SET note = 'changed' WHERE id BETWEEN 5000 AND 5200").await;
        live.run("INSERT INTO fast SELECT generate_series(1001, 1500)").await;
        take("diff");
        live.run("UPDATE orders SET note = 'again' WHERE id BETWEEN 5100 AND 5110").await;
        take("incr");
        live.run("INSERT INTO orders VALUES (1000001, 'in time')").await;
        let moment = live.text("SELECT clock_timestamp()::text AS t").await;
        let content = live.text(CONTENT).await;
        live.run("INSERT INTO orders VALUES (1000002, 'too late')").await;
        live.archive().await;
        let tablespace = live.text("SELECT oid::text AS t FROM pg_tablespace WHERE spcname = 'fast'").await;
        Some(World { live, moment, content, tablespace: tablespace.parse().unwrap() })
    }

    fn path(&self, number: usize) -> PathBuf {
        PgBackRest::repository(&self.live, number)
    }

    async fn source(&self, number: usize) -> Result<Source, ImportError> {
        open(&self.path(number)).await
    }

    async fn ours(&self, name: &str) -> Ours {
        let directory = self.live.home.path().join(name);
        let keys = Keys::generate();
        let store = Store::local(&directory).unwrap();
        let (repository, _) = Repository::init(store, &keys, Protection::Encrypted).await.unwrap();
        Ours { directory, keys, repository }
    }

    /// Restores a backup to the moment, and looks at what is in it.
    async fn comes_back(&self, ours: &Ours, backup: &Summary, name: &str) {
        let cluster = ours.repository.cluster(backup.server.system_identifier);
        let home = self.live.home.path();
        let directory = home.join(name);
        let config = RestoreConfig {
            backup: Some(backup.id.clone()),
            target: Target::at_time(&self.moment).unwrap(),
            restore_command: fetch_command(&ours.directory, &ours.keys, &home.join(format!("{name}-ahead"))),
            tablespaces: BTreeMap::from([(self.tablespace, home.join(format!("{name}-space")))]),
            ..RestoreConfig::to(&directory)
        };
        let plan = restore::plan(&cluster, &config).await.unwrap();
        restore::apply(&cluster, &config, &plan, &|_| ()).await.unwrap();
        let mut server = Restored::start(&directory, "app");
        server.ready().unwrap();
        assert_eq!(server.text(&CONTENT.replace(" AS t FROM (", " FROM (")), self.content, "{name}");
        drop(server);
        std::fs::remove_dir_all(directory).unwrap();
    }
}

impl Ours {
    async fn import(&self, source: &Source, backups: Choice) -> Result<Imported, ImportError> {
        let config = ImportConfig { backups, writer: WriterOptions::default() };
        let plan = import::plan(source, &self.repository, &config).await?;
        assert!(plan.refused.is_empty(), "{:?}", plan.refused);
        import::apply(source, &self.repository, &config, &plan, &|_| ()).await
    }

    async fn cluster(&self) -> Cluster {
        self.repository.cluster(self.repository.clusters().await.unwrap()[0])
    }
}

async fn open(path: &Path) -> Result<Source, ImportError> {
    Source::open(Store::local(path).unwrap(), None, Some(&Passphrase::new(PASSPHRASE))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_pgbackrest_took_is_imported_and_restored_to_a_moment() {
    let Some(world) = World::new().await else {
        return db_testkit::skip::this_test(
            "there is no pgbackrest: install it, or name it in DB_BACKUP_PGBACKREST",
        );
    };
    for number in 1..=REPOSITORIES.len() {
        let source = world.source(number).await.unwrap();
        let ours = world.ours(&format!("ours{number}")).await;
        let imported = ours.import(&source, Choice::All).await.unwrap();
        let kinds: Vec<&str> = imported
            .backups
            .iter()
            .map(|(_, summary)| summary.notes["imported"]["type"].as_str().unwrap())
            .collect();
        assert_eq!(kinds, ["full", "diff", "incr"]);
        let (first, newest) = (&imported.backups[0].1, &imported.backups[2].1);
        let cluster = ours.cluster().await;
        let verdict = cluster.verify(VerifyOptions::default()).await.unwrap();
        assert!(verdict.holds(), "{:?}", verdict.findings);
        assert!(!newest.figures.reuses.is_empty(), "what did not change is stored once");
        // Each byte was held against its SHA-1: that it restores is seen with the plainest and the richest
        // one.
        if number == 1 || number == RICHEST {
            world.comes_back(&ours, newest, &format!("newest{number}")).await;
        }
        if number == RICHEST {
            world.comes_back(&ours, first, "first").await;
        }
        // Again, there is nothing left to do.
        let config = ImportConfig { backups: Choice::All, ..ImportConfig::default() };
        let again = import::plan(&source, &ours.repository, &config).await.unwrap();
        assert_eq!((again.backups.len(), again.already.len(), again.log.files), (0, 3, 0));
    }
    what_is_not_readable_is_refused(&world).await;
    an_import_that_dies_publishes_nothing(&world).await;
    a_changed_file_is_noticed(&world).await;
    an_import_from_s3_is_the_same(&world).await;
}

async fn what_is_not_readable_is_refused(world: &World) {
    let path = world.path(RICHEST);
    let without = Source::open(Store::local(&path).unwrap(), None, None).await;
    assert!(matches!(without, Err(ImportError::NoPassphrase { .. })), "{without:?}");
    let wrong = Source::open(Store::local(&path).unwrap(), None, Some(&Passphrase::new("sword"))).await;
    assert!(matches!(wrong, Err(ImportError::WrongPassphrase { .. })), "{wrong:?}");
    let other = Source::open(Store::local(&path).unwrap(), Some("other"), None).await;
    assert!(matches!(&other, Err(ImportError::Stanza { known, .. }) if known == &["main"]), "{other:?}");
    let elsewhere = tempfile::tempdir().unwrap();
    let nothing = Source::open(Store::local(elsewhere.path()).unwrap(), None, None).await;
    assert!(matches!(nothing, Err(ImportError::NoRepository { .. })), "{nothing:?}");
    let ours = world.ours("refused").await;
    let source = world.source(RICHEST).await.unwrap();
    let unknown = ours.import(&source, Choice::Named(vec!["20010101-000000F".to_owned()])).await;
    assert!(matches!(unknown, Err(ImportError::NoBackup { .. })), "{unknown:?}");
    for error in [without.unwrap_err(), wrong.unwrap_err()] {
        assert!(!format!("{error} {error:?}").contains("sword\""), "{error:?}");
    }
}

async fn an_import_that_dies_publishes_nothing(world: &World) {
    let ours = world.ours("dies").await;
    let source = world.source(RICHEST).await.unwrap();
    let config = ImportConfig::default();
    let plan = import::plan(&source, &ours.repository, &config).await.unwrap();
    let (begun, dies) = (AtomicBool::new(false), Arc::new(tokio::sync::Notify::new()));
    let dying = Arc::clone(&dies);
    let observer = move |progress: Progress| match progress {
        Progress::Stage("importing a backup") => begun.store(true, Ordering::Relaxed),
        Progress::Bytes { done, .. } if begun.load(Ordering::Relaxed) && done > 0 => dying.notify_one(),
        _ => {}
    };
    tokio::select! {
        biased;
        () = dies.notified() => {}
        done = import::apply(&source, &ours.repository, &config, &plan, &observer) => panic!("it did not die: {done:?}"),
    }
    let cluster = ours.cluster().await;
    assert!(cluster.backups().await.unwrap().whole.is_empty());
    let imported = ours.import(&source, Choice::Newest).await.unwrap();
    assert_eq!(cluster.backups().await.unwrap().whole.len(), 1);
    world.comes_back(&ours, &imported.backups[0].1, "after-death").await;
}

/// Every object of a backup and of its log, changed in one bit, is noticed, and nothing is published.
async fn a_changed_file_is_noticed(world: &World) {
    for number in [1, RICHEST] {
        let path = world.path(number);
        let label = world.source(number).await.unwrap().labels().next().unwrap().to_owned();
        let below = |part: &str| files_below(&path.join(part)).into_iter();
        let large = |file: &PathBuf| file.metadata().unwrap().len();
        let largest = below(&format!("backup/main/{label}")).max_by_key(large).unwrap();
        // The last segment is one that every import brings.
        let segment =
            below("archive/main").filter(|file| file.extension().is_some_and(|end| end == "zst")).max();
        for file in [largest, segment.unwrap()] {
            let before = std::fs::read(&file).unwrap();
            let mut changed = before.clone();
            let middle = changed.len() / 2;
            changed[middle] ^= 0x10;
            std::fs::write(&file, changed).unwrap();
            let ours = world.ours(&format!("changed{number}-{}", rand::random::<u32>())).await;
            let source = world.source(number).await.unwrap();
            let refused = ours.import(&source, Choice::Named(vec![label.clone()])).await;
            assert!(refused.as_ref().is_err_and(ImportError::is_damage), "{}: {refused:?}", file.display());
            let clusters = ours.repository.clusters().await.unwrap();
            for cluster in clusters {
                assert!(ours.repository.cluster(cluster).backups().await.unwrap().whole.is_empty());
            }
            std::fs::write(&file, before).unwrap();
        }
        // A damaged information file is read from its copy, and told.
        let info = path.join("backup/main/backup.info");
        let before = std::fs::read(&info).unwrap();
        std::fs::write(&info, &before[..before.len() - 20]).unwrap();
        let ours = world.ours(&format!("copy{number}")).await;
        let source = world.source(number).await.unwrap();
        let plan = import::plan(&source, &ours.repository, &ImportConfig::default()).await.unwrap();
        assert!(plan.warnings.iter().any(|warning| warning.contains("backup.info")), "{:?}", plan.warnings);
        std::fs::write(&info, before).unwrap();
    }
}

async fn an_import_from_s3_is_the_same(world: &World) {
    let Some((_emulator, place)) = crate::emulators::s3().await else { return };
    let store = crate::emulators::store_at(&place);
    let path = world.path(RICHEST);
    for file in files_below(&path) {
        let name = file.strip_prefix(&path).unwrap().to_str().unwrap();
        store.put_if_absent(name, std::fs::read(&file).unwrap().into()).await.unwrap();
    }
    let source = Source::open(store, Some("main"), Some(&Passphrase::new(PASSPHRASE))).await.unwrap();
    let ours = world.ours("from-s3").await;
    let imported = ours.import(&source, Choice::Newest).await.unwrap();
    assert_eq!(imported.backups.len(), 1);
    let cluster = ours.cluster().await;
    assert!(cluster.verify(VerifyOptions::default()).await.unwrap().holds());
    let names: Vec<WalName> = cluster.wal(1).await.unwrap().into_iter().map(|stored| stored.name).collect();
    assert!(names.iter().any(|name| matches!(name, WalName::BackupHistory(..))), "{names:?}");
}
