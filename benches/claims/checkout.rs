//! pool-4: get and return. At CI size 60 pairs and 30 runs of the waits, at full size 300 and 100.
//!
//! The line whose removal this must notice: `self.take_fresh(started, site)` in db-pool's `Pool::get_at`,
//! without which each caller sets an alarm.

use db_benches::checkout::{alone, crowded};
use db_benches::peers::Peer;
use db_benches::waits;
use db_testkit::claims::{Figure, Size};
use serde_json::json;

const MOST: f64 = 1.3;
const MOST_SPREAD: f64 = 3.0;

pub(crate) fn measure(size: Size) -> Figure {
    let (pairs, runs) = if size == Size::Nightly { (300, 100) } else { (60, 30) };
    let (alone, crowded) = (alone(Peer::Deadpool, pairs), crowded(Peer::Deadpool, pairs));
    let (ours, theirs) = waits::measure(Peer::Deadpool, runs);
    let worse = alone.ratio.max(crowded.ratio);
    Figure {
        value: worse,
        unit: "times deadpool",
        holds: worse <= MOST && ours.spread <= MOST_SPREAD,
        detail: json!({
            "pairs": pairs,
            "alone": { "ratio": alone.ratio, "interval": alone.interval, "ns": alone.ours, "deadpool_ns": alone.peer },
            "64_on_4": { "ratio": crowded.ratio, "interval": crowded.interval, "ns": crowded.ours, "deadpool_ns": crowded.peer },
            "max_over_median_wait": ours.spread,
            "max_over_median_wait_deadpool": theirs.spread,
            "wait_us": { "median": ours.median, "p99": ours.p99, "max": ours.max },
        }),
    }
}
