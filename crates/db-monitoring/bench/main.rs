//! Compares what watching, collecting and showing cost: `cargo xtask bench monitoring`, one JSON object a
//! line.
#![expect(clippy::unwrap_used, reason = "what cannot be measured must stop the measuring")]
#![expect(clippy::print_stdout, reason = "figures go to standard output, one JSON object a line")]

#[expect(dead_code, reason = "it is the claims' own, and they use more of it")]
#[path = "../claims/cost.rs"]
mod cost;
#[expect(dead_code, reason = "the pages are not looked at here")]
#[path = "../tests/it/dashboard/browser/devtools.rs"]
mod devtools;
#[path = "../claims/pairs.rs"]
mod pairs;
#[expect(dead_code, reason = "the tests use more of it")]
#[path = "../tests/it/dashboard/shop.rs"]
mod shop;
mod showing;
#[expect(dead_code, reason = "the claims and tests use more of it")]
#[path = "../tests/it/dashboard/browser/walk.rs"]
mod walk;
mod watching;

use db_testkit::claims::{Figure, Size};
use serde_json::{Value, json};

use pairs::Ratio;

/// So many pairs.
const PAIRS: usize = 30;

fn main() {
    if !std::env::args().any(|argument| argument == "monitoring") {
        return;
    }
    watching::compare();
    runtime().block_on(async {
        collecting("idle", None).await;
        collecting("pgbench -c4", Some(4)).await;
        answers().await;
        showing::measure().await;
    });
}

/// What collecting costs the server, against postgres_exporter.
async fn collecting(load: &str, clients: Option<u32>) {
    let measured = cost::compare(PAIRS, clients).await;
    // Under pgbench the server's time is pgbench's, too: nothing is promised of it.
    let target = if clients.is_some() { Value::Null } else { json!("0.10 times") };
    let rows = [
        ("server CPU, all that the exporter tells", &measured.cpu, target.clone()),
        ("server CPU, all databases written to", &measured.cold, Value::Null),
        ("server CPU of a minute as by default", &measured.minute, target),
        ("elapsed", &measured.elapsed, Value::Null),
    ];
    for (what, pairs, target) in rows {
        let all = pairs::ratio(pairs);
        let holds = all.median <= 0.10;
        row(&format!("collect 1,000 tables, {load}: {what}"), &all, &measured.peer, "ms", target, holds);
    }
}

/// How soon /metrics answers, with the database and without.
async fn answers() {
    let measured = cost::answers(1_000).await;
    for (state, of) in measured.detail["p99_ms"].as_object().unwrap() {
        for (encoding, p99) in of.as_object().unwrap() {
            let holds = p99.as_f64().unwrap() <= 5.0;
            alone(
                &format!("/metrics of 1,000 tables, database {state}, {encoding}: p99"),
                p99,
                "ms",
                json!("5 ms"),
                holds,
            );
        }
    }
}

/// One row with a peer.
fn row(bench: &str, of: &Ratio, peer: &str, unit: &str, target: Value, holds: bool) {
    println!(
        "{}",
        json!({
            "bench": bench, "ours": of.ours, "peer": of.theirs, "peer_name": peer, "unit": unit,
            "ratio": of.median, "interval": [of.interval.0, of.interval.1], "target": target, "holds": holds,
        })
    );
}

/// One row without a peer.
fn alone(bench: &str, ours: &Value, unit: &str, target: Value, holds: bool) {
    println!(
        "{}",
        json!({
            "bench": bench, "ours": ours, "peer": null, "peer_name": null, "unit": unit, "ratio": null,
            "interval": null, "target": target, "holds": holds,
        })
    );
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}
