//! pool-3: a sudden crowd. At CI size three runs of 10 spikes, at full size of 100; the best run counts: its
//! median time, and the most connections that any of its spikes opened.
//!
//! The line whose removal this must notice: the bound `OPENING_AT_ONCE` on attempts in db-pool's
//! `Upkeep::open_missing`.

use db_benches::pairs::median;
use db_benches::spike::{IDEAL_MILLIS, measure_ours};
use db_testkit::claims::{Figure, Size};
use serde_json::json;

const MOST_MILLIS: f64 = 30.0;
const MOST_CONNECTIONS: u64 = 7;

pub(crate) fn measure(size: Size) -> Figure {
    let spikes = if size == Size::Nightly { 100 } else { 10 };
    let runs: Vec<(f64, u64)> = (0..3).map(|_| one_run(spikes)).collect();
    let holds = |(more, connections): &(f64, u64)| *more <= MOST_MILLIS && *connections <= MOST_CONNECTIONS;
    let best = runs.iter().find(|run| holds(run)).unwrap_or(&runs[0]);
    Figure {
        value: best.0,
        unit: "ms more than the ideal",
        holds: holds(best),
        detail: json!({
            "spikes": spikes,
            "runs": runs.iter().map(|(more, connections)| json!({ "ms": more, "connections": connections }))
                .collect::<Vec<_>>(),
        }),
    }
}

/// The median of the spikes, in milliseconds more than the ideal, and the most connections of any.
fn one_run(spikes: usize) -> (f64, u64) {
    let seen = measure_ours(spikes);
    let (median, _) = median(seen.iter().map(|spike| spike.millis).collect());
    let connections = seen.iter().map(|spike| spike.connections).max().unwrap_or(u64::MAX);
    (median - IDEAL_MILLIS, connections)
}
