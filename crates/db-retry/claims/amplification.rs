//! What retries cost a server that is gone, and what they are worth to callers of one that hiccups.

use std::cell::Cell;
use std::time::Duration;

use db_core::{Error, Result};
use db_retry::{Retry, RetryConfig};
use db_testkit::claims::{Figure, Size};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

const CALLS: u32 = 1_000_000;

/// What a million calls came to.
struct Run {
    attempts: u64,
    succeeded: u64,
    refused: u64,
}

impl Run {
    fn amplification(&self) -> f64 {
        self.attempts as f64 / f64::from(CALLS)
    }

    fn success(&self) -> f64 {
        self.succeeded as f64 / f64::from(CALLS)
    }

    fn detail(&self) -> Value {
        json!({ "amplification": self.amplification(), "success": self.success(), "refused": self.refused })
    }
}

/// Both sizes are the full one: the clock is paused.
pub(crate) fn measure(_: Size) -> Figure {
    let (outage, half, hiccups) = (run(1.0), run(0.5), run(0.01));
    Figure {
        value: outage.amplification(),
        unit: "attempts a call",
        holds: outage.amplification() <= 1.1 && hiccups.success() >= 0.999,
        detail: json!({
            "calls": CALLS,
            "all_fail": outage.detail(),
            "half_fail": half.detail(),
            "one_in_a_hundred_fails": hiccups.detail(),
        }),
    }
}

/// A million calls, a millisecond apart, of which each attempt fails with this probability; after an hour of good
/// days, so that the budget has saved all it may.
fn run(failing: f64) -> Run {
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
