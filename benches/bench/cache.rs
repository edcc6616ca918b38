//! The area `cache`.

use db_benches::pairs::Medians;
use db_benches::{cache, second_tier};
use serde_json::json;

use crate::line::{print, round, show};

/// A third of moka's is promised, and nothing against the map that ours stands on.
const MOST: f64 = 0.30;
/// Of a raw GET.
const MOST_OF_A_GET: f64 = 1.25;

const PAIRS: usize = 120;
const ROUNDS: usize = 30;
const MILLION: u64 = 1_000_000;

pub(crate) fn measure(wanted: impl Fn(&str) -> bool) {
    if wanted("hit") {
        let hits = cache::first_tier_hits(PAIRS);
        show("cache-hit", "moka 0.12 sync", &hits.moka, Some(MOST));
        show("cache-hit-floor", "quick_cache 0.7 sync", &hits.quick_cache, None);
    }
    if wanted("second") {
        show("cache-second-tier", "a raw GET", &second_tier::hits(PAIRS), Some(MOST_OF_A_GET));
    }
    if wanted("throughput") {
        for tasks in [1, 16, 64] {
            let medians = second_tier::throughput(tasks, ROUNDS);
            line(&format!("cache-throughput-{tasks}"), "raw GETs", "reads/s", &medians);
        }
    }
    if wanted("stampede") {
        line("cache-stampede-64", "GET, load, SET by hand", "loads a key", &second_tier::stampede(10));
    }
    if wanted("tag") {
        line("cache-tag-1000000", "a set of names, unlinked", "us", &second_tier::invalidation(MILLION));
    }
    if wanted("commit") {
        show("cache-commit", "without a cache", &second_tier::commits(PAIRS), None);
    }
}

fn line(bench: &str, peer: &str, unit: &str, medians: &Medians) {
    let [low, high] = medians.interval;
    print(&json!({
        "bench": bench, "ours": round(medians.ours), "peer": round(medians.peer), "peer_name": peer,
        "unit": unit, "ratio": round(medians.ratio), "interval": [round(low), round(high)],
        "target": null, "holds": null, "detail": { "pairs": medians.pairs },
    }));
}
