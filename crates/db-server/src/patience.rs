//! Waits for a condition, with a deadline.

use std::thread;
use std::time::{Duration, Instant};

/// Calls `condition` until it holds, at most for `limit`, and says whether it came to hold.
///
/// It looks often at first and less often later, so that quick things cost no time and slow ones no
/// processor.
pub fn wait_until(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    let mut pause = Duration::from_millis(1);
    loop {
        if condition() {
            return true;
        }
        let now = Instant::now();
        if now >= deadline {
            return false;
        }
        #[expect(clippy::disallowed_methods, reason = "this is the one place that waits")]
        thread::sleep(pause.min(deadline - now));
        pause = (pause * 2).min(Duration::from_millis(25));
    }
}
