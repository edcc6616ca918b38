//! Reads through the cache: what a commit drops, in which processes, and which server a load may ask.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use db_platform::cache::relay::{Relay, RelayConfig};
use db_platform::cache::simulation::{Faults, Operation, SimulatedTier};
use db_platform::cache::{Cache, CacheConfig, Keyspace, Mode, Policy, SecondTier, Tag};
use db_platform::{CachedValue, Config, Db, DbCache, Error, Result, Session};
use db_testkit::{Cluster, Redis, until};
use diesel::OptionalExtension;
use diesel::sql_query;
use diesel::sql_types::BigInt;
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};

use crate::log::Log;
use crate::{Number, Word};

const POLICY: Policy = Policy { early_refresh: 0.0, negative_ttl: None, ..Policy::DEFAULT };

/// Names by row.
static NAMES: Keyspace<i64, String> =
    Keyspace::new("names").policy(POLICY).mode(Mode::Strict).tags_of_key(|id| vec![Tag::row("users", id)]);

/// How many users there are: whatever is written to the table changes it.
static COUNT: Keyspace<(), i64> =
    Keyspace::new("count").policy(POLICY).mode(Mode::Strict).tags_of_key(|()| vec![Tag::table("users")]);

static LOADS: AtomicU64 = AtomicU64::new(0);

async fn name(conn: &mut AsyncPgConnection, id: i64) -> Result<Option<String>> {
    LOADS.fetch_add(1, Ordering::Relaxed);
    let named = sql_query("SELECT name AS word FROM users WHERE id = $1").bind::<BigInt, _>(id);
    Ok(named.get_result::<Word>(conn).await.optional()?.map(|row| row.word))
}

async fn cached_name(db: &Db, id: i64) -> Option<String> {
    let read = db.cached(NAMES.key(id), async move |conn: &mut AsyncPgConnection| name(conn, id).await);
    read.await.unwrap().map(|value| value.to_string())
}

async fn cached_count(db: &Db) -> i64 {
    let read = db.cached(COUNT.key(()), async |conn: &mut AsyncPgConnection| {
        let row = sql_query("SELECT count(*) AS n FROM users").get_result::<Number>(conn).await?;
        Ok::<_, Error>(Some(row.n))
    });
    *read.await.unwrap().unwrap()
}

pub(crate) async fn rename(db: &Db, id: i64, to: &str, touch: bool) -> Result<()> {
    let sql = format!("UPDATE users SET name = '{to}' WHERE id = {id}");
    db.transaction(async move |conn: &mut AsyncPgConnection| {
        conn.batch_execute(&sql).await?;
        if touch { db.touch([Tag::row("users", id)]) } else { Ok(()) }
    })
    .await
}

async fn users(cluster: &Cluster) {
    let sql = "CREATE TABLE users (id bigint PRIMARY KEY, name text NOT NULL); INSERT INTO users VALUES (1, 'Ada'), (2, 'Bob')";
    cluster.connect(0).await.unwrap().batch_execute(sql).await.unwrap();
}

fn cache(tier: &Arc<SimulatedTier>) -> DbCache {
    let config = CacheConfig { tier_budget: Duration::from_secs(1), ..CacheConfig::default() };
    DbCache::new(Cache::with_second_tier(config, Arc::clone(tier) as Arc<dyn SecondTier>))
}

pub(crate) async fn process(config: Config, tier: &Arc<SimulatedTier>) -> Db {
    Db::connect_with_cache(config, cache(tier).table("users"), []).await.unwrap()
}

pub(crate) async fn alone() -> (Cluster, Arc<SimulatedTier>) {
    let cluster = Cluster::builder().setting("wal_level", "logical").start().await.unwrap();
    users(&cluster).await;
    (cluster, Arc::new(SimulatedTier::seeded(3)))
}

#[tokio::test]
async fn a_commit_drops_what_was_made_from_what_it_wrote_in_every_process() {
    let (cluster, tier) = alone().await;
    let (one, other) =
        (process(crate::config(&cluster), &tier).await, process(crate::config(&cluster), &tier).await);
    for db in [&one, &other] {
        assert_eq!((cached_name(db, 1).await.as_deref(), cached_count(db).await), (Some("Ada"), 2));
    }
    rename(&one, 1, "Eve", true).await.unwrap();
    assert_eq!(cached_name(&other, 1).await.as_deref(), Some("Eve"));
    // Nobody touches the table's tag: the statement does.
    one.transaction(async |conn: &mut AsyncPgConnection| {
        Ok::<_, Error>(conn.batch_execute("INSERT INTO users VALUES (3, 'Cy')").await?)
    })
    .await
    .unwrap();
    assert_eq!((cached_count(&other).await, cached_count(&one).await), (3, 3));
    let before = other.cache_stats().unwrap().loads;
    assert_eq!(cached_name(&other, 1).await.as_deref(), Some("Eve"));
    assert_eq!(other.cache_stats().unwrap().loads, before, "it is cached still");
}

