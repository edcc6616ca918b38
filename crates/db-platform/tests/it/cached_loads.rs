//! Loaders behind the cache, on a real Redis: the memo, the first tier, one multi-get, one statement.
//!
//! One thread, so that what is asked for together is one batch: with two the other may take the first keys
//! alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use db_core::{Observe, QueryEvent};
use db_platform::cache::{Cache, CacheConfig, Keyspace, Mode, Policy, RedisTier, Tag, TierUrl};
use db_platform::loader::{Children, LoadError, Loader, Order, PageOf, Query, lend};
use db_platform::{Class, Classify, Config, Db, DbCache, Environment, Error, Part, Session};
use db_testkit::{Redis, TestDatabase, skip, until};
use diesel::prelude::*;
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use futures_util::future::join_all;

mod schema {
    diesel::table! { users (id) { id -> BigInt, name -> Text, } }
    diesel::table! { comments (id) { id -> BigInt, post_id -> BigInt, body -> Text, } }
}
use schema::{comments, users};

const SCHEMA: &str = "CREATE TABLE users (id bigint PRIMARY KEY, name text NOT NULL);
    INSERT INTO users SELECT n, 'user ' || n FROM generate_series(1, 1000) AS n;
    CREATE TABLE comments (id bigint PRIMARY KEY, post_id bigint NOT NULL, body text NOT NULL);
    CREATE INDEX ON comments (post_id, id);
    INSERT INTO comments SELECT n, n % 10, 'comment ' || n FROM generate_series(1, 200) AS n";

const POLICY: Policy = Policy { early_refresh: 0.0, ..Policy::DEFAULT };

static NAMES: Keyspace<i64, String> = Keyspace::new("names of loads")
    .policy(POLICY)
    .mode(Mode::Bounded(Duration::from_secs(60)))
    .tags_of_key(|id| vec![Tag::row("users", id)]);

type Page = PageOf<i64, (i64,)>;
type Comment = (i64, String);

static COMMENTS: Keyspace<Page, Arc<[Comment]>> = Keyspace::new("comments of loads")
    .policy(POLICY)
    .mode(Mode::Bounded(Duration::from_secs(60)))
    .tags_of_key(|page| vec![Tag::row("comments.post", page.parent())]);

fn names() -> Query<i64, String> {
    Query::new("names", async |conn: &mut AsyncPgConnection, ids: Vec<i64>| {
        users::table.filter(users::id.eq_any(ids)).load::<(i64, String)>(conn).await
    })
}

fn cached_names(db: &Db) -> Loader<i64, String> {
    db.cached_loader(&names(), |ids| NAMES.keys(ids))
}

/// Counts the statements that name one of the tables, as they pass on the wire.
#[derive(Clone, Default)]
struct Statements(Arc<AtomicU64>);

