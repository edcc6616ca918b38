//! A read of many keys: the first tier, one look at the second for the rest, and one load for what both lack.
//!
//! Each key keeps a load of its own that others may wait for, whether they ask for one key or for many, so no
//! key is loaded twice at a time.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use crate::cache::{Behind, Cache, Shared};
use crate::entry::{Cached, Found};
use crate::error::{CacheError, Shared as SharedError};
use crate::fill::Purpose;
use crate::fill_many::Leg;
use crate::flights::{Board, Flights, Landed, Seat};
use crate::key::Key;
use crate::keys::Keys;
use crate::load::{LoadFrom, Loaded};
use crate::loaded_many::LoadedMany;
use crate::look::{Look, Seen, Stale};
use crate::past_first_tier::Wait;
use crate::plan::Plan;
use crate::stats::{Miss, Unkept, add_one};

/// What each key came to: its value, or that there is none, or why there is no answer.
pub type Answers<K, V, E> = HashMap<K, Result<Option<Cached<V>>, CacheError<E>>>;

impl Cache {
    /// The values of many keys: from the first tier, from the second in one round trip, or from one load for
    /// all that are missing. Every key is in the answer.
    ///
    /// `load` gets the keys that neither tier has and that nobody else is loading, and runs in a task of its
    /// own. It is called again for the keys whose value it read on a standby that was too far behind, and for
    /// those that other processes were loading and did not bring. It may ask a standby only where each of its
    /// keys may; else the primary.
    ///
    /// ```
    /// use db_cache::{Cache, CacheConfig, Keyspace, LoadedMany, ReadAt};
    ///
    /// static NAMES: Keyspace<i64, String> = Keyspace::new("names");
    ///
    /// # tokio::runtime::Builder::new_multi_thread().enable_time().build().unwrap().block_on(async {
    /// let cache = Cache::new(CacheConfig::default());
    /// let load = |_from, missing: Vec<i64>| async move {
    ///     let names = missing.into_iter().filter(|id| *id < 10).map(|id| (id, format!("name {id}")));
    ///     Ok::<_, std::io::Error>(LoadedMany::new(names, ReadAt::Primary(None)))
    /// };
    /// let names = cache.get_many_with(&NAMES.keys([7, 8, 90]), load).await;
    /// assert_eq!(names[&7].as_ref().unwrap().as_deref().map(String::as_str), Some("name 7"));
    /// assert!(names[&90].as_ref().unwrap().is_none());
    /// # });
    /// ```
    ///
    /// # Errors
    /// None for all together: each key has its own.
    ///
    /// # Cancel safety
    /// As [`Cache::get_with`].
    pub async fn get_many_with<K, V, E, F, L>(&self, keys: &Keys<K, V>, load: F) -> Answers<K, V, E>
    where
        K: Serialize + Clone + Eq + Hash + Send + Sync + 'static,
        V: Serialize + DeserializeOwned + Send + Sync + 'static,
        E: Send + Sync + 'static,
        F: Fn(LoadFrom, Vec<K>) -> L + Send + Sync + 'static,
        L: Future<Output = Result<LoadedMany<K, V, E>, E>> + Send + 'static,
    {
        let cache = &self.shared;
        let mut answers = HashMap::with_capacity(keys.len());
        let load = Arc::new(load);
        let (mut rest, mut early) = (Vec::new(), Vec::new());
        for key in keys.each() {
            match cache.first_tier_hit(&key, cache.mode_of(&key)) {
                Some((found, behind)) => {
                    if behind == Behind::Compare {
                        cache.sample(&key, &found, load_one(&load, key.key()));
                    }
                    answers.insert(key.key().clone(), Ok(found.into_value()));
                    early.extend((behind == Behind::LoadAnew).then_some(key));
                }
                None => rest.push(key),
            }
        }
        if !early.is_empty() {
            cache.refresh_many(early, &load);
        }
        if !rest.is_empty() {
            Box::pin(cache.get_many_past_first_tier(rest, &load, &mut answers)).await;
        }
        answers
    }
}

