//! `dbctl cache` beside a service that uses the same Redis.

use std::time::Duration;

use db_platform::cache::{Keyspace, Mode, Policy, Tag};
use db_platform::{Config, Db, DbCache, Error};
use db_testkit::{Redis, TestDatabase, skip, until};
use diesel::sql_query;
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use serde_json::Value;

use crate::run::{Text, dbctl};

const POLICY: Policy = Policy { early_refresh: 0.0, ..Policy::DEFAULT };

static NAMES: Keyspace<i64, String> =
    Keyspace::new("names").policy(POLICY).mode(Mode::Strict).tags_of_key(|id| vec![Tag::row("users", id)]);
static TITLES: Keyspace<i64, String> =
    Keyspace::new("titles").policy(POLICY).mode(Mode::Strict).tags_of_key(|_| vec![Tag::table("users")]);
static PAGE: Keyspace<i64, String> =
    Keyspace::new("page").policy(POLICY).mode(Mode::Strict).tags_of_key(|_| vec![Tag::named("frontpage")]);

/// A service with a cache, and the settings that it and dbctl share.
struct Stage {
    database: TestDatabase,
    redis: Redis,
    db: Db,
}

impl Stage {
    /// None where there is no Redis to be had.
    async fn set() -> Option<Stage> {
        let redis = skip::without(Redis::start().await)?;
        let database = TestDatabase::empty().await.unwrap();
        let schema = "CREATE TABLE users (id bigint PRIMARY KEY, name text NOT NULL); INSERT INTO users VALUES (1, 'Ada')";
        database.connect().await.unwrap().batch_execute(schema).await.unwrap();
        let vars = settings(&database, &redis).map(|(name, value)| (name.to_owned(), value));
        let db = Db::connect(Config::from_vars(vars).unwrap()).await.unwrap();
        Some(Stage { database, redis, db })
    }

    async fn dbctl(&self, arguments: &[&str]) -> crate::Run {
        let settings = settings(&self.database, &self.redis);
        let settings: Vec<_> = settings.iter().map(|(name, value)| (*name, &**value)).collect();
        dbctl(&settings, arguments).await
    }

    /// What the service reads, and whether each is from the cache: nobody tells the cache of the writes in
    /// between.
    async fn names(&self) -> [String; 3] {
        [self.read(&NAMES).await, self.read(&TITLES).await, self.read(&PAGE).await]
    }

    async fn read(&self, keyspace: &'static Keyspace<i64, String>) -> String {
        let read = self.db.cached(keyspace.key(1), async |conn: &mut AsyncPgConnection| {
            let name =
                sql_query("SELECT name AS text FROM users WHERE id = 1").get_result::<Text>(conn).await?;
            Ok::<_, Error>(Some(name.text))
        });
        read.await.unwrap().unwrap().to_string()
    }

    async fn rename_past_the_service(&self, name: &str) {
        let rename = format!("UPDATE users SET name = '{name}'");
        self.database.connect().await.unwrap().batch_execute(&rename).await.unwrap();
    }
}

