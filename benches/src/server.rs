//! The server that everything is measured on, and the runtimes that it is measured in.

use db_testkit::TestDatabase;
use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};
use tokio::runtime::Runtime;
use tokio_postgres::NoTls;

/// Runs `measure` with the URL of an empty database, in a runtime of one thread.
///
/// One thread is the strictest for ratios: nothing of what ours does more can hide on another core.
pub fn on_one_thread<T>(measure: impl AsyncFnOnce(&str) -> T) -> T {
    run(&one_thread(), measure)
}

/// The same in a runtime of two threads.
pub fn on_two_threads<T>(measure: impl AsyncFnOnce(&str) -> T) -> T {
    run(&two_threads(), measure)
}

/// A runtime of one thread.
pub fn one_thread() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// A runtime of two threads.
pub fn two_threads() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

fn run<T>(runtime: &Runtime, measure: impl AsyncFnOnce(&str) -> T) -> T {
    runtime.block_on(async {
        let database = TestDatabase::empty().await.unwrap();
        measure(database.url()).await
    })
}

/// Keeps this thread, and every session that the server opens, on one processor, until it is dropped.
///
/// A client and a server that take turns are up to three times slower on two processors than on one, and
/// where the system puts which session is a matter of luck that lasts: it would decide every comparison of
/// two connections.
#[derive(Debug)]
pub struct OnOneProcessor {
    before: CpuSet,
    postmaster: Option<Pid>,
}

impl OnOneProcessor {
    /// Moves this thread, and the sessions that are opened from now on. The server must be on this machine.
    pub async fn keep(url: &str) -> Self {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
        let driver = tokio::spawn(connection);
        let sql = r"SELECT split_part(pg_read_file('postmaster.pid'), E'\n', 1)::int4";
        let postmaster = Pid::from_raw(client.query_one(sql, &[]).await.unwrap().get(0));
        driver.abort();
        let before = sched_getaffinity(None).unwrap();
        let mut here = CpuSet::new();
        here.set(sched_getcpu());
        sched_setaffinity(None, &here).unwrap();
        sched_setaffinity(postmaster, &here).unwrap();
        OnOneProcessor { before, postmaster }
    }
}

impl Drop for OnOneProcessor {
    fn drop(&mut self) {
        sched_setaffinity(None, &self.before).unwrap();
        sched_setaffinity(self.postmaster, &self.before).unwrap();
    }
}