/// A load of many as the load of one.
fn load_one<K, V, E, F, L>(
    load: &Arc<F>,
    key: &K,
) -> impl Fn(LoadFrom) -> BoxFuture<'static, Result<Loaded<V>, E>> + Send + Sync + use<K, V, E, F, L>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    V: Send + 'static,
    E: Send + 'static,
    F: Fn(LoadFrom, Vec<K>) -> L + Send + Sync + 'static,
    L: Future<Output = Result<LoadedMany<K, V, E>, E>> + Send + 'static,
{
    let (load, key) = (Arc::clone(load), key.clone());
    move |from| {
        let (loading, key) = (load(from, vec![key.clone()]), key.clone());
        Box::pin(async move {
            let mut loaded = loading.await?;
            match loaded.failed.remove(&key) {
                Some(error) => Err(error),
                None => Ok(Loaded::new(loaded.values.remove(&key), loaded.read_at)),
            }
        })
    }
}

/// A key that has no answer yet.
struct Open<K, V> {
    key: K,
    plan: Arc<Plan<V>>,
    stale: Option<Arc<Stale<V>>>,
    /// Whether the caller takes what is stale, once a load is under way.
    revalidates: bool,
}

/// A key and the load that its caller waits for.
struct Waiting<K, V, E> {
    open: Open<K, V>,
    board: Arc<Board<V, E>>,
    joined: bool,
}

impl Shared {
    async fn get_many_past_first_tier<K, V, E, F, L>(
        self: &Arc<Self>,
        keys: Vec<Key<K, V>>,
        load: &Arc<F>,
        answers: &mut Answers<K, V, E>,
    ) where
        K: Serialize + Clone + Eq + Hash + Send + Sync + 'static,
        V: Serialize + DeserializeOwned + Send + Sync + 'static,
        E: Send + Sync + 'static,
        F: Fn(LoadFrom, Vec<K>) -> L + Send + Sync + 'static,
        L: Future<Output = Result<LoadedMany<K, V, E>, E>> + Send + 'static,
    {
        let began = self.clock.now();
        let (mut plans, mut unencoded) = (Vec::new(), Vec::new());
        for key in &keys {
            match Plan::new(self, key, *self.mode_of(key)) {
                Some(plan) => plans.push((key.key().clone(), Arc::new(plan))),
                None => unencoded.push(key),
            }
        }
        if !unencoded.is_empty() {
            self.load_many_uncached(&unencoded, load, answers).await;
        }
        let mut open = self.look_for_each(plans, load, answers).await;
        let mut purpose = Purpose::Load;
        while !open.is_empty() {
            let waiting = self.join_each(open, load, purpose);
            // What a later round finds in the first tier is what the one before has refused.
            purpose = Purpose::Again;
            let again = self.when_each_landed(waiting, began, answers).await;
            open = self.look_again_for_each(again, answers).await;
        }
    }

    /// The first look: what the second tier answers, and what is open still.
    async fn look_for_each<K, V, E, F, L>(
        self: &Arc<Self>,
        plans: Vec<(K, Arc<Plan<V>>)>,
        load: &Arc<F>,
        answers: &mut Answers<K, V, E>,
    ) -> Vec<Open<K, V>>
    where
        K: Clone + Eq + Hash + Send + Sync + 'static,
        V: Serialize + DeserializeOwned + Send + Sync + 'static,
        E: Send + Sync + 'static,
        F: Fn(LoadFrom, Vec<K>) -> L + Send + Sync + 'static,
        L: Future<Output = Result<LoadedMany<K, V, E>, E>> + Send + 'static,
    {
        let (keys, plans): (Vec<K>, Vec<Arc<Plan<V>>>) = plans.into_iter().unzip();
        let looks = self.look_many(&plans).await;
        let mut open = Vec::new();
        for ((key, plan), look) in keys.into_iter().zip(plans).zip(looks) {
            let stale = match look.seen {
                Seen::Fresh(found, _) => {
                    self.counts.keyspaces.second_tier_hit(plan.counted);
                    if self.sampler.chooses(self.config.sample) {
                        self.sample_planned(plan, &found, load_one(load, &key));
                    }
                    answers.insert(key, Ok(found.into_value()));
                    continue;
                }
                Seen::Expired(stale) => {
                    self.counts.missed(plan.counted, Miss::Expired);
                    Some(Arc::new(stale))
                }
                Seen::Miss(why) => {
                    self.counts.missed(plan.counted, why);
                    None
                }
            };
            let revalidates = stale.as_ref().is_some_and(|stale| self.may_serve_behind(&plan, stale));
            open.push(Open { key, plan, stale, revalidates });
        }
        open
    }

