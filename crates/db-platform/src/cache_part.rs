//! A cache as [`Db`](crate::Db) uses it: what attaches it, and what happens to it around each COMMIT.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::hash::Hash;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use db_cache::relay::{Message, OpenConnection, Relay};
use db_cache::{Cache, CacheStats, CacheTransaction, History, Keyspace, Position, RedisTier, Samples};
use db_core::{AroundCommit, CommitOutcome, Error, Measure, MeasureKind, Part, PartHealth, Result, Running};
use db_loader::Fetch;
use db_replica_routing::Token;
use diesel_async::{AsyncConnection, AsyncPgConnection};
use futures_util::FutureExt;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::task::AbortHandle;

use crate::cache_checks;
use crate::cache_writes::{Recorder, Tables, Tagged, Writes};
use crate::config::Config;
use crate::db::Db;
use crate::warming::{CacheWarming, WarmStep, saved_step};

type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The tables and statements that were warned of.
type Warned = HashSet<(&'static str, Arc<str>)>;

/// A cache as [`Db`](crate::Db) uses it. Cheap to clone.
///
/// Declare the tables that entries are made from: then a transaction that writes to one drops what was made
/// from it when it commits, and nobody has to remember to.
///
/// ```no_run
/// use db_platform::cache::{Cache, CacheConfig};
/// use db_platform::{Config, Db, DbCache, Result};
///
/// # async fn start(config: Config) -> Result<Db> {
/// let cache = DbCache::new(Cache::new(CacheConfig::default())).table("countries").rows_of("users");
/// Db::connect_with_cache(config, cache, []).await
/// # }
/// ```
#[derive(Clone)]
pub struct DbCache {
    cache: Cache,
    relay: Option<Relay>,
    tables: Arc<Tables>,
    warned: Arc<Mutex<Warned>>,
    steps: Vec<WarmStep>,
    warming: Arc<Mutex<Option<AbortHandle>>>,
}

impl DbCache {
    /// A cache that no table is declared for.
    pub fn new(cache: Cache) -> Self {
        DbCache {
            cache,
            relay: None,
            tables: Arc::default(),
            warned: Arc::default(),
            steps: Vec::new(),
            warming: Arc::default(),
        }
    }

    /// The cache that a configuration describes: on Redis where `REDIS_URL` is set, else in this process
    /// alone, which is said in the log. It must be made within a tokio runtime.
    ///
    /// # Errors
    /// Where [`Config::cache`] names a second tier that is none; one that was read from settings was checked
    /// there.
    pub fn of(config: &Config) -> Result<Self> {
        let config = config.cache.clone().unwrap_or_default();
        let tier = RedisTier::of(&config).map_err(|error| Error::Client(Box::new(error)))?;
        Ok(DbCache::new(match tier {
            Some(tier) => Cache::with_second_tier(config, Arc::new(tier)),
            None => {
                tracing::info!(
                    "the cache works in this process alone and hears of no other's writes: set REDIS_URL where there are several"
                );
                Cache::new(config)
            }
        }))
    }

    /// The same, whose transactions tell a relay what they touch, in the log: what was committed is dropped
    /// even where this process ends right after COMMIT.
    #[must_use]
    pub fn relayed_by(mut self, relay: Relay) -> Self {
        self.relay = Some(relay);
        self
    }

    /// The same, where every write to `table` in a transaction touches [`Tag::table`](db_cache::Tag::table)
    /// of it. Name it as statements do: with its schema only if they have one.
    #[must_use]
    pub fn table(self, table: &'static str) -> Self {
        self.declaring(table, Tagged::Whole)
    }

    /// The same, where entries are made from single rows of `table`, whose tags transactions touch by
    /// themselves. A development build warns of a transaction that writes to it and touches none.
    #[must_use]
    pub fn rows_of(self, table: &'static str) -> Self {
        self.declaring(table, Tagged::Rows)
    }

    /// The same, which knows how keys of this keyspace are loaded, many at a time: where
    /// `CACHE_ENABLE_WARMING` is on it loads those that were hot in the last run when the service starts, and
    /// in any case when `dbctl cache warm` asks and in [`Db::warm_cache`](crate::Db::warm_cache).
    ///
    /// ```no_run
    /// # use db_platform::cache::{Keyspace, Tag};
    /// # use db_platform::{Config, Db, DbCache, Result};
    /// # use diesel::prelude::*;
    /// # use diesel_async::RunQueryDsl;
    /// # diesel::table! { users (id) { id -> BigInt, name -> Text, } }
    /// # static NAMES: Keyspace<i64, String> = Keyspace::new("user_names");
    /// # async fn start(config: Config) -> Result<Db> {
    /// let cache = DbCache::of(&config)?.rows_of("users").warms(&NAMES, async |conn, ids: Vec<i64>| {
    ///     let named = users::table.filter(users::id.eq_any(ids));
    ///     named.select((users::id, users::name)).load::<(i64, String)>(conn).await
    /// });
    /// Db::connect_with_cache(config, cache, []).await
    /// # }
    /// ```
    #[must_use]
    pub fn warms<K, V, R, E>(mut self, keyspace: &'static Keyspace<K, V>, load: impl Fetch<K, R, E>) -> Self
    where
        K: Serialize + DeserializeOwned + Clone + Eq + Hash + Send + Sync + 'static,
        V: Serialize + DeserializeOwned + Send + Sync + 'static,
        R: IntoIterator<Item = (K, V)> + Send + 'static,
        E: Into<Error> + Send + 'static,
    {
        self.steps.push(saved_step(keyspace, load));
        self
    }

    /// The cache itself.
    pub fn cache(&self) -> &Cache {
        &self.cache
    }

    /// The relay, if there is one.
    pub fn relay(&self) -> Option<&Relay> {
        self.relay.as_ref()
    }

    /// What attaches it to a `Db`; [`Db::connect_with_cache`](crate::Db::connect_with_cache) does.
    pub(crate) fn part(&self) -> Part {
        let (hooks, checkouts, starts) = (self.clone(), Arc::clone(&self.tables), self.clone());
        let part = Part::named("cache").around_commit(move || CommitTouch::new(&hooks)).starting(
            move |ground| async move {
                if let Some(relay) = starts.relay.clone() {
                    let opened = ground.clone();
                    let open: OpenConnection = Arc::new(move || {
                        let ground = opened.clone();
                        Box::pin(async move { ground.connect_direct().await })
                    });
                    ground.spawn(async move { relay.run(open).await });
                }
                let (health, measures, checks, stops) =
                    (starts.clone(), starts.clone(), starts.clone(), starts);
                Ok(Running::new()
                    .with_stop(move || async move { stops.stop_warming().await })
                    .with_health(move || health.health())
                    .with_metrics(move || measures.measures())
                    .with_checks(move || cache_checks::of(&checks)))
            },
        );
        if self.tables.declared.is_empty() {
            return part;
        }
        part.on_checkout(move |conn| {
            if let Some(writes) = Writes::current() {
                conn.set_instrumentation(Recorder::new(&checkouts, &writes));
            }
            Box::pin(std::future::ready(Ok(())))
        })
    }

    pub(crate) fn warm_steps(&self) -> &[WarmStep] {
        &self.steps
    }

    /// Warms the cache now, where the configuration says so, and whenever an operator asks for it, until the
    /// part stops.
    pub(crate) fn start_warming(&self, db: &Db) {
        if self.steps.is_empty() {
            return;
        }
        let (mut requests, database) = (self.cache.warm_requests(), db.downgrade());
        let mut is_asked = self.cache.config().warming;
        let warming = tokio::spawn(async move {
            while let Some(db) = database.upgrade() {
                if is_asked {
                    warm(&db.warm_cache()).await;
                }
                drop(db);
                is_asked = tokio::time::timeout(LOOK_FOR_HANDLES, requests.next()).await == Ok(true);
            }
        });
        let handle = warming.abort_handle();
        if let Some(before) = lock(&self.warming).replace(handle) {
            before.abort();
        }
    }

    /// Ends the warming, and saves the hot keys for the next start.
    async fn stop_warming(&self) {
        if let Some(warming) = lock(&self.warming).take() {
            warming.abort();
        }
        if self.cache.config().warming
            && let Err(error) = self.cache.save_hot_keys().await
        {
            tracing::warn!(%error, "the hot keys of the cache are not saved: the next start is as warm as half a minute ago");
        }
    }

    /// The writer continues this history: what was read from another one is dropped here before this returns,
    /// and elsewhere as soon as the second tier is told.
    pub(crate) fn continues(&self, history: History) {
        let cache = self.cache.clone();
        let mut telling = Box::pin(async move { cache.set_history(history).await });
        if telling.as_mut().now_or_never().is_none() {
            tokio::spawn(telling);
        }
    }

    fn declaring(mut self, table: &'static str, tagged: Tagged) -> Self {
        self.tables = Arc::new(self.tables.declaring(table, tagged));
        self
    }

    fn health(&self) -> PartHealth {
        match (&self.relay, self.cache.stats().breaker_open) {
            (_, true) => PartHealth::new(
                db_core::Condition::Degraded,
                "the cache's second tier does not answer: values are kept in process only",
            ),
            (Some(relay), false) => relay.status().health(),
            (None, false) => PartHealth::up(),
        }
    }

    fn measures(&self) -> Vec<Measure> {
        let stats = self.cache.stats();
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
        all.extend(keyspaces(&stats));
        all.extend(samples(&stats.samples));
        all.extend(self.relay.iter().flat_map(|relay| relay.status().measures()));
        all
    }

    /// Warns, once for each statement, of writes whose entries nothing drops. In development builds only.
    fn warn_of(&self, writes: &Writes) {
        if !cfg!(debug_assertions) {
            return;
        }
        for (table, statement) in writes.untouched() {
            let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
            if warned.insert((table, Arc::clone(&statement))) {
                tracing::warn!(
                    table,
                    %statement,
                    "a transaction writes to a table that cached entries are made from and touches no tag of it: call Db::touch"
                );
            }
        }
    }
}

impl fmt::Debug for DbCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tables: BTreeMap<_, _> = self.tables.declared.iter().collect();
        f.debug_struct("DbCache").field("tables", &tables).field("relay", &self.relay).finish_non_exhaustive()
    }
}