impl Observe for Statements {
    fn on_query(&self, event: &QueryEvent<'_>) {
        let is_ours = |table: &&str| event.statement.contains(*table);
        if event.statement.starts_with("SELECT") && ["\"users\"", "\"comments\""].iter().any(is_ours) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

struct Stage {
    database: TestDatabase,
    redis: Redis,
    statements: Statements,
}

impl Stage {
    /// None where there is no Redis to be had.
    async fn set() -> Option<Stage> {
        let redis = skip::without(Redis::start().await)?;
        let database = TestDatabase::empty().await.unwrap();
        database.connect().await.unwrap().batch_execute(SCHEMA).await.unwrap();
        Some(Stage { database, redis, statements: Statements::default() })
    }

    /// A handle as one process has it, with a first tier of its own.
    async fn process(&self) -> Db {
        let cache = CacheConfig {
            second_tier: Some(TierUrl::new(self.redis.url())),
            installation: "loads".to_owned(),
            tier_budget: Duration::from_secs(5),
            ..CacheConfig::default()
        };
        let tier = RedisTier::of(&cache).unwrap().unwrap();
        let cache = DbCache::new(Cache::with_second_tier(cache, Arc::new(tier)));
        let config = Config::new(Environment::Test, self.database.url().parse().unwrap());
        let part = Part::named("statements").observing(self.statements.clone());
        Db::connect_with_cache(config, cache, [part]).await.unwrap()
    }

    fn statements(&self) -> u64 {
        AtomicU64::load(&self.statements.0, Ordering::Relaxed)
    }

    async fn client(&self) -> redis::aio::MultiplexedConnection {
        let client = redis::Client::open(self.redis.url()).unwrap();
        client.get_multiplexed_async_connection().await.unwrap()
    }

    /// Waits until the second tier holds so many entries and no lease: a load answers before it has stored.
    /// The processes keep a few entries of their own there.
    async fn holds(&self, entries: usize) {
        let mut conn = self.client().await;
        until("the entries are stored", async || {
            let keys: Vec<String> = redis::cmd("KEYS").arg("*").query_async(&mut conn).await.unwrap();
            let count = |kind: &str| keys.iter().filter(|key| key.contains(kind)).count();
            count(":e:") >= entries && count(":l:") == 0
        })
        .await;
    }

    /// How many multi-gets the server has answered.
    async fn multi_gets(&self) -> u64 {
        let mut conn = self.client().await;
        let stats: String = redis::cmd("INFO").arg("commandstats").query_async(&mut conn).await.unwrap();
        let line = stats.lines().find_map(|line| line.strip_prefix("cmdstat_mget:calls="));
        line.map_or(0, |line| line.split(',').next().unwrap().parse().unwrap())
    }
}

async fn ask_for(names: &Loader<i64, String>, ids: std::ops::Range<i64>) {
    let answers = join_all(ids.clone().map(|id| names.get(id))).await;
    for (id, answer) in ids.zip(answers) {
        assert_eq!(answer.unwrap(), (1..=1_000).contains(&id).then(|| format!("user {id}")));
    }
}

#[tokio::test]
async fn a_thousand_loads_are_one_multi_get_and_one_statement() {
    let Some(stage) = Stage::set().await else { return };
    let (one, other) = (stage.process().await, stage.process().await);
    let query = names();
    let keys = |ids| NAMES.keys(ids);
    ask_for(&one.cached_loader(&query, keys), 1..501).await;
    assert_eq!((query.counts().batches(), stage.statements()), (1, 1), "none was cached");

    stage.holds(500).await;

    // Half of them are in the second tier: one multi-get tells which, and one statement loads the rest.
    let before = stage.multi_gets().await;
    ask_for(&other.cached_loader(&query, keys), 1..1_001).await;
    assert_eq!((query.counts().batches(), stage.statements()), (2, 2));
    // The second look is under the leases of the loads: other processes may have stored meanwhile.
    let looks = stage.multi_gets().await - before;
    assert!((1..=2).contains(&looks), "{looks} multi-gets");

    stage.holds(1_000).await;

    // The other half is in the second tier: one multi-get, and nothing else.
    let before = stage.multi_gets().await;
    ask_for(&one.cached_loader(&query, keys), 1..1_001).await;
    assert_eq!((stage.multi_gets().await - before, stage.statements()), (1, 2));

    // All of them are in process.
    let before = stage.multi_gets().await;
    ask_for(&one.cached_loader(&query, keys), 1..1_001).await;
    assert_eq!((stage.multi_gets().await - before, stage.statements()), (0, 2));
}

#[tokio::test]
async fn a_key_that_does_not_exist_is_remembered_as_that() {
    let Some(stage) = Stage::set().await else { return };
    let (one, other) = (stage.process().await, stage.process().await);
    ask_for(&cached_names(&one), 990..1_100).await;
    stage.holds(110).await;
    for db in [&one, &other] {
        ask_for(&cached_names(db), 990..1_100).await;
    }
    assert_eq!(stage.statements(), 1);
}

#[tokio::test]
async fn a_request_sees_its_own_write_through_memo_and_cache() {
    let Some(stage) = Stage::set().await else { return };
    let db = stage.process().await;
    let rename = async |name: &'static str| {
        let update = db.transaction::<_, Error>(async |conn: &mut AsyncPgConnection| {
            let renamed = users::table.find(7_i64);
            diesel::update(renamed).set(users::name.eq(name)).execute(conn).await?;
            db.touch([Tag::row("users", 7)])
        });
        update.await.unwrap();
    };
    let request = async {
        let names = cached_names(&db);
        ask_for(&names, 1..101).await;
        for name in ["Ada", "Eve"] {
            rename(name).await;
            assert_eq!(names.get(7).await.unwrap().as_deref(), Some(name));
            assert_eq!(names.get(7).await.unwrap().as_deref(), Some(name));
        }
        assert_eq!(names.get(8).await.unwrap().as_deref(), Some("user 8"));
        names.counts()
    };
    let counts = Session::default().scope(request).await;
    // Nobody reads another user's row again: only what was touched left the cache.
    assert_eq!(stage.statements(), 3, "{counts:?}");
    assert_eq!(counts.remembered, 2, "what was read after each write");
}

#[tokio::test]
async fn pages_of_children_are_cached_until_their_parent_is_touched() {
    let Some(stage) = Stage::set().await else { return };
    let (one, other) = (stage.process().await, stage.process().await);
    let select = comments::table.select((comments::id, comments::body));
    let children: Children<i64, Comment, (i64,)> =
        Children::new("comments of a post", select, comments::post_id, (comments::id,));
    let newest = async |db: &Db| {
        let comments = db.cached_top_loader(&children, &COMMENTS);
        let pages = join_all((0..10).map(|post| comments.load_top(post, 3, Order::Descending))).await;
        pages.into_iter().map(|page| page.unwrap()[0].0).collect::<Vec<_>>()
    };
    let expected: Vec<i64> = [200].into_iter().chain(191..=199).collect();
    assert_eq!(newest(&one).await, expected);
    stage.holds(10).await;
    for db in [&other, &one] {
        assert_eq!(newest(db).await, expected);
    }
    assert_eq!(stage.statements(), 1);
    let comment = one.transaction::<_, Error>(async |conn: &mut AsyncPgConnection| {
        conn.batch_execute("INSERT INTO comments VALUES (203, 3, 'new')").await?;
        one.touch([Tag::row("comments.post", 3)])
    });
    comment.await.unwrap();
    assert_eq!(newest(&one).await[3], 203);
    // The other pages are cached still: this one is the only one that was read again.
    assert_eq!(stage.statements(), 2);
}

#[tokio::test]
async fn a_loader_of_a_transaction_goes_past_the_cache() {
    let Some(stage) = Stage::set().await else { return };
    let db = stage.process().await;
    ask_for(&cached_names(&db), 1..11).await;
    let before = stage.multi_gets().await;
    let seen = db.transaction::<_, Error>(async |conn: &mut AsyncPgConnection| {
        diesel::update(users::table.find(1_i64)).set(users::name.eq("mine")).execute(conn).await?;
        db.touch([Tag::row("users", 1)])?;
        // On another connection, to the primary: it does not see what is not committed.
        let other = cached_names(&db).get(1).await?;
        let (lent, mut loan) = lend(conn);
        let own = names().within(&lent);
        Ok((other, loan.run(own.get(1)).await?))
    });
    let expected = (Some("user 1".to_owned()), Some("mine".to_owned()));
    assert_eq!(seen.await.unwrap(), expected);
    assert_eq!(stage.multi_gets().await, before);
    assert_eq!(cached_names(&db).get(1).await.unwrap().as_deref(), Some("mine"));
}

#[tokio::test]
async fn without_the_second_tier_a_thousand_loads_are_one_statement() {
    let Some(stage) = Stage::set().await else { return };
    let db = stage.process().await;
    ask_for(&cached_names(&db), 1..2).await;
    stage.redis.kill().await.unwrap();
    let before = stage.statements();
    ask_for(&cached_names(&db), 1..1_001).await;
    assert_eq!(stage.statements(), before + 1);
}

#[tokio::test]
async fn a_statement_that_fails_fails_its_batch_with_the_servers_code() {
    let Some(stage) = Stage::set().await else { return };
    let db = stage.process().await;
    let broken: Query<i64, String> =
        Query::new("broken", async |conn: &mut AsyncPgConnection, _: Vec<i64>| {
            diesel::sql_query("SELECT 1 / 0").execute(conn).await?;
            Ok::<_, Error>(Vec::new())
        });
    let loader = db.cached_loader(&broken, |ids| NAMES.keys(ids));
    for answer in join_all((1..11).map(|id| loader.get(id))).await {
        let failed = answer.unwrap_err();
        assert_eq!((failed.class(), failed.code().unwrap().as_str()), (Class::Permanent, "22012"));
    }
    assert_eq!((broken.counts().failed, broken.counts().succeeded), (1, 0));
    let twice: Query<i64, String> = Query::new("twice", async |_: &mut AsyncPgConnection, ids: Vec<i64>| {
        Ok::<_, Error>(vec![(ids[0], "one".to_owned()), (ids[0], "two".to_owned())])
    });
    let failed = db.cached_loader(&twice, |ids| NAMES.keys(ids)).get(2_001).await.unwrap_err();
    assert!(matches!(failed, LoadError::Ambiguous { loader: "twice" }), "{failed:?}");
}
