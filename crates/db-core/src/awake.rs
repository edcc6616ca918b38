//! A limit on time that a busy runtime does not use up: what was late for our own reasons says nothing of a
//! server.
//!
//! A timer and an answer may both be there when a thread that was busy comes to look, and an answer often
//! takes several steps. So the time is cut into parts, and however late a part ends, it counts for no more
//! than its own length.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

/// So many parts: each gives what is waited for one more turn.
const PARTS: u32 = 8;

/// Waits for `work`, but not for longer than `limit` of the time in which the runtime gets to it; none is too
/// late.
///
/// `sleep` makes the runtime's timer. For questions whose answer decides whether a server is there; a
/// caller's own deadline is the clock's.
///
/// ```no_run
/// # async fn ask() {}
/// # async fn sleep(_: std::time::Duration) {}
/// # async fn example() {
/// let limit = std::time::Duration::from_millis(400);
/// let answered = db_core::awake::within(limit, sleep, ask()).await.is_some(); // with tokio: tokio::time::sleep
/// # }
/// ```
///
/// # Cancel safety
/// As that of `work`, which is dropped where it is too late.
pub async fn within<F: Future, S: Future<Output = ()>>(
    limit: Duration,
    mut sleep: impl FnMut(Duration) -> S,
    work: F,
) -> Option<F::Output> {
    let mut work = pin!(work);
    for _ in 0..PARTS {
        let mut part = pin!(sleep(limit / PARTS));
        let turn = poll_fn(|context| match work.as_mut().poll(context) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending => part.as_mut().poll(context).map(|()| None),
        });
        if let Some(done) = turn.await {
            return Some(done);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::task::{Context, Waker};

    use super::*;

    #[test]
    fn work_gets_a_turn_in_each_part_however_late_the_parts_end() {
        for (steps, comes) in [(1, true), (PARTS, true), (PARTS + 1, false)] {
            let left = Cell::new(steps);
            // Ready one step after the other, and a timer that is always over.
            let work = poll_fn(|context| {
                left.set(left.get() - 1);
                context.waker().wake_by_ref();
                if left.get() == 0 { Poll::Ready(()) } else { Poll::Pending }
            });
            let waiting = pin!(within(Duration::from_secs(1), |_| std::future::ready(()), work));
            let ended = waiting.poll(&mut Context::from_waker(Waker::noop()));
            assert_eq!(ended, Poll::Ready(comes.then_some(())), "{steps} steps");
        }
    }
}
