//! The area `cache`.

use db_benches::pairs::Medians;
use db_benches::{cache, demo_load, second_tier};
use serde_json::{Value, json};

use crate::line::{print, round, show};

/// A third of moka's is promised, and nothing against the map that ours stands on.
const MOST: f64 = 0.30;
/// Of a raw GET.
const MOST_OF_A_GET: f64 = 1.25;

/// Of the demo's load: what the cache must answer, and a read's mean time of that without it.
const LEAST_HITS: f64 = 85.0;
const MOST_OF_A_READ: f64 = 0.30;

const PAIRS: usize = 120;
const ROUNDS: usize = 30;
const WITHOUT: &str = "without a cache";
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
        show("cache-commit", WITHOUT, &second_tier::commits(PAIRS), None);
    }
    if wanted("load") {
        load();
    }
}

/// The reference load with the cache on and off.
fn load() {
    const SECONDS: u32 = 60;
    let summary = demo_load::with_and_without_cache(SECONDS);
    for place in demo_load::PLACES {
        let (paced, full_speed) = (&summary[place]["paced"], &summary[place]["full_speed"]);
        let number = |value: &Value| value.as_f64().unwrap_or(f64::NAN);
        let both = |turns: &Value, figure: &str| ["on", "off"].map(|side| number(&turns[side][figure]));
        let hits = number(&paced["hit_rate"]) * 100.0;
        print(&json!({
            "bench": format!("cache-load-hits-{place}"), "ours": round(hits), "unit": "%",
            "target": format!("at least {LEAST_HITS} %"), "holds": hits >= LEAST_HITS, "detail": paced["answers"],
        }));
        let [ours, peer] = both(paced, "mean_read_ms");
        let pair = |which: usize| round(1.0 - number(&paced["least_median_greatest"][which]));
        print(&json!({
            "bench": format!("cache-load-mean-{place}"), "ours": round(ours), "peer": round(peer), "peer_name": WITHOUT,
            "unit": "ms", "ratio": round(ours / peer), "interval": [pair(2), pair(0)],
            "target": format!("ratio at most {MOST_OF_A_READ}"), "holds": ours / peer <= MOST_OF_A_READ,
            "detail": { "pairs": paced["pairs"], "interval": "the least and the greatest of the pairs" },
        }));
        for (name, figure) in [("reads", "reads_per_second"), ("transactions", "transactions_per_second")] {
            let [ours, peer] = both(full_speed, figure);
            print(&json!({
                "bench": format!("cache-load-{name}-{place}"), "ours": round(ours), "peer": round(peer),
                "peer_name": WITHOUT, "unit": "1/s", "ratio": round(ours / peer), "target": null, "holds": null,
            }));
        }
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
