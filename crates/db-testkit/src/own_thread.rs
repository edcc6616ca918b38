//! A thread with a runtime of its own, for what must go on while a test blocks its runtime or pauses its
//! clock.

use std::io;
use std::net::SocketAddr;
use std::thread::JoinHandle;

use tokio::runtime::Builder;
use tokio::sync::oneshot;

/// A thread that works until this is dropped: when `drop` returns, all that was on it is gone.
#[derive(Debug)]
pub(crate) struct OwnThread {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl OwnThread {
    /// `begin` opens a port inside the runtime, so that it is there when this returns, and makes the work,
    /// which ends when it is told to. The thread is called `name` and the port.
    ///
    /// # Errors
    /// When no thread or no runtime can be had, and those of `begin`.
    pub(crate) fn start<W>(
        name: &str,
        begin: impl FnOnce(oneshot::Receiver<()>) -> io::Result<(SocketAddr, W)>,
    ) -> io::Result<(Self, SocketAddr)>
    where
        W: Future<Output = ()> + Send + 'static,
    {
        let runtime = Builder::new_current_thread().enable_io().enable_time().build()?;
        let (stop, stopped) = oneshot::channel();
        let (address, work) = {
            let _entered = runtime.enter();
            begin(stopped)?
        };
        let thread = std::thread::Builder::new().name(format!("{name}-{}", address.port()));
        let thread = thread.spawn(move || runtime.block_on(work))?;
        Ok((OwnThread { stop: Some(stop), thread: Some(thread) }, address))
    }
}

impl Drop for OwnThread {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It can only have panicked, and said so: a second panic here would abort the process.
            let _ = thread.join();
        }
    }
}
