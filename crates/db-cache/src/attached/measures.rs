//! What a cache reports to metrics, under every name from the start.

use db_core::{Measure, MeasureKind};

use crate::sampler::Samples;
use crate::stats::CacheStats;

/// The measures of a cache.
pub(super) fn of(stats: &CacheStats) -> Vec<Measure> {
    let counter = |name, unit, value: u64| Measure::new(name, MeasureKind::Counter, unit, value as f64);
    let gauge = |name, unit, value: f64| Measure::new(name, MeasureKind::Gauge, unit, value);
    let mut all = vec![
        counter("db.cache.hits", "{hit}", stats.first_tier_hits).with("tier", "memory"),
        counter("db.cache.hits", "{hit}", stats.second_tier_hits).with("tier", "shared"),
        counter("db.cache.loads", "{load}", stats.loads),
        counter("db.cache.loads.failed", "{load}", stats.failed_loads),
        counter("db.cache.coalesced", "{read}", stats.coalesced),
        counter("db.cache.stale_served", "{read}", stats.stale_served),
        counter("db.cache.early_refreshes", "{load}", stats.early_refreshes),
        counter("db.cache.evictions", "{entry}", stats.evictions),
        gauge("db.cache.memory", "By", stats.bytes as f64),
        gauge("db.cache.entries", "{entry}", stats.entries as f64),
        gauge("db.cache.breaker.open", "{process}", u64::from(stats.breaker_open) as f64),
        counter("db.cache.breaker.opened", "{time}", stats.breaker_opened),
        gauge("db.cache.feed.lag", "s", stats.feed_lag.unwrap_or_default().as_secs_f64()),
        gauge("db.cache.unheard", "{slot}", stats.unheard_slots as f64),
        counter("db.cache.answered_untold", "{transaction}", stats.answered_untold),
    ];
    all.extend(
        stats
            .misses
            .iter()
            .map(|(why, n)| counter("db.cache.misses", "{read}", *n).with("reason", why.as_str())),
    );
    all.extend(
        stats
            .unkept
            .iter()
            .map(|(why, n)| counter("db.cache.unkept", "{value}", *n).with("reason", why.as_str())),
    );
    all.extend(
        stats
            .drops
            .iter()
            .map(|(why, n)| counter("db.cache.drops", "{time}", *n).with("cause", why.as_str())),
    );
    all.extend(keyspaces(stats));
    all.extend(samples(&stats.samples));
    all
}

/// What the sampler has found.
fn samples(samples: &Samples) -> Vec<Measure> {
    let outcome = |name, value: u64| {
        Measure::new("db.cache.samples", MeasureKind::Counter, "{read}", value as f64).with("outcome", name)
    };
    let gauge = |name, unit, value| Measure::new(name, MeasureKind::Gauge, unit, value);
    let right = samples.checked.saturating_sub(samples.behind).saturating_sub(samples.wrong);
    vec![
        outcome("right", right),
        outcome("behind", samples.behind),
        outcome("wrong", samples.wrong),
        outcome("undecided", samples.undecided),
        gauge("db.cache.samples.oldest", "s", samples.oldest.as_secs_f64()),
        gauge("db.cache.samples.last_age", "s", samples.last_age.as_secs_f64()),
        gauge("db.cache.consistency", "1", samples.consistency().at_least),
    ]
}

/// What the reads of each keyspace came to. An exporter learns the names at the start, before anybody has
/// read anything.
fn keyspaces(stats: &CacheStats) -> Vec<Measure> {
    let of = |name: &str, hits: (u64, u64), misses: u64| {
        let counter = |metric, unit, value: u64| {
            Measure::new(metric, MeasureKind::Counter, unit, value as f64).with("keyspace", name)
        };
        [
            counter("db.cache.keyspace.hits", "{hit}", hits.0).with("tier", "memory"),
            counter("db.cache.keyspace.hits", "{hit}", hits.1).with("tier", "shared"),
            counter("db.cache.keyspace.misses", "{read}", misses),
        ]
    };
    if stats.keyspaces.is_empty() {
        return of("", (0, 0), 0).into();
    }
    let each = stats.keyspaces.iter();
    each.flat_map(|one| of(one.name, (one.first_tier_hits, one.second_tier_hits), one.misses)).collect()
}
