//! archive_command and restore_command of tests and claims: the running program itself, called by the server.
//!
//! Without its variables each of them does nothing, so that it can be a test as well.

use std::path::Path;
use std::process::exit;

use db_backup::wal::{self, FATAL_EXIT, FetchConfig, Fetched, PushConfig};
use db_backup::{Keys, Repository};

use crate::emulators::store_at;

const STORE: &str = "DB_BACKUP_TEST_STORE";
const KEY: &str = "DB_BACKUP_TEST_KEY";
const SPOOL: &str = "DB_BACKUP_TEST_SPOOL";
const NAME: &str = "DB_BACKUP_TEST_NAME";
const PATH: &str = "DB_BACKUP_TEST_PATH";

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
    match wal::fetched_before(&name, path.as_ref(), &config) {
        Ok(true) => return,
        Ok(false) => {}
        Err(error) => {
            eprintln!("fetch: {error}");
            exit(FATAL_EXIT.into());
        }
    }
    match run(async { wal::fetch(&repository().await, &name, path.as_ref(), &config).await }) {
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
