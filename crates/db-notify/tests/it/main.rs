//! Channels and the notifier against real listeners of the test's own.
#![expect(clippy::unwrap_used, reason = "a test says what it expects by unwrapping")]

mod channels;
mod listener;
mod notifier;
mod smtp;

use std::time::{Duration, Instant};

/// Waits until something holds.
async fn until(what: &str, holds: impl Fn() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < Duration::from_secs(20), "not within 20 s: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
