//! Keeps the long part of `/metrics` written, so that a request neither writes it nor waits for it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::{oneshot, watch};

use crate::server::Snapshot;
use crate::server::prometheus::SlowText;

/// Nobody has asked for so long: nobody is about to.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(5 * 60);
/// Between two writings this many times the time of one goes by: several databases that are read one after
/// the other make one text, and whoever serves requests has the cores.
const PAUSE_TO_WRITING: u32 = 25;
/// As `nice` has it.
#[cfg(target_os = "linux")]
const BACKGROUND: i32 = 10;
/// What is shown is never older than what was read by more than this.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The text of the parts that are read a minute apart or more, written on a thread of its own as soon as one
/// was read again, while somebody asks for it.
#[derive(Default)]
pub(crate) struct TextAtHand {
    text: Arc<ArcSwap<SlowText>>,
    asked: Mutex<Option<Instant>>,
    gzip_is_wanted: Arc<AtomicBool>,
    is_kept: AtomicBool,
}

impl TextAtHand {
    /// The text of this snapshot, or of the one before while this one's is being written.
    pub(crate) fn asked_for(&self, snapshot: &Snapshot) -> Arc<SlowText> {
        let was_wanted = self.is_wanted();
        *self.asked.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        let kept = self.text.load_full();
        if was_wanted && self.is_kept.load(Ordering::Relaxed) || kept.is_of(snapshot) {
            return kept;
        }
        let anew = Arc::new(SlowText::of(snapshot));
        self.text.store(Arc::clone(&anew));
        anew
    }

    /// From now on it is compressed as well.
    #[cfg(feature = "axum")]
    pub(crate) fn wants_gzip(&self) {
        self.gzip_is_wanted.store(true, Ordering::Relaxed);
    }

    fn is_wanted(&self) -> bool {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.is_some_and(|at| at.elapsed() < FORGOTTEN_AFTER)
    }

    /// Writes it anew at each change, until it is dropped.
    pub(crate) async fn keep(&self, latest: &ArcSwap<Snapshot>, mut changes: watch::Receiver<u64>) {
        let _until_dropped = Kept::of(&self.is_kept);
        // The sender lives as long as the collector.
        while changes.changed().await.is_ok() {
            let snapshot = latest.load_full();
            if !self.is_wanted() || self.text.load().is_of(&snapshot) {
                continue;
            }
            let (text, gzip_is_wanted) = (Arc::clone(&self.text), Arc::clone(&self.gzip_is_wanted));
            let (written, is_written) = oneshot::channel();
            let began = Instant::now();
            let write = move || {
                step_back();
                let anew = SlowText::of(&snapshot);
                #[cfg(feature = "axum")]
                if gzip_is_wanted.load(Ordering::Relaxed) {
                    anew.gzip();
                }
                #[cfg(not(feature = "axum"))]
                drop(gzip_is_wanted);
                text.store(Arc::new(anew));
                // Nobody waits any more where the collector ends.
                let _ = written.send(());
            };
            // A thread of its own, because its priority is lower than that of those who serve.
            if std::thread::Builder::new().name("metrics-text".to_owned()).spawn(write).is_ok() {
                let _ = is_written.await;
            }
            let pause = began.elapsed().saturating_mul(PAUSE_TO_WRITING).min(LONGEST_PAUSE);
            tokio::time::sleep(pause).await;
        }
    }
}

/// Lets every other thread go first that wants a core: nobody waits for the text.
fn step_back() {
    // On Linux a thread has a priority of its own. One that keeps its old one works as well.
    #[cfg(target_os = "linux")]
    let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), BACKGROUND);
}

/// Says that the text is kept, for as long as it lives.
struct Kept<'a>(&'a AtomicBool);

impl<'a> Kept<'a> {
    fn of(is_kept: &'a AtomicBool) -> Self {
        is_kept.store(true, Ordering::Relaxed);
        Kept(is_kept)
    }
}

impl Drop for Kept<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}
