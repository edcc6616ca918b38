//! The time that a call has left, for whatever runs inside it.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use pin_project_lite::pin_project;
use tokio::task::coop::{Unconstrained, unconstrained};
use tokio::time::{Instant, Sleep, sleep_until};

tokio::task_local! {
    static DEADLINE: Option<Instant>;
}

/// How long the call of a [`Retry`](crate::Retry) that this runs in may still take: until its deadline, or
/// until the timeout of the attempt. None outside of such a call, and where it has no limit.
///
/// Work that waits for something else passes it on. It is known in the call's own task, not in those that it
/// spawns.
pub fn time_left() -> Option<Duration> {
    current().map(|deadline| deadline.saturating_duration_since(Instant::now()))
}

pub(crate) fn current() -> Option<Instant> {
    DEADLINE.try_with(|deadline| *deadline).ok().flatten()
}

/// The moment so long after another one; none means never, and so does what is beyond the end of time.
pub(crate) fn after(moment: Instant, lasts: Option<Duration>) -> Option<Instant> {
    moment.checked_add(lasts?)
}

/// The earlier of two, where none means never.
pub(crate) fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// Runs something that has until `deadline`, which is no later than that of whatever it runs in.
pub(crate) fn scope<F: Future>(deadline: Option<Instant>, running: F) -> impl Future<Output = F::Output> {
    DEADLINE.scope(deadline, running)
}

/// Runs something until `deadline` at the latest; none where it was not done by then.
pub(crate) fn until<F: Future>(
    deadline: Option<Instant>,
    running: F,
) -> impl Future<Output = Option<F::Output>> {
    Until { running, timer: deadline.map(|deadline| unconstrained(sleep_until(deadline))) }
}

pin_project! {
    /// An `async fn` would hold what it runs twice: as its argument, and as what it awaits. Around one
    /// another they would double it again and again.
    struct Until<F> {
        #[pin]
        running: F,
        #[pin]
        // Work that never has to wait must not keep the timer from being looked at.
        timer: Option<Unconstrained<Sleep>>,
    }
}

impl<F: Future> Future for Until<F> {
    type Output = Option<F::Output>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let parts = self.project();
        if let Poll::Ready(output) = parts.running.poll(context) {
            return Poll::Ready(Some(output));
        }
        match parts.timer.as_pin_mut() {
            Some(timer) => timer.poll(context).map(|()| None),
            None => Poll::Pending,
        }
    }
}

/// Runs something unless something else happens first; none where it did.
pub(crate) fn unless<F: Future, G: Future>(running: F, other: G) -> impl Future<Output = Option<F::Output>> {
    Unless { running, other }
}

pin_project! {
    /// Not `select!`: with a caller's closure in its type, that makes rustc 1.95 fail in incremental builds.
    struct Unless<F, G> {
        #[pin]
        running: F,
        #[pin]
        other: G,
    }
}

impl<F: Future, G: Future> Future for Unless<F, G> {
    type Output = Option<F::Output>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let parts = self.project();
        match parts.running.poll(context) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending => parts.other.poll(context).map(|_| None),
        }
    }
}
