//! What was logged, kept for a test to read.

use std::io;
use std::sync::{Arc, Mutex};

use tracing_subscriber::fmt::MakeWriter;

/// What was logged.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// What was logged while `work` ran on this thread.
    pub(crate) fn of(work: impl FnOnce()) -> String {
        let log = Log::default();
        let subscriber = tracing_subscriber::fmt().with_writer(log.clone()).with_ansi(false).finish();
        tracing::subscriber::with_default(subscriber, work);
        log.text()
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    /// The lines that contain this.
    pub(crate) fn lines(&self, what: &str) -> Vec<String> {
        self.text().lines().filter(|line| line.contains(what)).map(str::to_owned).collect()
    }

    /// How many lines contain this.
    pub(crate) fn count(&self, part: &str) -> usize {
        self.text().lines().filter(|line| line.contains(part)).count()
    }

    /// The first line that contains all of this.
    pub(crate) fn line(&self, parts: &[&str]) -> Option<String> {
        self.text().lines().find(|line| parts.iter().all(|part| line.contains(part))).map(str::to_owned)
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Log;

    fn make_writer(&'a self) -> Log {
        self.clone()
    }
}
