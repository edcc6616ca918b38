//! What a page or a report shows of a cache.

use db_core::panel::{Column, Panel, Table, Value};

use crate::stats::CacheStats;

impl CacheStats {
    /// What reads came to, in all and by keyspace, and how the cache is, for a page.
    ///
    /// ```
    /// # fn show(stats: &db_cache::CacheStats) {
    /// println!("{}", stats.panel().to_text());
    /// # }
    /// ```
    pub fn panel(&self) -> Panel {
        let stats = self;
        let counts = |all: &mut dyn Iterator<Item = u64>| Value::Count(all.fold(0, u64::saturating_add));
        let share = |rate: Option<f64>| rate.map_or(Value::Missing, |rate| Value::Percent(rate * 100.0));
        let columns = [
            Column::new("keyspace", "Keyspace"),
            Column::new("hit_percent", "Answered"),
            Column::new("first_tier_hits", "By the first tier"),
            Column::new("second_tier_hits", "By the second tier"),
            Column::new("misses", "By neither"),
        ];
        let table = Table::new("keyspaces", columns).when_empty("Nothing was read through the cache yet.");
        let table = stats.keyspaces.iter().fold(table, |table, of| {
            let hits = of.first_tier_hits.saturating_add(of.second_tier_hits);
            let all = hits.saturating_add(of.misses);
            table.row([
                Value::text(of.name),
                share((all > 0).then(|| hits as f64 / all as f64)),
                Value::Count(of.first_tier_hits),
                Value::Count(of.second_tier_hits),
                Value::Count(of.misses),
            ])
        });
        let lag = stats.feed_lag.map_or(Value::Missing, |lag| Value::Seconds(lag.as_secs_f64()));
        Panel::new("cache_reads", "Reads through the cache")
            .figure("hit_percent", "Answered by the cache", share(stats.hit_rate()))
            .figure("misses", "Not answered", counts(&mut stats.misses.iter().map(|(_, times)| *times)))
            .figure("failed_loads", "Loads that failed", Value::Count(stats.failed_loads))
            .figure("entries", "Entries in the first tier", Value::Count(stats.entries))
            .figure("bytes", "Their size", Value::Bytes(stats.bytes as f64))
            .figure("evictions", "Had to go for others", Value::Count(stats.evictions))
            .figure(
                "drops",
                "Everything was dropped",
                counts(&mut stats.drops.iter().map(|(_, times)| *times)),
            )
            .figure("feed_lag_seconds", "Changes were last heard", lag)
            .table(table)
    }
}