#[tokio::test]
async fn the_dashboards_page_of_the_cache_says_what_each_keyspaces_reads_came_to() {
    use db_platform::monitoring::dashboard::{self, Access};
    use tower_service::Service;

    let (cluster, tier) = alone().await;
    let db = process(crate::config(&cluster), &tier).await;
    for _ in 0..2 {
        assert_eq!(cached_name(&db, 1).await.as_deref(), Some("Ada"));
    }
    let mut pages = dashboard::router(db.dashboard("shop"), Access::Layered).unwrap();
    let request = axum::http::Request::builder().uri("/cache.json").body(axum::body::Body::empty()).unwrap();
    let Ok(answer) = pages.call(request).await;
    let body = axum::body::to_bytes(answer.into_body(), usize::MAX).await.unwrap();
    let page: serde_json::Value = serde_json::from_slice(&body).unwrap();
    let panels = page["panels"].as_array().unwrap();
    let panel = panels.iter().find(|panel| panel["key"] == "cache_reads").unwrap();
    let row = &panel["tables"]["keyspaces"][0];
    assert_eq!((&row["keyspace"], &row["misses"]), (&"names".into(), &1.into()), "{panel}");
    assert_eq!(row["hit_percent"], 50.0, "{panel}");
}

#[tokio::test]
async fn connect_attaches_the_cache_that_the_settings_name() {
    let cluster = Cluster::builder().start().await.unwrap();
    users(&cluster).await;
    let redis = Redis::start().await.unwrap();
    let vars = [("DATABASE_URL", cluster.primary_url()), ("REDIS_URL", redis.url())]
        .map(|(name, value)| (name.to_owned(), value.to_string()));
    let config = || {
        let mut vars = vars.to_vec();
        vars.push(("CACHE_REDIS_BUDGET".to_owned(), "5s".to_owned()));
        Config::from_vars(vars).unwrap()
    };
    let (one, other) = (Db::connect(config()).await.unwrap(), Db::connect(config()).await.unwrap());
    for db in [&one, &other] {
        until("the feed is read", async || db.cache_stats().unwrap().feed_lag.is_some()).await;
        assert_eq!(cached_name(db, 1).await.as_deref(), Some("Ada"));
    }
    assert_eq!((one.cache_stats().unwrap().loads, other.cache_stats().unwrap().second_tier_hits), (1, 1));
    rename(&one, 1, "Eve", true).await.unwrap();
    assert_eq!(cached_name(&other, 1).await.as_deref(), Some("Eve"));
    let none = Config { cache: None, ..config() };
    assert!(Db::connect(none).await.unwrap().cache_stats().is_none());
}

/// Names that may be two seconds old.
static OLDER: Keyspace<i64, String> = Keyspace::new("older_names")
    .policy(POLICY)
    .mode(Mode::Bounded(Duration::from_secs(5)))
    .tags_of_key(|id| vec![Tag::row("users", id)]);

async fn older_name(db: &Db, id: i64) -> String {
    let read = db.cached(OLDER.key(id), async move |conn: &mut AsyncPgConnection| name(conn, id).await);
    read.await.unwrap().unwrap().to_string()
}

#[tokio::test]
async fn a_session_sees_its_own_writes_in_any_process() {
    let (cluster, tier) = alone().await;
    let (here, there) =
        (process(crate::config(&cluster), &tier).await, process(crate::config(&cluster), &tier).await);
    for db in [&here, &there] {
        until("the feed is read", async || db.cache_stats().unwrap().feed_lag.is_some()).await;
        older_name(db, 1).await;
    }
    // Neither hears of anything from now on, as long as its mode allows.
    tier.set_faults(Operation::Feed, Faults::DOWN);
    let own = Session::new();
    let session = here.in_session(&own);
    rename(&session, 1, "Eve", true).await.unwrap();
    assert_eq!(older_name(&session, 1).await, "Eve");
    assert_eq!(older_name(&there, 1).await, "Ada", "nobody promised it more");
    let resumed = there.in_session(&Session::parse(&own.written().unwrap().to_string()));
    assert_eq!(older_name(&resumed, 1).await, "Eve");
    let many = resumed.cached_many(OLDER.keys([1]), async |conn: &mut AsyncPgConnection, ids: Vec<i64>| {
        let mut names = Vec::new();
        for id in ids {
            names.extend(name(conn, id).await?.map(|name| (id, name)));
        }
        Ok::<_, Error>(names)
    });
    assert_eq!(many.await.unwrap()[&1].as_str(), "Eve");
}

