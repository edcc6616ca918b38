//! Whether a connection is still answered: one task watches it, so that no question needs a timer of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use tokio::task::AbortHandle;

/// What is known of the answers on one connection.
#[derive(Debug, Default)]
pub(super) struct Hearing {
    is_over: AtomicBool,
    /// For how long nothing was answered, where it was given up for that, in milliseconds.
    silent_ms: AtomicU32,
    answers: AtomicU32,
    /// Questions whose callers wait.
    waiting: AtomicU32,
    /// Questions since the last answer whose callers have given up. Nobody knows whether they were answered:
    /// one of them says nothing.
    given_up: AtomicU32,
}

/// A question under way.
pub(super) struct Question<'a> {
    hearing: &'a Hearing,
    is_answered: bool,
}

/// How many times it is looked at a connection before it is given up.
const LOOKS: u32 = 4;

impl Hearing {
    /// A caller asks, and gives up where it drops the question.
    pub(super) fn ask(&self) -> Question<'_> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        Question { hearing: self, is_answered: false }
    }

    pub(super) fn end(&self) {
        self.is_over.store(true, Ordering::Release);
    }

    pub(super) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }

    /// For how long nothing was answered, where the connection was given up for that.
    pub(super) fn silence(&self) -> Option<Duration> {
        let ms = self.silent_ms.load(Ordering::Acquire);
        (ms > 0).then(|| Duration::from_millis(ms.into()))
    }

    fn misses_answers(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0 || self.given_up.load(Ordering::Relaxed) > 1
    }
}

impl Question<'_> {
    pub(super) fn answered(mut self) {
        self.is_answered = true;
    }
}

impl Drop for Question<'_> {
    fn drop(&mut self) {
        self.hearing.waiting.fetch_sub(1, Ordering::Relaxed);
        if self.is_answered {
            self.hearing.answers.fetch_add(1, Ordering::Relaxed);
            self.hearing.given_up.store(0, Ordering::Relaxed);
        } else {
            self.hearing.given_up.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Gives a connection up on which nothing was answered for `limit`, or a little longer, while somebody asked:
/// its callers are told so, and nobody asks there any more.
pub(super) async fn watch(hearing: Arc<Hearing>, limit: Duration, driver: AbortHandle) {
    let pause = (limit / LOOKS).max(Duration::from_millis(1));
    let (mut heard, mut silent_for) = (hearing.answers.load(Ordering::Relaxed), 0);
    while silent_for <= LOOKS {
        tokio::time::sleep(pause).await;
        let answers = hearing.answers.load(Ordering::Relaxed);
        silent_for = if answers == heard && hearing.misses_answers() { silent_for + 1 } else { 0 };
        heard = answers;
    }
    let ms = u32::try_from(limit.as_millis()).unwrap_or(u32::MAX).max(1);
    hearing.silent_ms.store(ms, Ordering::Release);
    hearing.end();
    driver.abort();
}
