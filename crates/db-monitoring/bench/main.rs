//! Compares collecting with postgres_exporter: `cargo xtask bench monitoring`, one JSON object a line.
#![expect(clippy::unwrap_used, reason = "what cannot be measured must stop the measuring")]
#![expect(clippy::print_stdout, reason = "figures go to standard output, one JSON object a line")]

#[expect(dead_code, reason = "it is the claims' own, and they use more of it")]
#[path = "../claims/cost.rs"]
mod cost;
#[path = "../claims/pairs.rs"]
mod pairs;

use db_testkit::claims::{Figure, Size};
use serde_json::json;

/// So many pairs.
const PAIRS: usize = 30;

fn main() {
    if !std::env::args().any(|argument| argument == "monitoring") {
        return;
    }
    runtime().block_on(async {
        for (name, clients) in [
            ("collect 1,000 tables, idle", None),
            (
                "collect 1,000 tables, pgbench \
            -c4",
                Some(4),
            ),
        ] {
            let measured = cost::compare(PAIRS, clients).await;
            let kinds = [
                (
                    "server CPU",
                    &measured.cpu,
                    json!(
                        "0.10 \
                times"
                    ),
                ),
                ("elapsed", &measured.elapsed, json!(null)),
            ];
            for (kind, pairs, target) in kinds {
                let all = pairs::ratio(pairs);
                // Under pgbench the server's time is pgbench's, too: nothing is promised of it.
                let target = if clients.is_some() { json!(null) } else { target };
                println!(
                    "{}",
                    json!({
                        "bench": format!("{name}: \
                            {kind}"), "ours": all.ours, "peer": all.theirs, "peer_name": measured.peer,
                            "unit": "ms",
                        "ratio": all.median, "interval": [all.interval.0, all.interval.1],
                            "holds": all.median <= 0.10, "target": target,
                    })
                );
            }
        }
    });
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}