#[tokio::test]
async fn a_session_sees_what_the_second_tier_was_not_told() {
    let (cluster, tier) = alone().await;
    let db = process(crate::config(&cluster), &tier).await;
    until("the feed is read", async || db.cache_stats().unwrap().feed_lag.is_some()).await;
    older_name(&db, 1).await;
    for operation in [Operation::Mark, Operation::Bump] {
        tier.set_faults(operation, Faults::DOWN);
    }
    let session = db.session();
    rename(&session, 1, "Eve", true).await.unwrap();
    assert_eq!(older_name(&session, 1).await, "Eve");
    for operation in [Operation::Mark, Operation::Bump] {
        tier.set_faults(operation, Faults::NONE);
    }
    until("it is told", async || db.cache_stats().unwrap().unheard_slots == 0).await;
    until("it is cached again", async || {
        let before = AtomicU64::load(&LOADS, Ordering::Relaxed);
        older_name(&session, 1).await;
        AtomicU64::load(&LOADS, Ordering::Relaxed) == before
    })
    .await;
}

#[tokio::test]
async fn a_rollback_drops_nothing() {
    let (cluster, tier) = alone().await;
    let db = process(crate::config(&cluster), &tier).await;
    cached_name(&db, 1).await;
    let rolled_back = db.transaction(async |conn: &mut AsyncPgConnection| {
        conn.batch_execute("UPDATE users SET name = 'x'").await?;
        db.touch([Tag::row("users", 1)])?;
        Err::<(), _>(Error::Client("no".into()))
    });
    rolled_back.await.unwrap_err();
    let before = db.cache_stats().unwrap().loads;
    assert_eq!(cached_name(&db, 1).await.as_deref(), Some("Ada"));
    assert_eq!(db.cache_stats().unwrap().loads, before);
    assert!(db.touch([Tag::row("users", 1)]).is_err(), "outside a transaction");
}

#[tokio::test]
async fn inside_a_transaction_reads_go_past_the_cache() {
    let (cluster, tier) = alone().await;
    let db = process(crate::config(&cluster), &tier).await;
    cached_name(&db, 1).await;
    cluster.connect(0).await.unwrap().batch_execute("UPDATE users SET name = 'psql'").await.unwrap();
    assert_eq!(cached_name(&db, 1).await.as_deref(), Some("Ada"), "nobody has told the cache");
    let inside = db.transaction(async |_: &mut AsyncPgConnection| {
        let read = db.cached(NAMES.key(1), async |conn: &mut AsyncPgConnection| name(conn, 1).await).await;
        let value = read.map_err(|error| Error::Client(Box::new(error)))?.unwrap();
        assert!(matches!(value, CachedValue::Own(_)));
        Ok::<_, Error>(value.to_string())
    });
    assert_eq!(inside.await.unwrap(), "psql");
    db.invalidate_tags(&[Tag::row("users", 1)]).await.unwrap();
    assert_eq!(cached_name(&db, 1).await.as_deref(), Some("psql"));
}

#[tokio::test]
async fn a_write_that_touches_no_tag_of_its_table_is_warned_of_once_without_its_values() {
    let (cluster, tier) = alone().await;
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt().with_writer(log.clone()).with_ansi(false).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let db =
        Db::connect_with_cache(crate::config(&cluster), cache(&tier).rows_of("users"), []).await.unwrap();
    rename(&db, 1, "secret", true).await.unwrap();
    assert_eq!(log.line(&["touches no tag"]), None);
    for _ in 0..2 {
        rename(&db, 1, "secret", false).await.unwrap();
    }
    assert_eq!(log.count("touches no tag"), 1);
    let line = log.line(&["touches no tag", "name = "]).unwrap();
    assert!(!line.contains("secret"), "{line}");
}

