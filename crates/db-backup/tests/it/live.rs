//! A real server that archives to a repository, and servers that are restored from it.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use db_backup::restore::{self, RestoreConfig, Target};
use db_backup::take::{TakeConfig, Taken, take};
use db_backup::{Cluster, Keys, PhysicalError, Progress, Protection, Repository};
use db_testkit::{Cluster as TestCluster, Restored};
use diesel_async::{AsyncPgConnection, SimpleAsyncConnection};

use crate::commands::{fetch_command, push_command};
use crate::emulators::store_at;

/// A directory that goes with its value, in memory. The server runs as another account and writes into it as
/// well.
pub(crate) fn home() -> tempfile::TempDir {
    rustix::process::umask(rustix::fs::Mode::empty());
    let home = tempfile::Builder::new().prefix("db-backup-").tempdir_in("/dev/shm").unwrap();
    std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    home
}

/// A server with its archive.
pub(crate) struct Live {
    pub(crate) home: tempfile::TempDir,
    /// The repository's name, as `store_at` reads it.
    place: PathBuf,
    pub(crate) keys: Keys,
    pub(crate) repository: Repository,
    pub(crate) server: TestCluster,
}

impl Live {
    /// A new server of this version that archives to a new repository.
    pub(crate) async fn start(major: Option<u16>, settings: &[(&str, &str)]) -> Live {
        Self::start_with(major, settings, 0).await
    }

    /// The same with standbys, which archive once they are promoted.
    pub(crate) async fn start_with(major: Option<u16>, settings: &[(&str, &str)], standbys: usize) -> Live {
        let home = home();
        let place = home.path().join("store");
        Self::start_at(home, place, major, settings, standbys).await
    }

    /// The same in this home, with its repository at this place.
    pub(crate) async fn start_at(
        home: tempfile::TempDir,
        place: PathBuf,
        major: Option<u16>,
        settings: &[(&str, &str)],
        standbys: usize,
    ) -> Live {
        let spool = home.path().join("spool");
        let keys = Keys::generate();
        let store = store_at(place.to_str().unwrap());
        let (repository, _) = Repository::init(store, &keys, Protection::Encrypted).await.unwrap();
        let mut builder = TestCluster::builder()
            .standbys(standbys)
            .setting("archive_mode", "on")
            .setting("full_page_writes", "on")
            .setting("archive_command", push_command(&place, &keys, &spool));
        for (name, value) in settings {
            builder = builder.setting(*name, *value);
        }
        if let Some(major) = major {
            builder = builder.version(major);
        }
        let server = builder.start().await.unwrap();
        Live { home, place, keys, repository, server }
    }

    pub(crate) fn config(&self) -> TakeConfig {
        TakeConfig::new(self.server.primary_url().parse().unwrap())
    }

    pub(crate) async fn take(&self) -> Taken {
        take(&self.repository, &self.config(), &|_| ()).await.unwrap()
    }

    pub(crate) async fn cluster(&self) -> Cluster {
        let all = self.repository.clusters().await.unwrap();
        assert_eq!(all.len(), 1, "one server, one cluster");
        self.repository.cluster(all[0])
    }

    pub(crate) async fn connect(&self) -> AsyncPgConnection {
        self.server.connect(self.server.primary()).await.unwrap()
    }

    pub(crate) async fn run(&self, sql: &str) {
        self.connect().await.batch_execute(sql).await.unwrap();
    }

    pub(crate) async fn text(&self, sql: &str) -> String {
        text(&mut self.connect().await, sql).await
    }

    /// Finishes the segment and waits until it is archived. From PostgreSQL 17 on the name of a position
    /// between two segments is that of the later one, which may have nothing in it yet.
    pub(crate) async fn archive(&self) {
        let segment = self.text("SELECT pg_walfile_name(pg_switch_wal() - 1)::text AS t").await;
        let sql =
            format!("SELECT (last_archived_wal >= '{segment}' IS TRUE)::text AS t FROM pg_stat_archiver");
        db_testkit::until("the segment is archived", async || self.text(&sql).await == "true").await;
    }

    pub(crate) fn restore_to(&self, name: &str, target: Target) -> RestoreConfig {
        RestoreConfig {
            target,
            restore_command: fetch_command(&self.place, &self.keys, &self.home.path().join("ahead")),
            ..RestoreConfig::to(self.home.path().join(name))
        }
    }

    /// Restores and starts what was restored.
    pub(crate) async fn restored(&self, config: &RestoreConfig) -> Result<Restored, PhysicalError> {
        let cluster = self.cluster().await;
        let plan = restore::plan(&cluster, config).await?;
        let tell = |progress: Progress| {
            if let Progress::Warning(warning) = progress {
                eprintln!("{warning}");
            }
        };
        restore::apply(&cluster, config, &plan, &tell).await?;
        Ok(Restored::start(&config.directory, "app"))
    }
}

#[derive(diesel::QueryableByName)]
struct Text {
    #[diesel(sql_type = diesel::sql_types::Text)]
    t: String,
}

/// The answer to a query whose only column is called `t`.
pub(crate) async fn text(conn: &mut AsyncPgConnection, sql: &str) -> String {
    diesel_async::RunQueryDsl::get_result::<Text>(diesel::sql_query(sql), conn).await.unwrap().t
}