    /// What another load has brought that these callers could not share.
    async fn look_again_for_each<K, V, E>(
        &self,
        again: Vec<Open<K, V>>,
        answers: &mut Answers<K, V, E>,
    ) -> Vec<Open<K, V>>
    where
        K: Eq + Hash,
        V: DeserializeOwned + Send + Sync + 'static,
    {
        if again.is_empty() {
            return again;
        }
        let plans: Vec<Arc<Plan<V>>> = again.iter().map(|open| Arc::clone(&open.plan)).collect();
        let mut still = Vec::new();
        for (open, look) in again.into_iter().zip(self.look_many(&plans).await) {
            match look {
                Look { seen: Seen::Fresh(found, _), .. } => {
                    answers.insert(open.key, Ok(found.into_value()));
                }
                Look { .. } => still.push(open),
            }
        }
        still
    }

    /// Joins the load of each key, and begins one for those that have none.
    fn join_each<K, V, E, F, L>(
        self: &Arc<Self>,
        open: Vec<Open<K, V>>,
        load: &Arc<F>,
        purpose: Purpose,
    ) -> Vec<Waiting<K, V, E>>
    where
        K: Clone + Eq + Hash + Send + Sync + 'static,
        V: Serialize + DeserializeOwned + Send + Sync + 'static,
        E: Send + Sync + 'static,
        F: Fn(LoadFrom, Vec<K>) -> L + Send + Sync + 'static,
        L: Future<Output = Result<LoadedMany<K, V, E>, E>> + Send + 'static,
    {
        let mut legs = Vec::new();
        let mut waiting = Vec::new();
        for open in open {
            let (board, joined) = match Flights::join::<V, E>(self, &open.plan.id) {
                Seat::Joined(board) => {
                    add_one(&self.counts.coalesced);
                    (board, true)
                }
                Seat::First(board, flight) => {
                    let (key, plan) = (open.key.clone(), Arc::clone(&open.plan));
                    legs.push(Leg { key, plan, flight, stale: open.stale.clone() });
                    (board, false)
                }
            };
            waiting.push(Waiting { open, board, joined });
        }
        if !legs.is_empty() {
            tokio::spawn(Arc::clone(self).fly_many(legs, Arc::clone(load), purpose));
        }
        waiting
    }

    /// Waits for each load; what is left had begun too early for its caller.
    async fn when_each_landed<K, V, E>(
        &self,
        waiting: Vec<Waiting<K, V, E>>,
        began: crate::clock::Moment,
        answers: &mut Answers<K, V, E>,
    ) -> Vec<Open<K, V>>
    where
        K: Eq + Hash,
        V: Send + Sync + 'static,
    {
        let started = Instant::now();
        let mut again = Vec::new();
        for Waiting { mut open, board, joined } in waiting {
            if open.revalidates
                && let Some(stale) = open.stale.take()
            {
                answers.insert(open.key, Ok(self.serve_stale(&stale).into_value()));
                continue;
            }
            // All of them together have that long.
            let soft = open.plan.policy.soft_timeout.map(|soft| soft.saturating_sub(started.elapsed()));
            // The clock is coarse: a load of others in the instant of the call may have begun before it.
            let since = if joined { began.after(Duration::from_nanos(1)) } else { began };
            let may_have =
                |found: &Found<V>, as_of| !joined || self.may_share(&open.plan, found, since, as_of);
            let answer = match self.landed(&board, soft).await {
                Wait::Stale(stale) if may_have(&stale.found, stale.as_of) => {
                    Ok(self.serve_stale(&stale).into_value())
                }
                Wait::Landed(Landed::Instead(found, as_of)) if may_have(&found, as_of) => {
                    Ok(found.into_value())
                }
                Wait::Landed(Landed::Found(found, as_of))
                    if self.may_share(&open.plan, &found, since, as_of) =>
                {
                    Ok(found.into_value())
                }
                Wait::Landed(Landed::Failed(error)) => Err(error),
                Wait::Stale(_) | Wait::Landed(Landed::Found(..) | Landed::Instead(..) | Landed::GaveUp) => {
                    again.push(open);
                    continue;
                }
            };
            answers.insert(open.key, answer);
        }
        again
    }

