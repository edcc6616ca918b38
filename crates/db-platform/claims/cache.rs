//! The claims of the cache that take the whole stack: a database, its standbys, a Redis, and processes that
//! read through `Db`.

pub(crate) mod chaos;
pub(crate) mod commit_cost;
pub(crate) mod failover;
pub(crate) mod frozen_standby;
mod slot_accidents;

use std::sync::Arc;
use std::time::Duration;

use db_platform::cache::relay::{OpenConnection, Relay, RelayConfig};
use db_platform::cache::{Cache, CacheConfig, Keyspace, Policy, RedisConfig, RedisTier, SecondTier, Tag};
use db_platform::{Config, Db, DbCache, Environment, Error, Result};
use db_testkit::{Cluster, Redis};
use diesel::sql_types::{BigInt, Text};
use diesel::{OptionalExtension, QueryableByName, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = Text)]
    value: String,
}

const POLICY: Policy = Policy {
    early_refresh: 0.0,
    negative_ttl: None,
    stale_on_error: Duration::ZERO,
    hard_timeout: Duration::from_secs(30),
    ..Policy::DEFAULT
};

/// The value of each row, made from that row alone.
static ROWS: Keyspace<i64, String> =
    Keyspace::new("rows").policy(POLICY).tags_of_key(|id| vec![Tag::row("rows", id), Tag::table("rows")]);

async fn value_of(conn: &mut AsyncPgConnection, id: i64) -> Result<Option<String>> {
    let read = sql_query("SELECT value FROM rows WHERE id = $1").bind::<BigInt, _>(id);
    Ok(read.get_result::<Row>(conn).await.optional()?.map(|row| row.value))
}

async fn run(cluster: &Cluster, sql: &str) {
    let mut conn = cluster.connect(cluster.primary()).await.unwrap();
    conn.batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
}

/// So many rows, each of the value `first`.
async fn make_rows(cluster: &Cluster, rows: i64) {
    let sql = format!(
        "CREATE TABLE rows (id bigint PRIMARY KEY, value text NOT NULL); \
         INSERT INTO rows SELECT id, 'first' FROM generate_series(1, {rows}) AS id"
    );
    run(cluster, &sql).await;
}

async fn write(db: &Db, id: i64, value: String) -> Result<()> {
    db.transaction(async move |conn: &mut AsyncPgConnection| {
        let sql = sql_query("UPDATE rows SET value = $1 WHERE id = $2");
        sql.bind::<Text, _>(value).bind::<BigInt, _>(id).execute(conn).await?;
        db.touch([Tag::row("rows", id)])
    })
    .await
}

/// The same work with a cache and without: where there is none a tag that is touched is forgotten.
async fn change(db: &Db, id: i64) -> Result<()> {
    db.transaction(async move |conn: &mut AsyncPgConnection| {
        let sql = sql_query("UPDATE rows SET value = 'next' WHERE id = $1");
        sql.bind::<BigInt, _>(id).execute(conn).await?;
        db.touch([Tag::row("rows", id)])
    })
    .await
}

fn tier(redis: &Redis) -> Arc<RedisTier> {
    let config =
        RedisConfig { url: redis.url(), installation: "claims".to_owned(), ..RedisConfig::default() };
    Arc::new(RedisTier::new(&config).unwrap())
}

/// The cache of one process.
fn cache(redis: &Redis) -> DbCache {
    // A loaded machine is no outage.
    let (tier_budget, commit_budget) = (Duration::from_secs(1), Duration::from_secs(1));
    let config = CacheConfig { tier_budget, commit_budget, ..CacheConfig::default() };
    DbCache::new(Cache::with_second_tier(config, tier(redis)))
}

fn config(cluster: &Cluster) -> Config {
    let mut config = Config::new(Environment::Test, cluster.primary_url().parse().unwrap());
    config.read_urls = cluster.standby_urls().iter().map(|url| url.parse().unwrap()).collect();
    config.router.probe_interval = Duration::from_millis(100);
    config
}

async fn process(config: Config, cache: DbCache) -> Db {
    let db = Db::connect_with_cache(config, cache, []).await.unwrap();
    db_testkit::until("the cache trusts its second tier", async || {
        let stats = db.cache_stats().unwrap();
        stats.feed_lag.is_some() && !stats.breaker_open
    })
    .await;
    db
}

fn relay(redis: &Redis) -> Relay {
    let takeover = Duration::from_millis(100);
    Relay::new(tier(redis) as Arc<dyn SecondTier>, RelayConfig { takeover, ..RelayConfig::default() })
}

/// The way from a relay to whichever server is the primary.
fn open(cluster: &Cluster) -> OpenConnection {
    let cluster = cluster.clone();
    Arc::new(move || {
        let cluster = cluster.clone();
        Box::pin(async move {
            cluster.connect(cluster.primary()).await.map_err(|error| Error::Client(Box::new(error)))
        })
    })
}
