//! Finds out when everybody who is ready to ask has asked, without a fixed delay.
//!
//! A batch closes after a turn of the executor in which no key came: a task that yields runs again when the
//! others that were ready have run. On a runtime of several threads another thread may be in the middle of
//! asking, which the turn of an idle thread does not show. Two things do: the caller who asked first is
//! polled again only when its own task has asked for all it needs, and keys still come in within a few
//! microseconds.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::Notify;
use tokio::task::yield_now;

/// How long no key came, where other threads may be asking. A turn of an idle thread takes about one
/// microsecond.
const QUIET: Duration = Duration::from_micros(5);

/// A steady stream of keys, or a first caller that nobody polls again, holds a batch open for no longer; both
/// together for ten times as long.
const LONGEST: Duration = Duration::from_millis(1);

/// Turns that a batch is open for, as long as keys come, however long they take.
const LEAST_TURNS: u32 = 4;

/// Turns before a first caller that is not polled again is waited for without turning.
const TURNS: u32 = 32;

#[derive(Debug, Default)]
pub(crate) struct Drain {
    arrivals: AtomicU64,
    first_is_busy: AtomicBool,
    first_is_done: Notify,
}

impl Drain {
    pub(crate) fn key_came(&self) {
        self.arrivals.fetch_add(1, Ordering::Relaxed);
    }

    /// A caller opens a batch: it is busy until [`first_turn`] is over.
    pub(crate) fn opened(&self) {
        self.first_is_busy.store(true, Ordering::Release);
    }

    fn first_done(&self) {
        self.first_is_busy.store(false, Ordering::Release);
        self.first_is_done.notify_one();
    }

    /// Waits until nobody asks any more, or until `is_full`.
    pub(crate) async fn drained(&self, is_full: impl Fn() -> bool) {
        let quiet = match Handle::current().runtime_flavor() {
            RuntimeFlavor::CurrentThread => Duration::ZERO,
            _ => QUIET,
        };
        let opened = Instant::now();
        let (mut seen, mut since, mut turns) = (self.arrivals.load(Ordering::Relaxed), opened, 0);
        while !is_full() {
            turns += 1;
            if turns > TURNS && self.first_is_busy.load(Ordering::Acquire) {
                let _ = tokio::time::timeout(LONGEST, self.first_is_done.notified()).await;
            } else {
                yield_now().await;
            }
            let now = Instant::now();
            let arrivals = self.arrivals.load(Ordering::Relaxed);
            if arrivals != seen {
                (seen, since) = (arrivals, now);
            } else if !self.first_is_busy.load(Ordering::Acquire) && now.duration_since(since) >= quiet {
                return;
            }
            // A caller that asks for much in one poll is waited for as long as keys come.
            let is_asking = self.first_is_busy.load(Ordering::Acquire) && now.duration_since(since) < LONGEST;
            let longest = if is_asking { 10 * LONGEST } else { LONGEST };
            // A thread that the system put aside for longer has not given anybody a turn.
            if turns >= LEAST_TURNS && now.duration_since(opened) >= longest {
                return;
            }
        }
    }
}

/// The turn of the caller who opened a batch: over when its task has run once more, or when it is dropped.
pub(crate) fn first_turn(drain: &Drain) -> impl Future<Output = ()> + Send {
    let turn = Turn(drain);
    async move {
        let _turn = turn;
        Again(false).await;
    }
}

struct Turn<'a>(&'a Drain);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.first_done();
    }
}

/// Asks to be polled again, once.
///
/// Not tokio's `yield_now`: that comes back when the thread has nothing else to do, which is later than
/// needed.
struct Again(bool);

impl Future for Again {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if std::mem::replace(&mut self.0, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }
}
