//! Brings one message through: attempts with exponential backoff and jitter, within a deadline.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::{Instant, sleep, timeout};

use crate::{Channel, Message, NotifyConfig, SendError};

/// A message that did not come through.
pub(crate) struct Undelivered {
    pub(crate) error: SendError,
    pub(crate) attempts: u32,
}

/// Sends a message: once, or again while that may help and the deadline is not over. Answers how many
/// attempts it took.
///
/// The receiver's wish to wait is granted where the deadline allows it.
pub(crate) async fn deliver(
    channel: &dyn Channel,
    message: &Message,
    id: Option<&str>,
    deadline: Option<Duration>,
    config: &NotifyConfig,
) -> Result<u32, Undelivered> {
    let started = Instant::now();
    let drawn = || format!("msg_{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..));
    let id = id.map_or_else(drawn, str::to_owned);
    let mut attempts: u32 = 0;
    loop {
        attempts = attempts.saturating_add(1);
        let Err(error) = attempt(channel, message, &id, config.attempt_timeout).await else {
            return Ok(attempts);
        };
        let pause = pause(attempts, config).max(error.retry_after.unwrap_or_default());
        let left = deadline.unwrap_or_default().saturating_sub(started.elapsed());
        if error.is_permanent || pause >= left {
            return Err(Undelivered { error, attempts });
        }
        tracing::debug!(channel = channel.name(), attempts, ?pause, "not sent yet: {error}");
        sleep(pause).await;
    }
}

async fn attempt(
    channel: &dyn Channel,
    message: &Message,
    id: &str,
    limit: Duration,
) -> Result<(), SendError> {
    // The call is inside, so that a panic before the first await is caught as well.
    let sent = AssertUnwindSafe(async { channel.send(message, id).await }).catch_unwind();
    match timeout(limit, sent).await {
        Ok(Ok(result)) => result,
        Ok(Err(_)) => Err(SendError::permanent("the channel panicked")),
        Err(_) => Err(SendError::transient(format!("no answer within {limit:?}"))),
    }
}

/// The pause after this many attempts: it doubles, and a quarter of it is random.
fn pause(attempts: u32, config: &NotifyConfig) -> Duration {
    let factor = 2_u32.saturating_pow(attempts.saturating_sub(1));
    let pause = config.first_pause.saturating_mul(factor).min(config.longest_pause);
    let jittered = pause.as_secs_f64() * (0.75 + fastrand::f64() / 4.0);
    Duration::try_from_secs_f64(jittered).unwrap_or(pause)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_never_overflow() {
        let config = NotifyConfig::default();
        for (attempts, seconds) in [(1, 1.0), (2, 2.0), (5, 16.0), (7, 60.0), (u32::MAX, 60.0)] {
            let pause = pause(attempts, &config).as_secs_f64();
            assert!((seconds * 0.75..=seconds).contains(&pause), "{attempts}: {pause}");
        }
        let endless = NotifyConfig { first_pause: Duration::MAX, longest_pause: Duration::MAX, ..config };
        assert!(pause(9, &endless) > Duration::from_secs(1 << 60));
    }
}
