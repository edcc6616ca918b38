//! Calls code that is not ours (an observer, a hook, a password source) so that a panic in it stays its own.
//!
//! `None` means that it panicked. The caller says so, once, and goes on without it. What such code has shared
//! with us must not be relied on afterwards: each of our seams gives it values of its own.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

/// What a call answers; none where it panicked.
///
/// ```
/// assert_eq!(db_core::foreign::call(|| 7), Some(7));
/// ```
pub fn call<T>(code: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(code)).ok()
}

/// What a poll answers; none where it panicked: do not poll it again.
pub fn poll<F: Future + ?Sized>(code: Pin<&mut F>, context: &mut Context<'_>) -> Poll<Option<F::Output>> {
    match call(|| code.poll(context)) {
        Some(polled) => polled.map(Some),
        None => Poll::Ready(None),
    }
}

/// What a future answers; none where it panicked.
///
/// # Cancel safety
/// That of the future.
pub async fn run<F: Future>(code: F) -> Option<F::Output> {
    let mut code = std::pin::pin!(code);
    poll_fn(|context| poll(code.as_mut(), context)).await
}