#[tokio::test]
async fn a_relay_hears_of_each_commit_and_leaves_it_alone_where_its_writer_has_bumped() {
    let (cluster, tier) = alone().await;
    let interval = Duration::from_millis(20);
    let relay = Relay::new(
        Arc::clone(&tier) as Arc<dyn SecondTier>,
        RelayConfig { interval, ..RelayConfig::default() },
    );
    let cache = cache(&tier).table("users").relayed_by(relay.clone());
    let db = Db::connect_with_cache(crate::config(&cluster), cache, []).await.unwrap();
    until("the relay is there", async || relay.status().is_caught_up).await;
    rename(&db, 1, "Eve", true).await.unwrap();
    until("it has heard of it", async || relay.status().messages == 1).await;
    assert_eq!(relay.status().confirmed, 1);
    let health = db.health();
    assert!(health.parts.iter().any(|part| part.name == "cache"));
    let salvages: u64 = health.pools.iter().map(|pool| pool.status.salvages).sum();
    assert_eq!(salvages, 0, "what the relay is told costs no reset");
    let retained = db.part_metrics().iter().any(|measure| measure.name == "db.cache.relay.retained");
    assert!(retained);
}

#[tokio::test]
async fn a_standby_that_is_behind_fills_only_what_was_not_written_since() {
    let cluster = Cluster::builder().standbys(1).start().await.unwrap();
    users(&cluster).await;
    cluster.wait_until_caught_up(1).await.unwrap();
    let tier = Arc::new(SimulatedTier::seeded(4));
    let mut config = crate::config(&cluster);
    config.router.max_lag = Duration::from_secs(3600);
    let (db, other) = (process(config.clone(), &tier).await, process(config, &tier).await);
    // The primary teaches how far a standby must be.
    for id in [1, 2] {
        cached_name(&db, id).await;
        db.invalidate(&NAMES.key(id)).await.unwrap();
        rename(&db, id, &format!("first {id}"), true).await.unwrap();
        cached_name(&db, id).await;
    }
    cluster.wait_until_caught_up(1).await.unwrap();
    cluster.pause_replay(1).await.unwrap();
    rename(&db, 1, "Eve", true).await.unwrap();
    assert_eq!(cached_name(&other, 1).await.as_deref(), Some("Eve"));
    let by = |db: &Db| {
        let standby = cluster.standby_urls()[0].parse::<db_platform::DatabaseUrl>().unwrap();
        db.topology().node(&standby.hosts()[0]).unwrap().reads.total()
    };
    let before = by(&other);
    // An expired entry of an untouched tag: here another keyspace of the same row.
    static OTHER: Keyspace<i64, String> = Keyspace::new("others")
        .policy(POLICY)
        .mode(Mode::Strict)
        .tags_of_key(|id| vec![Tag::row("users", id)]);
    for id in [1, 2] {
        let read =
            other.cached(OTHER.key(id), async move |conn: &mut AsyncPgConnection| name(conn, id).await);
        let expected = if id == 1 { "Eve".to_owned() } else { format!("first {id}") };
        assert_eq!(**read.await.unwrap().as_ref().unwrap(), expected);
    }
    assert!(by(&other) <= before + 1, "{} and then {}", before, by(&other));
}

#[tokio::test]
async fn after_a_failover_nothing_is_served_that_the_new_primary_does_not_hold() {
    let cluster = Cluster::builder().standbys(1).start().await.unwrap();
    users(&cluster).await;
    cluster.wait_until_caught_up(1).await.unwrap();
    let tier = Arc::new(SimulatedTier::seeded(5));
    let (one, other) =
        (process(crate::config(&cluster), &tier).await, process(crate::config(&cluster), &tier).await);
    cluster.pause_replay(1).await.unwrap();
    cluster.stop(1, db_testkit::Stop::Immediate).await.unwrap();
    rename(&one, 1, "lost", true).await.unwrap();
    for db in [&one, &other] {
        assert_eq!(cached_name(db, 1).await.as_deref(), Some("lost"));
    }
    cluster.kill(0).await.unwrap();
    cluster.start(1).await.unwrap();
    cluster.promote(1).await.unwrap();
    let standby = cluster.url_of(1).unwrap().parse::<db_platform::DatabaseUrl>().unwrap().hosts()[0].clone();
    for db in [&one, &other] {
        until("the new writer is known", async || db.topology().writer == Some(standby.clone())).await;
        assert_eq!(cached_name(db, 1).await.as_deref(), Some("Ada"));
    }
}
