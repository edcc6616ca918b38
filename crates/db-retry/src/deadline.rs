//! The time that a call has left, for whatever runs inside it.

use std::time::Duration;

use tokio::time::Instant;

tokio::task_local! {
    static DEADLINE: Instant;
}

/// How long the call of a [`Retry`](crate::Retry) that this runs in may still take: until its deadline, or until the
/// timeout of the attempt. None outside of such a call, and where it has no limit.
///
/// Work that waits for something else passes it on. It is known in the call's own task, not in those that it spawns.
pub fn time_left() -> Option<Duration> {
    current().map(|deadline| deadline.saturating_duration_since(Instant::now()))
}

pub(crate) fn current() -> Option<Instant> {
    DEADLINE.try_with(|deadline| *deadline).ok()
}

/// Runs something that has until `deadline`.
pub(crate) async fn scope<F: Future>(deadline: Option<Instant>, running: F) -> F::Output {
    match deadline {
        Some(deadline) => DEADLINE.scope(deadline, running).await,
        None => running.await,
    }
}

/// The earlier of two, where none means never.
pub(crate) fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// Runs something until `deadline` at the latest; none where it was not done by then.
pub(crate) async fn until<F: Future>(deadline: Option<Instant>, running: F) -> Option<F::Output> {
    match deadline {
        Some(deadline) => tokio::time::timeout_at(deadline, running).await.ok(),
        None => Some(running.await),
    }
}