/// How soon the task that waits for requests to warm notices that nobody has a handle any more.
const LOOK_FOR_HANDLES: Duration = Duration::from_secs(10);

/// Runs a job that nobody waits for.
async fn warm(job: &CacheWarming) {
    match job.run().await {
        Ok(warmed) => tracing::info!(%warmed, "the cache is warm"),
        Err(error) => tracing::warn!(%error, "the cache is not warmed: what is asked for is loaded then"),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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

/// Marks before one COMMIT and bumps after it.
struct CommitTouch {
    cache: DbCache,
    transaction: CacheTransaction,
    writes: Option<Arc<Writes>>,
    position: Mutex<Option<Position>>,
}

impl CommitTouch {
    fn new(cache: &DbCache) -> Self {
        CommitTouch {
            transaction: cache.cache.transaction(),
            cache: cache.clone(),
            writes: Writes::current(),
            position: Mutex::default(),
        }
    }

    fn position(&self) -> std::sync::MutexGuard<'_, Option<Position>> {
        self.position.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AroundCommit for CommitTouch {
    fn before<'a>(&'a self, _: &'a mut AsyncPgConnection) -> Answer<'a, Result<()>> {
        Box::pin(async move {
            self.transaction.clear();
            *self.position() = None;
            let Some(writes) = &self.writes else { return Ok(()) };
            self.cache.warn_of(writes);
            writes.tags().into_iter().for_each(|tag| self.transaction.touch(tag));
            self.transaction.before_commit().await.map_err(|error| Error::Client(Box::new(error)))
        })
    }

    fn sql(&self) -> Option<Cow<'_, str>> {
        let slots = self.transaction.slots();
        if slots.is_empty() {
            return None;
        }
        let message = Message { writer: self.transaction.writer(), slots };
        self.cache.relay.as_ref()?.sql(&message).map(Cow::Owned)
    }

    fn alongside<'a>(&'a self, conn: &'a AsyncPgConnection) -> Option<Answer<'a, ()>> {
        if self.transaction.slots().is_empty() {
            return None;
        }
        Some(Box::pin(async move {
            // Without it standbys fill nothing of what was touched before the primary was asked.
            if let Ok(Some(token)) = Token::read(conn).await {
                let history = History { system: token.system, timeline: token.timeline };
                *self.position() = Some(Position::new(history, token.position.0));
            }
        }))
    }

    fn after<'a>(&'a self, _: Option<&'a mut AsyncPgConnection>, outcome: CommitOutcome) -> Answer<'a, ()> {
        Box::pin(async move {
            let position = self.position().take();
            match outcome {
                CommitOutcome::Committed => {
                    let writer = self.transaction.writer();
                    let token = self.transaction.committed(position).await;
                    if let (Some(relay), Some(writer), Some(_)) = (&self.cache.relay, writer, token.feed) {
                        relay.has_bumped(writer);
                    }
                }
                CommitOutcome::RolledBack => self.transaction.rolled_back().await,
                CommitOutcome::Unknown => self.transaction.outcome_unknown().await,
            }
        })
    }
}