fn settings(database: &TestDatabase, redis: &Redis) -> [(&'static str, String); 6] {
    [
        ("DATABASE_URL", database.url().to_owned()),
        ("APP_ENV", "test".to_owned()),
        ("REDIS_URL", redis.url()),
        // A busy machine is no outage.
        ("CACHE_REDIS_BUDGET", "5s".to_owned()),
        ("CACHE_SAMPLE_ONE_IN", "1".to_owned()),
        ("CACHE_ENABLE_WARMING", "true".to_owned()),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_written_past_the_services_is_dropped_by_its_tags() {
    let Some(stage) = Stage::set().await else { return };
    let now = |names: [&str; 3]| names.map(str::to_owned);
    assert_eq!(stage.names().await, now(["Ada", "Ada", "Ada"]));
    stage.rename_past_the_service("Bob").await;
    assert_eq!(stage.names().await, now(["Ada", "Ada", "Ada"]), "nobody has told the cache");

    let dropped = stage.dbctl(&["cache", "invalidate", "users/1"]).await;
    let said = "dropped what 1 tag and 0 keys stand for\n";
    assert_eq!((dropped.code, &*dropped.out), (Some(0), said), "{}", dropped.err);
    assert_eq!(stage.names().await, now(["Bob", "Ada", "Ada"]));
    let dropped = stage.dbctl(&["cache", "invalidate", "users", "@frontpage", "--json"]).await;
    assert_eq!(dropped.code, Some(0), "{}", dropped.err);
    assert_eq!(serde_json::from_str::<Value>(&dropped.out).unwrap()["tags"], 2);
    assert_eq!(stage.names().await, now(["Bob", "Bob", "Bob"]));

    stage.rename_past_the_service("Cy").await;
    let dropped = stage.dbctl(&["cache", "invalidate", "--key", "titles/1"]).await;
    assert_eq!(dropped.code, Some(0), "{}", dropped.err);
    assert_eq!(stage.names().await, now(["Bob", "Cy", "Bob"]));

    stage.rename_past_the_service("Eve").await;
    let refused = stage.dbctl(&["cache", "invalidate", "--all"]).await;
    assert_eq!(refused.code, Some(2));
    assert!(refused.err.contains("--yes"), "{}", refused.err);
    assert_eq!(stage.names().await, now(["Bob", "Cy", "Bob"]));
    assert_eq!(stage.dbctl(&["cache", "invalidate", "--all", "--yes"]).await.out, "everything is dropped\n");
    assert_eq!(stage.names().await, now(["Eve", "Eve", "Eve"]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_stats_and_samples_are_those_of_all_processes() {
    let Some(stage) = Stage::set().await else { return };
    let json = async |command: &str| -> Value {
        let run = stage.dbctl(&["cache", command, "--json"]).await;
        assert_eq!(run.code, Some(0), "{}", run.err);
        serde_json::from_str(&run.out).unwrap()
    };
    // Processes report every ten seconds.
    until("the service has reported its hits, and its sampler", async || {
        stage.names().await;
        let (stats, samples) = (json("stats").await, json("sample").await);
        stats["keyspaces"].as_array().unwrap().len() == 3 && samples["checked"].as_u64().unwrap() > 0
    })
    .await;
    let stats = json("stats").await;
    assert!(stats["used_bytes"].as_u64().unwrap() > 0 && stats["trusted"] == true, "{stats}");
    assert_eq!((&stats["readers"], stats["processes"].as_array().unwrap().len()), (&Value::from(1), 1));
    let text = stage.dbctl(&["cache", "stats"]).await.out;
    assert!(text.contains("1 read the feed") && text.contains("keyspace   names: "), "{text}");
    let samples = stage.dbctl(&["cache", "sample"]).await.out;
    assert!(samples.contains("nines") && samples.contains("95 %"), "{samples}");

    // Another installation on the same server has nothing to do with it.
    let (url, redis) = (stage.database.url(), stage.redis.url());
    let at = [("DATABASE_URL", url), ("REDIS_URL", &*redis), ("CACHE_INSTALLATION", "another")];
    let other = dbctl(&at, &["cache", "stats"]).await;
    assert_eq!(other.code, Some(3), "{}", other.err);
    assert!(other.out.contains("0 read the feed") && other.out.contains("not used yet"), "{}", other.out);
    let none = dbctl(&at, &["cache", "sample"]).await;
    assert!(none.code == Some(0) && none.out.contains("CACHE_SAMPLE_ONE_IN"), "{}", none.out);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_warm_their_caches_when_they_are_asked_to() {
    let Some(stage) = Stage::set().await else { return };
    stage.names().await;
    let hot = stage.db.cache_stats().unwrap();
    assert_eq!(hot.entries, 3);
    // Whoever saves the hot keys: here the service itself, when it stops.
    let _ = stage.db.shutdown(Duration::from_secs(5)).await;
    let vars = settings(&stage.database, &stage.redis).map(|(name, value)| (name.to_owned(), value));
    let config =
        Config::from_vars(vars.into_iter().filter(|(name, _)| name != "CACHE_ENABLE_WARMING")).unwrap();
    let cache =
        DbCache::of(&config).unwrap().warms(&NAMES, async |conn: &mut AsyncPgConnection, ids: Vec<i64>| {
            let name =
                sql_query("SELECT name AS text FROM users WHERE id = 1").get_result::<Text>(conn).await?;
            Ok::<_, Error>(ids.into_iter().map(|id| (id, name.text.clone())).collect::<Vec<_>>())
        });
    let db = Db::connect_with_cache(config, cache, []).await.unwrap();
    until("it is up and has reported", async || {
        let stats = stage.dbctl(&["cache", "stats", "--json"]).await;
        let stats: Value = serde_json::from_str(&stats.out).unwrap();
        // The one that has stopped is not forgotten at once.
        stats["saved_keys"].as_array().unwrap().len() == 3
            && stats["processes"].as_array().unwrap().len() == 2
    })
    .await;
    assert_eq!(db.cache_stats().unwrap().entries, 0);
    assert_eq!(stage.dbctl(&["cache", "warm"]).await.code, Some(0));
    until("it has loaded its hot keys", async || db.cache_stats().unwrap().entries == 1).await;
}

#[tokio::test]
async fn what_is_missing_is_said_and_no_password_is() {
    let at = [("DATABASE_URL", "postgres://ann@127.0.0.1:1/app"), ("APP_ENV", "test")];
    for arguments in
        [&["cache", "stats"][..], &["cache", "invalidate", "users"], &["cache", "warm"], &["cache", "sample"]]
    {
        let missing = dbctl(&at, arguments).await;
        assert_eq!(missing.code, Some(1));
        assert!(missing.err.contains("REDIS_URL is not set"), "{}", missing.err);
        let dead = [at[0], at[1], ("REDIS_URL", "redis://:hunter2@127.0.0.1:1")];
        let dead = dbctl(&dead, arguments).await;
        assert_eq!(dead.code, Some(1));
        assert!(dead.err.contains("second tier") && !dead.err.contains("hunter2"), "{}", dead.err);
    }
    for wrong in [
        &["cache", "invalidate"][..],
        &["cache", "invalidate", "--key", "users"],
        &["cache", "invalidate", "users/"],
        &["cache", "fly"],
    ] {
        assert_eq!(dbctl(&at, wrong).await.code, Some(2), "{wrong:?}");
    }
    let help = dbctl(&[], &["cache", "invalidate", "--help"]).await.out;
    assert!(help.contains("invalidate users/7") && help.contains("Tag::row"), "{help}");
}
