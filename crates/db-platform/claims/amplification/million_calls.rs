//! A million calls of which each attempt fails with some probability, on a clock that is paused.

use std::cell::Cell;
use std::time::Duration;

use db_platform::retry::Retry;
use db_platform::{Error, Result, RetryConfig};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

const CALLS: u32 = 1_000_000;

/// What a million calls came to.
pub(super) struct Run {
    attempts: u64,
    succeeded: u64,
    refused: u64,
}

impl Run {
    pub(super) fn amplification(&self) -> f64 {
        self.attempts as f64 / f64::from(CALLS)
    }

    pub(super) fn success(&self) -> f64 {
        self.succeeded as f64 / f64::from(CALLS)
    }

    pub(super) fn detail(&self) -> Value {
        json!({ "amplification": self.amplification(), "success": self.success(), "refused": self.refused })
    }
}

/// A million calls, a millisecond apart, of which each attempt fails with this probability; after an hour of
/// good days, so that the budget has saved all it may.
pub(super) fn run(failing: f64) -> Run {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let retry = Retry::new(RetryConfig::default());
        for _ in 0..100_000 {
            retry.run(|_| async { Ok::<_, Error>(()) }).await.unwrap();
        }
        tokio::time::advance(Duration::from_secs(3_600)).await;
        let (attempts, mut random) = (Cell::new(0_u64), SmallRng::seed_from_u64(9));
        let mut succeeded = 0;
        for _ in 0..CALLS {
            let call: Result<()> = retry
                .run(|_| {
                    attempts.set(attempts.get() + 1);
                    let fails = random.random_bool(failing);
                    async move {
                        if fails {
                            Err(Error::ConnectionLost { reason: "planted".to_owned() })
                        } else {
                            Ok(())
                        }
                    }
                })
                .await;
            succeeded += u64::from(call.is_ok());
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        Run { attempts: attempts.get(), succeeded, refused: retry.budget().unwrap().refused }
    })
}
