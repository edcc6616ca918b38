//! A real server that archives to a repository, and servers that are restored from it.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use db_backup::restore::{self, RestoreConfig, Target};
use db_backup::take::{TakeConfig, Taken, take};
use db_backup::{Cluster, Keys, PhysicalError, Progress, Protection, Repository, Store};
use db_testkit::Cluster as TestCluster;
use diesel_async::{AsyncPgConnection, SimpleAsyncConnection};

use crate::commands::{fetch_command, push_command};

/// A server with its archive.
pub(crate) struct Live {
    pub(crate) home: tempfile::TempDir,
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
        // The server runs as another account and writes into the same directories.
        rustix::process::umask(rustix::fs::Mode::empty());
        let home = tempfile::Builder::new().prefix("db-backup-").tempdir_in("/dev/shm").unwrap();
        std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        let (store, spool) = (home.path().join("store"), home.path().join("spool"));
        let keys = Keys::generate();
        let (repository, _) =
            Repository::init(Store::local(&store).unwrap(), &keys, Protection::Encrypted).await.unwrap();
        let mut builder = TestCluster::builder()
            .standbys(standbys)
            .setting("archive_mode", "on")
            .setting("full_page_writes", "on")
            .setting("archive_command", push_command(&store, &keys, &spool));
        for (name, value) in settings {
            builder = builder.setting(*name, *value);
        }
        if let Some(major) = major {
            builder = builder.version(major);
        }
        let server = builder.start().await.unwrap();
        Live { home, keys, repository, server }
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

    /// Finishes the segment and waits until it is archived. From PostgreSQL 17 on the name of a position between two segments is
    /// that of the later one, which may have nothing in it yet.
    pub(crate) async fn archive(&self) {
        let segment = self.text("SELECT pg_walfile_name(pg_switch_wal() - 1)::text AS t").await;
        let sql =
            format!("SELECT (last_archived_wal >= '{segment}' IS TRUE)::text AS t FROM pg_stat_archiver");
        db_testkit::until("the segment is archived", async || self.text(&sql).await == "true").await;
    }

    pub(crate) fn restore_to(&self, name: &str, target: Target) -> RestoreConfig {
        RestoreConfig {
            target,
            restore_command: fetch_command(
                &self.home.path().join("store"),
                &self.keys,
                &self.home.path().join("ahead"),
            ),
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
        let bin = db_server::find(Some(plan_major(&cluster, &plan).await), &|_| ()).unwrap().bin;
        Ok(Restored::start(&bin, &config.directory))
    }
}

async fn plan_major(cluster: &Cluster, plan: &restore::Plan) -> u16 {
    let manifest = cluster.manifest(&plan.backup).await.unwrap();
    u16::try_from(manifest.summary.server.version / 10_000).unwrap()
}

/// Starts a server on a directory that was restored, of the version that is installed.
pub(crate) fn start(data: &Path) -> Restored {
    let major = std::fs::read_to_string(data.join("PG_VERSION")).unwrap().trim().parse().unwrap();
    Restored::start(&db_server::find(Some(major), &|_| ()).unwrap().bin, data)
}

/// A server that was restored.
pub(crate) struct Restored {
    child: Child,
    bin: PathBuf,
    data: PathBuf,
}

impl Restored {
    fn start(bin: &Path, data: &Path) -> Restored {
        use std::os::unix::process::CommandExt;
        let log = std::fs::File::create(data.with_extension("log")).unwrap();
        let mut command = Command::new(bin.join("postgres"));
        command.arg("-D").arg(data).current_dir(data).env("LC_ALL", "C");
        command.args(["-c", "listen_addresses=", "-c", "port=5432", "-c"]);
        command.arg(format!("unix_socket_directories={}", data.display()));
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        if let Some(account) = db_server::Account::for_servers().unwrap() {
            command.uid(account.uid).gid(account.gid);
        }
        Restored { child: command.spawn().unwrap(), bin: bin.to_owned(), data: data.to_owned() }
    }

    /// The answer to a query, once the server takes writes.
    pub(crate) fn text(&mut self, sql: &str) -> String {
        self.ready().unwrap();
        self.psql(sql)
    }

    pub(crate) fn psql(&self, sql: &str) -> String {
        let mut psql = Command::new(self.bin.join("psql"));
        psql.env("PGPASSWORD", db_testkit::password()).arg("-h").arg(&self.data);
        psql.args(["-U", "postgres", "-d", "app", "-XAtqc", sql]);
        let output = psql.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Waits until it takes writes; an error is its log.
    pub(crate) fn ready(&mut self) -> Result<(), String> {
        let began = Instant::now();
        loop {
            let status = std::fs::read_to_string(self.data.join("postmaster.pid")).unwrap_or_default();
            if status.lines().nth(7).is_some_and(|line| line.trim() == "ready") {
                return Ok(());
            }
            let ended = self.child.try_wait().unwrap().is_some();
            if ended || began.elapsed() > Duration::from_secs(60) {
                return Err(self.log());
            }
            db_server::wait_until(Duration::from_millis(20), || false);
        }
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.data.with_extension("log")).unwrap_or_default()
    }
}

impl Drop for Restored {
    fn drop(&mut self) {
        if let Some(stamp) = db_server::process::Stamp::of(self.child.id()) {
            stamp.signal(db_server::process::Signal::Quit);
        }
        let _ = self.child.wait();
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
