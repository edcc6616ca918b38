//! Drops a future at every point where it can be dropped.
//!
//! Cancellation in Rust happens between two polls, so a future that needs n polls has n - 1 places where it
//! can be cut off. The harness visits them all: it polls a fresh future once and drops it, then one twice,
//! and so on until one completes. Between two polls it waits until the future was woken, so that real servers
//! get to answer; polls that nothing woke do not count, and are not passed on.

use crate::error::TestkitError;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

/// The longest that one future may go without being woken.
const WOKEN_WITHIN: Duration = Duration::from_secs(30);
/// More polls than any future under test should need.
const MOST_POLLS: usize = 10_000;

/// What became of a future that was polled a limited number of times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Polled<T> {
    /// It completed.
    Ready {
        /// What it returned.
        output: T,
        /// In how many polls.
        polls: usize,
    },
    /// It was still pending after its last poll, and has been dropped.
    Cancelled,
}

/// Polls `future` at most `polls` times, then drops it.
///
/// Waits between polls until something wakes the future. Needs a tokio runtime with a clock that is not
/// paused.
///
/// # Errors
/// When nothing wakes it for half a minute.
pub async fn poll_times<F: Future>(future: F, polls: usize) -> Result<Polled<F::Output>, TestkitError> {
    let alarm = Arc::new(Alarm { woken: AtomicBool::new(true), outer: Mutex::new(Waker::noop().clone()) });
    let waker = Waker::from(Arc::clone(&alarm));
    let mut future = pin!(future);
    for poll in 1..=polls {
        let step = Step { future: future.as_mut(), alarm: &alarm, waker: &waker };
        let step = tokio::time::timeout(WOKEN_WITHIN, step).await.map_err(|_| TestkitError::Timeout {
            what: format!("a wake-up before poll {poll}"),
            waited: WOKEN_WITHIN,
            seen: "the future is pending and nothing wakes it".to_owned(),
        })?;
        if let Poll::Ready(output) = step {
            return Ok(Polled::Ready { output, polls: poll });
        }
    }
    Ok(Polled::Cancelled)
}

/// Runs fresh futures from `make`, dropping the first after one poll, the second after two, and so on until
/// one completes; returns how many polls that one needed.
///
/// `after` runs each time one was dropped, with the number of its polls: the place to check that the pool is
/// whole, the lock is free, the next query gets its own answer. Every future must do the same work, so `make`
/// starts each from the same state.
///
/// # Errors
/// When a future is not woken for half a minute, or does not complete in ten thousand polls.
pub async fn cancel_at_each_poll<T>(
    mut make: impl AsyncFnMut() -> T,
    mut after: impl AsyncFnMut(usize),
) -> Result<usize, TestkitError> {
    for polls in 1..=MOST_POLLS {
        match poll_times(make(), polls).await? {
            Polled::Ready { polls, .. } => return Ok(polls),
            Polled::Cancelled => after(polls).await,
        }
    }
    Err(TestkitError::Endless { what: "the future that is cancelled at each poll", times: MOST_POLLS })
}

/// Remembers that the future was woken, and wakes the task around it.
struct Alarm {
    woken: AtomicBool,
    outer: Mutex<Waker>,
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.store(true, Ordering::SeqCst);
        let outer = self.outer.lock().unwrap_or_else(PoisonError::into_inner).clone();
        outer.wake();
    }
}

/// One poll of the future, made once it has been woken.
struct Step<'a, F> {
    future: Pin<&'a mut F>,
    alarm: &'a Alarm,
    waker: &'a Waker,
}

impl<F: Future> Future for Step<'_, F> {
    type Output = Poll<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.alarm.outer.lock().unwrap_or_else(PoisonError::into_inner).clone_from(cx.waker());
        if !self.alarm.woken.swap(false, Ordering::SeqCst) {
            return Poll::Pending;
        }
        let waker = self.waker;
        Poll::Ready(self.future.as_mut().poll(&mut Context::from_waker(waker)))
    }
}

#[cfg(test)]
mod tests {
    use super::{Polled, cancel_at_each_poll, poll_times};
    use std::cell::Cell;

    async fn yields(times: usize) -> &'static str {
        for _ in 0..times {
            tokio::task::yield_now().await;
        }
        "done"
    }

    #[tokio::test]
    async fn a_future_is_polled_as_often_as_asked_and_no_more() {
        assert_eq!(poll_times(yields(3), 3).await.unwrap(), Polled::Cancelled);
        assert_eq!(poll_times(yields(3), 4).await.unwrap(), Polled::Ready { output: "done", polls: 4 });
        assert_eq!(poll_times(yields(0), 0).await.unwrap(), Polled::Cancelled);
    }

    #[tokio::test]
    async fn every_place_of_cancellation_is_visited_once() {
        let started = Cell::new(0);
        let mut visited = Vec::new();
        let polls = cancel_at_each_poll(
            || {
                started.set(started.get() + 1);
                yields(4)
            },
            async |polls| visited.push(polls),
        )
        .await
        .unwrap();
        assert_eq!((polls, started.get(), visited), (5, 5, vec![1, 2, 3, 4]));
    }

    #[tokio::test]
    async fn a_poll_that_nothing_woke_is_not_passed_on() {
        let polls = Cell::new(0);
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let counted = async {
            let mut receiver = std::pin::pin!(receiver);
            std::future::poll_fn(|cx| {
                polls.set(polls.get() + 1);
                receiver.as_mut().poll(cx)
            })
            .await
        };
        // The other branch wakes the task many times before the future is ready.
        let (polled, ()) = tokio::join!(poll_times(counted, 10), async {
            yields(20).await;
            sender.send(7).unwrap();
        });
        assert_eq!(polled.unwrap(), Polled::Ready { output: Ok(7), polls: 2 });
        assert_eq!(polls.get(), 2);
    }
}
