//! The area `cache`.

use db_benches::cache;

use crate::line;

/// A third of moka's is promised, and nothing against the map that ours stands on.
const MOST: f64 = 0.30;

pub(crate) fn measure() {
    let hits = cache::first_tier_hits(120);
    line::show("cache-hit", "moka 0.12 sync", &hits.moka, Some(MOST));
    line::show("cache-hit-floor", "quick_cache 0.7 sync", &hits.quick_cache, None);
}
