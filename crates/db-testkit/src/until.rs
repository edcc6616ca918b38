//! Waits for a condition, with a deadline: what a test does in place of a sleep.

use std::time::{Duration, Instant};

/// Longer than anything that works takes on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(5);

/// Waits until `condition` holds; `what` names it in the words of the test.
///
/// # Panics
/// When it does not hold within a minute.
///
/// # Cancel safety
/// Dropping the future stops the waiting.
pub async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !condition().await {
        assert!(started.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(PAUSE).await;
    }
}
