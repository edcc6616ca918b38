//! Measures what retries cost a server that is gone, and what they are worth to callers of one that hiccups.
//!
//! `cargo xtask prove` runs this: `claims list`, or `claims run ID … [--nightly]`.
#![expect(clippy::print_stdout, reason = "figures go to standard output, one JSON object a line")]
#![expect(clippy::unwrap_used, reason = "what cannot be measured must stop the measuring")]

use std::cell::Cell;
use std::process::ExitCode;
use std::time::Duration;

use db_core::{Error, Result};
use db_retry::{Retry, RetryConfig};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

const ID: &str = "pool-9";
const SENTENCE: &str = "When every call fails, retries cost the server at most a tenth of the load; when one call in a hundred fails, \
     callers hardly notice.";
const TARGET: &str = "amplification at most 1.1, success at least 99.9 %, one million calls each";

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

fn main() -> ExitCode {
    // `cargo bench` adds --bench for the standard harness.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let words: Vec<&str> =
        arguments.iter().map(String::as_str).filter(|word| !word.starts_with("--")).collect();
    match &words[..] {
        ["list"] => {
            println!("{}", json!({ "claim": ID, "sentence": SENTENCE, "target": TARGET }));
            ExitCode::SUCCESS
        }
        ["run", ids @ ..] if !ids.contains(&ID) => ExitCode::SUCCESS,
        ["run", ..] => measure(arguments.iter().any(|argument| argument == "--nightly")),
        _ => {
            eprintln!("usage: claims list | claims run ID … [--nightly]");
            ExitCode::from(2)
        }
    }
}

/// Both sizes are the full one: the clock is paused.
fn measure(nightly: bool) -> ExitCode {
    let outage = run(1.0);
    let (half, hiccups) = (run(0.5), run(0.01));
    let holds = outage.amplification() <= 1.1 && hiccups.success() >= 0.999;
    println!(
        "{}",
        json!({
            "claim": ID,
            "sentence": SENTENCE,
            "figure": outage.amplification(),
            "unit": "attempts a call",
            "target": TARGET,
            "holds": holds,
            "size": if nightly { "nightly" } else { "ci" },
            "load": load(),
            "detail": {
                "calls": CALLS,
                "all_fail": outage.detail(),
                "half_fail": half.detail(),
                "one_in_a_hundred_fails": hiccups.detail(),
            },
        })
    );
    if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE }
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

/// The machine's load over the last minute; 0 where the system does not say.
fn load() -> f64 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|number| number.parse().ok()).unwrap_or_default()
}
