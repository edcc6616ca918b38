//! cache-1, its first half: a hit in the first tier. At CI size 120 pairs of 20,000 hits, at full size 500.
//!
//! It fails without the line `if let Some((entry, behind)) = self.shared.first_tier_value(…)` of
//! `Cache::get_with`: each read would go
//! past the first tier.

use db_benches::cache;
use db_testkit::claims::{Figure, Size};
use serde_json::json;

const MOST: f64 = 0.30;

pub(crate) fn measure(size: Size) -> Figure {
    let hits = cache::first_tier_hits(if size == Size::Nightly { 500 } else { 120 });
    Figure {
        value: hits.moka.ratio,
        unit: "times moka",
        holds: hits.moka.ratio <= MOST && hits.allocations == 0,
        detail: json!({
            "interval": hits.moka.interval, "cpu_ratio": hits.moka.cpu_ratio,
            "ns": hits.moka.ours, "moka_ns": hits.moka.peer, "pairs": hits.moka.pairs,
            "against_quick_cache": hits.quick_cache.ratio, "allocations_in_20000_hits": hits.allocations,
        }),
    }
}
