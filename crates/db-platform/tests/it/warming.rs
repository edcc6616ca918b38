//! Warming: a service that starts again has the values that it was asked for before, before it is asked for
//! them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use db_platform::cache::simulation::SimulatedTier;
use db_platform::cache::{Cache, CacheConfig, Keyspace, Operator, Policy, SecondTier, Tag, Warmed};
use db_platform::{Db, DbCache, Error, Result};
use db_testkit::{Cluster, until};
use diesel::sql_query;
use diesel::sql_types::{Array, BigInt};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use crate::Number;
use crate::cached::alone;

const POLICY: Policy = Policy { early_refresh: 0.0, ..Policy::DEFAULT };

static NUMBERS: Keyspace<i64, i64> =
    Keyspace::new("numbers").policy(POLICY).tags_of_key(|id| vec![Tag::row("users", id)]);

static LOADED: AtomicU64 = AtomicU64::new(0);

/// Every number up to 1,000 is there.
async fn numbers(conn: &mut AsyncPgConnection, ids: Vec<i64>) -> Result<Vec<(i64, i64)>> {
    LOADED.fetch_add(ids.len() as u64, Ordering::SeqCst);
    let found = sql_query("SELECT n FROM unnest($1) AS t (n) WHERE n <= 1000").bind::<Array<BigInt>, _>(ids);
    Ok(found.load::<Number>(conn).await?.into_iter().map(|row| (row.n, row.n)).collect())
}

async fn start(cluster: &Cluster, tier: &Arc<SimulatedTier>) -> Db {
    let config = CacheConfig {
        tier_budget: Duration::from_secs(1),
        installation: "warming".to_owned(),
        warming: true,
        ..CacheConfig::default()
    };
    let cache = Cache::with_second_tier(config, Arc::clone(tier) as Arc<dyn SecondTier>);
    let cache = DbCache::new(cache).warms(&NUMBERS, numbers);
    Db::connect_with_cache(crate::config(cluster), cache, []).await.unwrap()
}

/// How many of these keys are not in the first tier.
async fn cold(db: &Db, keys: impl IntoIterator<Item = i64>) -> u64 {
    let before = db.cache_stats().unwrap().first_tier_hits;
    let keys = NUMBERS.keys(keys);
    let all = keys.len() as u64;
    db.cached_many(keys, numbers).await.unwrap();
    all - (db.cache_stats().unwrap().first_tier_hits - before)
}

#[tokio::test]
async fn a_service_starts_with_the_hot_keys_of_its_last_run_and_warms_again_when_asked() {
    let (cluster, tier) = alone().await;
    let first = start(&cluster, &tier).await;
    until("the feed is read", async || first.cache_stats().unwrap().feed_lag.is_some()).await;
    assert_eq!(cold(&first, 1..=50).await, 50);
    let _ = first.shutdown(Duration::from_secs(5)).await;
    let operator = Operator::new(Arc::clone(&tier) as Arc<dyn SecondTier>, "warming");
    // What was written meanwhile must be loaded anew.
    operator.invalidate(&[Tag::row("users", 7)]).await.unwrap();

    let before = AtomicU64::load(&LOADED, Ordering::SeqCst);
    let second = start(&cluster, &tier).await;
    until("it is warm", async || second.cache_stats().unwrap().entries == 50).await;
    assert_eq!(
        AtomicU64::load(&LOADED, Ordering::SeqCst) - before,
        1,
        "the others come from the second tier"
    );
    assert_eq!(cold(&second, 1..=50).await, 0);

    operator.invalidate_all().await.unwrap();
    operator.warm().await.unwrap();
    until("it is warm again", async || AtomicU64::load(&LOADED, Ordering::SeqCst) - before == 51).await;
    let _ = second.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_cache_is_warmed_from_a_list_and_from_a_query() {
    let (cluster, tier) = alone().await;
    let db = start(&cluster, &tier).await;
    let seen = Arc::new(AtomicU64::new(0));
    let job = db
        .warm_cache()
        .keys(NUMBERS.keys([101, 102, 2_000]), numbers)
        .query(
            &NUMBERS,
            async |conn: &mut AsyncPgConnection| {
                let ids = sql_query("SELECT n FROM generate_series(200::bigint, 219) AS n")
                    .load::<Number>(conn)
                    .await?;
                Ok::<_, Error>(ids.into_iter().map(|row| row.n).collect())
            },
            numbers,
        )
        .keys_a_batch(10.try_into().unwrap())
        .on_progress({
            let seen = Arc::clone(&seen);
            move |_: &Warmed| {
                seen.fetch_add(1, Ordering::SeqCst);
            }
        });
    let warmed = job.run().await.unwrap();
    assert_eq!((warmed.keys, warmed.values, warmed.absent, warmed.failed), (23, 22, 1, 0));
    assert_eq!(AtomicU64::load(&seen, Ordering::SeqCst), 3, "one of the list, two of the query");
    assert_eq!(cold(&db, [101, 102].into_iter().chain(200..220)).await, 0);
    let again = job.run().await.unwrap();
    assert_eq!((again.done, again.values), (23, 22), "it is a job: it may run daily");

    let no_keys = async |_: &mut AsyncPgConnection| Err::<Vec<i64>, _>(Error::Client("no".into()));
    let job = db.warm_cache().query(&NUMBERS, no_keys, numbers).keys(NUMBERS.keys([300]), numbers);
    assert!(job.run().await.is_err());
    assert_eq!(cold(&db, [300]).await, 0, "the other source was warmed all the same");
}
