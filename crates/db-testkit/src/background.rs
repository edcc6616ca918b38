//! The kit's own thread, on which its connections and its cleaning up live.
//!
//! Test functions come and go with their runtimes, block them, pause their clocks or have none. What must go
//! on regardless (the lock that says that this process lives, dropping a database inside a panic) happens
//! here.

use crate::error::TestkitError;
use std::cell::Cell;
use std::sync::{OnceLock, mpsc};
use std::time::Duration;
use tokio::runtime::{Builder, Handle};

thread_local! {
    static IS_BACKGROUND: Cell<bool> = const { Cell::new(false) };
}

/// Runs a future on the kit's thread and waits for it without blocking.
pub(crate) async fn run<T: Send + 'static>(
    doing: &str,
    work: impl Future<Output = T> + Send + 'static,
) -> Result<T, TestkitError> {
    let gone = || TestkitError::Background(doing.to_owned());
    handle().ok_or_else(gone)?.spawn(work).await.map_err(|_| gone())
}

/// Runs a blocking function on a thread of the kit's and waits for it without blocking.
pub(crate) async fn blocking<T: Send + 'static>(
    doing: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, TestkitError> {
    let gone = || TestkitError::Background(doing.to_owned());
    handle().ok_or_else(gone)?.spawn_blocking(work).await.map_err(|_| gone())
}

/// Runs a future on the kit's thread and blocks until it is done, for `drop`; false when it was not in time.
///
/// On the kit's own thread it only begins the work: waiting there for oneself would take for ever.
pub(crate) fn finish(limit: Duration, work: impl Future<Output = ()> + Send + 'static) -> bool {
    let Some(handle) = handle() else { return false };
    if IS_BACKGROUND.get() {
        handle.spawn(work);
        return true;
    }
    let (done, wait) = mpsc::channel();
    handle.spawn(async move {
        work.await;
        let _ = done.send(());
    });
    wait.recv_timeout(limit).is_ok()
}

fn handle() -> Option<&'static Handle> {
    static HANDLE: OnceLock<Option<Handle>> = OnceLock::new();
    HANDLE.get_or_init(start).as_ref()
}

fn start() -> Option<Handle> {
    let runtime = Builder::new_current_thread().enable_io().enable_time().build().ok()?;
    let handle = runtime.handle().clone();
    // It ends with the process: nothing that it does needs an orderly end.
    std::thread::Builder::new()
        .name("db-testkit".to_owned())
        .spawn(move || {
            IS_BACKGROUND.set(true);
            runtime.block_on(std::future::pending::<()>());
        })
        .ok()?;
    Some(handle)
}
