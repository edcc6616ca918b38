//! archive_command and restore_command of tests and claims: the running program itself, called by the server.
//!
//! Without its variables each of them does nothing, so that it can be a test as well.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio, exit};

use db_backup::wal::{self, FATAL_EXIT, FetchConfig, Fetched, PushConfig};
use db_backup::{Keys, Repository};

use crate::emulators::store_at;

pub(crate) const STORE: &str = "DB_BACKUP_TEST_STORE";
pub(crate) const KEY: &str = "DB_BACKUP_TEST_KEY";
pub(crate) const SPOOL: &str = "DB_BACKUP_TEST_SPOOL";
pub(crate) const NAME: &str = "DB_BACKUP_TEST_NAME";
pub(crate) const PATH: &str = "DB_BACKUP_TEST_PATH";
/// Set where it is to fetch ahead.
pub(crate) const REFILL: &str = "DB_BACKUP_TEST_REFILL";

/// The archive_command of a server that archives to this repository, named as [`store_at`] reads it.
pub(crate) fn push_command(store: &Path, keys: &Keys, spool: &Path) -> String {
    format!("{} {PATH}=%p {}", variables(store, keys, spool), program("commands::push"))
}

/// The restore_command of a server that is restored from this repository.
pub(crate) fn fetch_command(store: &Path, keys: &Keys, spool: &Path) -> String {
    format!("{} {NAME}=%f {PATH}=%p {}", variables(store, keys, spool), program("commands::fetch"))
}

fn variables(store: &Path, keys: &Keys, spool: &Path) -> String {
    let secret = keys.secret_text();
    format!("{STORE}={} {KEY}='{}' {SPOOL}={}", store.display(), &**secret, spool.display())
}

fn program(test: &str) -> String {
    let own = std::env::current_exe().unwrap();
    format!("{} --exact {test} --nocapture", own.display())
}

#[test]
fn push() {
    push_for_the_server();
}

#[test]
fn fetch() {
    fetch_for_the_server();
}

/// Does what the server asks of archive_command.
pub(crate) fn push_for_the_server() {
    let Some((repository, spool, path)) = asked() else { return };
    let config = PushConfig::new(spool);
    if wal::pushed_before(path.as_ref(), &config).unwrap() {
        return;
    }
    let pushed = run(async { wal::push(&repository().await, path.as_ref(), &config).await });
    if let Err(error) = pushed {
        eprintln!("push: {error}");
        exit(1);
    }
}

/// Does what the server asks of restore_command.
pub(crate) fn fetch_for_the_server() {
    let Some((repository, spool, path)) = asked() else { return };
    let name = std::env::var(NAME).unwrap();
    let config = FetchConfig { spool: Some(spool.into()), ..FetchConfig::default() };
    if std::env::var_os(REFILL).is_some() {
        let _ = run(async { wal::refill(&repository().await, path.as_ref(), &config).await });
        return;
    }
    let fetched = run(async {
        if wal::fetched_before(&name, path.as_ref(), &config).await? {
            return Ok(Fetched::Restored);
        }
        wal::fetch(&repository().await, &name, path.as_ref(), &config).await
    });
    match fetched {
        Ok(Fetched::Restored) if wal::needs_refill(&name, &config) => {
            let mut ahead = Command::new(std::env::current_exe().unwrap());
            ahead.args(std::env::args_os().skip(1)).env(REFILL, "").process_group(0);
            ahead.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            assert!(ahead.spawn().is_ok(), "nothing is fetched ahead");
        }
        Ok(Fetched::Restored) => {}
        Ok(Fetched::NotThere) => exit(1),
        Err(error) => {
            eprintln!("fetch: {error}");
            exit(FATAL_EXIT.into());
        }
    }
}

fn asked() -> Option<(impl AsyncFn() -> Repository, String, String)> {
    let variable = |name: &str| std::env::var(name).ok();
    let (store, key) = (variable(STORE)?, variable(KEY)?);
    let repository = async move || {
        let keys = Keys::from_text(&key).unwrap();
        Repository::open(store_at(&store), &keys).await.unwrap()
    };
    Some((repository, variable(SPOOL)?, variable(PATH)?))
}

fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(work)
}
