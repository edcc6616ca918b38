//! A Redis to measure on, a cache on it, and what the server has counted.

use std::collections::HashMap;
use std::sync::Arc;

use db_cache::{Cache, CacheConfig, RedisConfig, RedisTier};
use db_testkit::Redis;
use redis::aio::MultiplexedConnection;
use redis::{Client, FromRedisValue};

/// A server with nothing in it.
pub(crate) async fn start() -> Redis {
    Redis::start().await.unwrap()
}

/// A tier on a server.
pub(crate) fn tier(url: &str) -> Arc<RedisTier> {
    let config =
        RedisConfig { url: url.to_owned(), installation: "claims".to_owned(), ..RedisConfig::default() };
    Arc::new(RedisTier::new(&config).unwrap())
}

/// A cache as one process has it, whose second tier is there.
pub(crate) async fn cache(url: &str, config: CacheConfig) -> Cache {
    let cache = Cache::with_second_tier(config, tier(url));
    settle(&cache).await;
    cache
}

/// Waits until a cache trusts its second tier.
pub(crate) async fn settle(cache: &Cache) {
    db_testkit::until("the feed is read and the breaker closed", async || {
        let stats = cache.stats();
        stats.feed_lag.is_some() && !stats.breaker_open
    })
    .await;
}

pub(crate) async fn client(url: &str) -> MultiplexedConnection {
    Client::open(url).unwrap().get_multiplexed_async_connection().await.unwrap()
}

pub(crate) async fn ask<T: FromRedisValue>(client: &mut MultiplexedConnection, words: &[&str]) -> T {
    let mut command = redis::Cmd::new();
    words.iter().for_each(|word| {
        command.arg(word);
    });
    command.query_async(client).await.unwrap()
}

/// What INFO says in one of its sections.
pub(crate) async fn info(client: &mut MultiplexedConnection, section: &str) -> HashMap<String, String> {
    let text: String = ask(client, &["INFO", section]).await;
    let pairs = text.lines().filter_map(|line| line.split_once(':'));
    pairs.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect()
}

/// The value below which this part of them lies.
pub(crate) fn quantile(values: &mut [f64], part: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let last = values.len().saturating_sub(1);
    values.get((last as f64 * part).round() as usize).copied().unwrap_or(f64::INFINITY)
}
