//! A real server that archives with `dbctl wal push`, its repository, and servers that are restored from it.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use db_testkit::Cluster;
use diesel_async::SimpleAsyncConnection;
use serde_json::Value;

use crate::run::{Run, ask_on, dbctl};

pub(crate) const DBCTL: &str = env!("CARGO_BIN_EXE_dbctl");

/// Runs dbctl with a file of settings.
pub(crate) async fn with_settings(file: &Path, arguments: &[&str]) -> Run {
    let all: Vec<&str> = ["--settings", file.to_str().unwrap()].iter().chain(arguments).copied().collect();
    dbctl(&[], &all).await
}

/// A server with its archive, and a file of settings that says where it is.
pub(crate) struct Live {
    pub(crate) home: tempfile::TempDir,
    pub(crate) server: Cluster,
}

impl Live {
    /// A new server that archives to a new repository. Its file of settings ends with `more`.
    pub(crate) async fn start(more: &str) -> Live {
        Live::start_with(more, &[]).await
    }

    /// The same, with settings of the server.
    pub(crate) async fn start_with(more: &str, server: &[(&str, &str)]) -> Live {
        // The server runs as another account and writes into the same directories.
        rustix::process::umask(rustix::fs::Mode::empty());
        let home = tempfile::Builder::new().prefix("dbctl-").tempdir_in("/dev/shm").unwrap();
        std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        let settings = home.path().join("dbctl.env");
        let (push, spool) = (format!("{DBCTL} --settings {}", settings.display()), home.path().join("spool"));
        let mut builder = Cluster::builder()
            .setting("archive_mode", "on")
            .setting("full_page_writes", "on")
            .setting("archive_command", format!("{push} wal push %p --spool {}", spool.display()));
        for (name, value) in server {
            builder = builder.setting(*name, *value);
        }
        let server = builder.start().await.unwrap();
        let live = Live { home, server };
        let store = live.path("store");
        let text = format!(
            "DATABASE_URL={}\nBACKUP_DIR={}\nBACKUP_ENCRYPTION_KEY=correct horse battery staple\n{more}\n",
            live.server.primary_url(),
            store.display(),
        );
        // Archiving may have failed before this was there: the server tries again.
        std::fs::write(&settings, text).unwrap();
        live
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// Runs dbctl with the file of settings.
    pub(crate) async fn dbctl(&self, arguments: &[&str]) -> Run {
        with_settings(&self.path("dbctl.env"), arguments).await
    }

    /// The same, which must succeed; its JSON.
    #[track_caller]
    pub(crate) fn json(&self, arguments: &[&str]) -> impl Future<Output = Value> {
        let caller = std::panic::Location::caller();
        let arguments: Vec<String> = arguments.iter().map(|one| (*one).to_owned()).collect();
        async move {
            let mut all: Vec<&str> = vec!["--json"];
            all.extend(arguments.iter().map(String::as_str));
            let run = self.dbctl(&all).await;
            assert_eq!(run.code, Some(0), "{caller}: {arguments:?}: {}{}", run.out, run.err);
            serde_json::from_str(&run.out).unwrap()
        }
    }

    pub(crate) async fn run(&self, sql: &str) {
        let mut conn = self.server.connect(self.server.primary()).await.unwrap();
        conn.batch_execute(sql).await.unwrap();
    }

    /// The answer of an expression, as text.
    pub(crate) async fn ask(&self, expression: &str) -> String {
        let mut conn = self.server.connect(self.server.primary()).await.unwrap();
        ask_on(&mut conn, expression).await
    }

    /// Finishes the segment and waits until it is archived, and nothing else is to be. From PostgreSQL 17 on
    /// the name of a position between two segments is that of the later one, which may have nothing in it
    /// yet.
    pub(crate) async fn archive(&self) {
        let segment = self.ask("pg_walfile_name(pg_switch_wal() - 1)").await;
        let began = Instant::now();
        let is_done = format!(
            "SELECT last_archived_wal >= '{segment}' AND NOT EXISTS (SELECT FROM pg_ls_archive_statusdir() \
             WHERE name LIKE '%.ready') FROM pg_stat_archiver"
        );
        while self.ask(&is_done).await != "true" {
            assert!(began.elapsed() < Duration::from_secs(60), "{segment} is not archived");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// The files of whole segments below a store, in order.
pub(crate) fn segments(store: &Path) -> Vec<PathBuf> {
    let (mut found, mut directories) = (Vec::new(), vec![store.join("clusters")]);
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            match entry.file_type().unwrap().is_dir() {
                true => directories.push(entry.path()),
                false if name.len() == 24 && name.starts_with("00000001") => found.push(entry.path()),
                false => {}
            }
        }
    }
    found.sort();
    found
}
