//! A cache as [`Db`](crate::Db) uses it: what attaches it, and what happens to it around each COMMIT.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use db_cache::relay::{Message, OpenConnection, Relay};
use db_cache::{Cache, CacheStats, CacheTransaction, History, Position, RedisTier};
use db_core::{AroundCommit, CommitOutcome, Error, Measure, MeasureKind, Part, PartHealth, Result, Running};
use db_replica_routing::Token;
use diesel_async::{AsyncConnection, AsyncPgConnection};
use futures_util::FutureExt;

use crate::cache_writes::{Recorder, Tables, Tagged, Writes};
use crate::config::Config;

type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The tables and statements that were warned of.
type Warned = HashSet<(&'static str, Arc<str>)>;

/// A cache as [`Db`](crate::Db) uses it. Cheap to clone.
///
/// Declare the tables that entries are made from: then a transaction that writes to one drops what was made from it when it
/// commits, and nobody has to remember to.
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
}

impl DbCache {
    /// A cache that no table is declared for.
    pub fn new(cache: Cache) -> Self {
        DbCache { cache, relay: None, tables: Arc::default(), warned: Arc::default() }
    }

    /// The cache that a configuration describes: on Redis where `REDIS_URL` is set, else in this process alone, which is
    /// said in the log. It must be made within a tokio runtime.
    ///
    /// # Errors
    /// Where [`Config::cache`] names a second tier that is none; one that was read from settings was checked there.
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

    /// The same, whose transactions tell a relay what they touch, in the log: what was committed is dropped even where this
    /// process ends right after COMMIT.
    #[must_use]
    pub fn relayed_by(mut self, relay: Relay) -> Self {
        self.relay = Some(relay);
        self
    }

    /// The same, where every write to `table` in a transaction touches [`Tag::table`](db_cache::Tag::table) of it. Name it as
    /// statements do: with its schema only if they have one.
    #[must_use]
    pub fn table(self, table: &'static str) -> Self {
        self.declaring(table, Tagged::Whole)
    }

    /// The same, where entries are made from single rows of `table`, whose tags transactions touch by themselves. A
    /// development build warns of a transaction that writes to it and touches none.
    #[must_use]
    pub fn rows_of(self, table: &'static str) -> Self {
        self.declaring(table, Tagged::Rows)
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
                let (health, measures) = (starts.clone(), starts);
                Ok(Running::new()
                    .with_health(move || health.health())
                    .with_metrics(move || measures.measures()))
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

    /// The writer continues this history: what was read from another one is dropped here before this returns, and elsewhere
    /// as soon as the second tier is told.
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

/// What the reads of each keyspace came to. An exporter learns the names at the start, before anybody has read anything.
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