    /// Loads values anew behind the callers, who still have them.
    fn refresh_many<K, V, E, F, L>(self: &Arc<Self>, keys: Vec<Key<K, V>>, load: &Arc<F>)
    where
        K: Serialize + Clone + Eq + Hash + Send + Sync + 'static,
        V: Serialize + DeserializeOwned + Send + Sync + 'static,
        E: Send + Sync + 'static,
        F: Fn(LoadFrom, Vec<K>) -> L + Send + Sync + 'static,
        L: Future<Output = Result<LoadedMany<K, V, E>, E>> + Send + 'static,
    {
        let mut legs = Vec::new();
        for key in keys {
            let Some(plan) = Plan::new(self, &key, *self.mode_of(&key)) else { continue };
            if let Seat::First(_, flight) = Flights::join::<V, E>(self, &plan.id) {
                add_one(&self.counts.early_refreshes);
                legs.push(Leg { key: key.key().clone(), plan: Arc::new(plan), flight, stale: None });
            }
        }
        if !legs.is_empty() {
            tokio::spawn(Arc::clone(self).fly_many(legs, Arc::clone(load), Purpose::Refresh));
        }
    }

    /// Keys that do not encode: their values are loaded each time.
    async fn load_many_uncached<K, V, E, F, L>(
        &self,
        keys: &[&Key<K, V>],
        load: &Arc<F>,
        answers: &mut Answers<K, V, E>,
    ) where
        K: Clone + Eq + Hash,
        V: Send + Sync + 'static,
        F: Fn(LoadFrom, Vec<K>) -> L,
        L: Future<Output = Result<LoadedMany<K, V, E>, E>>,
    {
        let Some(keyspace) = keys.first().map(|key| key.keyspace()) else { return };
        let policy = keyspace.defaults();
        let limit = policy.hard_timeout;
        let permits = self.permits(keyspace.name(), policy.max_loads.get());
        let missing: Vec<K> = keys.iter().map(|key| key.key().clone()).collect();
        let loading = async {
            let Ok(_permit) = permits.acquire_owned().await else { return Err(CacheError::Ended) };
            add_one(&self.counts.loads);
            load(LoadFrom::Primary, missing.clone()).await.map_err(|error| {
                add_one(&self.counts.failed_loads);
                CacheError::Load(SharedError(Arc::new(error)))
            })
        };
        let mut loaded =
            tokio::time::timeout(limit, loading).await.unwrap_or(Err(CacheError::TimedOut(limit)));
        for key in missing {
            self.counts.not_kept(Unkept::NotEncodable);
            let answer = match &mut loaded {
                Ok(loaded) => match loaded.failed.remove(&key) {
                    Some(error) => Err(CacheError::Load(SharedError(Arc::new(error)))),
                    None => {
                        let value = loaded.values.remove(&key);
                        Ok(Found::unkept(crate::key_id::KeyId::none(), value).into_value())
                    }
                },
                Err(error) => Err(error.clone()),
            };
            answers.insert(key, answer);
        }
    }
}
