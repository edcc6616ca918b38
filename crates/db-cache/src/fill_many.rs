//! One load for many keys, in a task that no caller can cancel: a lease for each key, one look, one load, and
//! a store for each.
//!
//! The order is that of a single load: the leases, the generations, then the snapshot. Keys that another
//! process loads are waited for apart, so that the others need not, and no two processes wait for each other.

use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{StreamExt, stream};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::cache::Shared;
use crate::error::{CacheError, Shared as SharedError};
use crate::fill::{FIRST_PAUSE, LONGEST_PAUSE, Purpose};
use crate::flights::{Flight, Landed};
use crate::keep::Before;
use crate::load::{LoadFrom, Loaded, ReadAt};
use crate::loaded_many::LoadedMany;
use crate::look::{Look, Seen, Stale};
use crate::look_many::each_once;
use crate::mutant::Mutant;
use crate::plan::Plan;
use crate::second_tier::{Holder, Lease, Store};
use crate::stats::{Miss, Unkept, add_one};
use crate::tag::Slot;
use crate::token::Token;

/// One key of a load.
pub(crate) struct Leg<K, V: Send + Sync + 'static, E: Send + Sync + 'static> {
    pub(crate) key: K,
    pub(crate) plan: Arc<Plan<V>>,
    pub(crate) flight: Flight<V, E>,
    pub(crate) stale: Option<Arc<Stale<V>>>,
}

/// A key whose lease was asked for: who has it, if anybody.
type Leased<K, V, E> = (Leg<K, V, E>, Option<Holder>);

/// A key that is loaded: under which records, and what was known here before.
struct Loading<K, V: Send + Sync + 'static, E: Send + Sync + 'static> {
    leg: Leg<K, V, E>,
    holder: Option<Holder>,
    token: Option<Token>,
    before: Before,
}

/// How many requests of one load are under way at once in the second tier.
const AT_ONCE: usize = 64;

impl Shared {
    pub(crate) async fn fly_many<K, V, E, F, L>(
        self: Arc<Self>,
        legs: Vec<Leg<K, V, E>>,
        load: Arc<F>,
        purpose: Purpose,
    ) where
        K: Clone + Eq + Hash + Send + Sync + 'static,
        V: Serialize + DeserializeOwned + Send + Sync + 'static,
        E: Send + Sync + 'static,
        F: Fn(LoadFrom, Vec<K>) -> L + Send + Sync + 'static,
        L: Future<Output = Result<LoadedMany<K, V, E>, E>> + Send + 'static,
    {
        let mut waiting = legs;
        waiting.retain(|leg| !self.is_there_already(leg, purpose));
        let Some(limit) = waiting.first().map(|leg| leg.plan.policy.hard_timeout) else { return };
        let until = self.clock.now().after(limit);
        let mut pause = FIRST_PAUSE;
        loop {
            let (ready, held) = self.lease_each(waiting, purpose, self.clock.now() >= until).await;
            if held.is_empty() {
                if !ready.is_empty() {
                    self.fill_many(ready, &load, purpose).await;
                }
                return;
            }
            if !ready.is_empty() {
                let (cache, load) = (Arc::clone(&self), Arc::clone(&load));
                tokio::spawn(async move { cache.fill_many(ready, &load, purpose).await });
            }
            waiting = held;
            tokio::time::sleep(pause).await;
            pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
        }
    }

    /// Whether another load has ended between the caller's look and its seat.
    fn is_there_already<K, V, E>(&self, leg: &Leg<K, V, E>, purpose: Purpose) -> bool
    where
        V: Send + Sync + 'static,
        E: Send + Sync + 'static,
    {
        if let Some(stale) = &leg.stale {
            leg.flight.offer(Arc::clone(stale));
        }
        if purpose != Purpose::Load {
            return false;
        }
        let Some((found, as_of)) = self.first_tier_now(&leg.plan) else { return false };
        leg.flight.land(Landed::Found(found, as_of));
        true
    }

    /// Asks for the lease of each key: those that may be loaded now, and those that other processes load.
    async fn lease_each<K, V, E>(
        &self,
        legs: Vec<Leg<K, V, E>>,
        purpose: Purpose,
        is_over: bool,
    ) -> (Vec<Leased<K, V, E>>, Vec<Leg<K, V, E>>)
    where
        K: Send,
        V: Send + Sync + 'static,
        E: Send + Sync + 'static,
    {
        let keep = self.config.load_lease;
        let mut asking: Vec<BoxFuture<'_, _>> = Vec::with_capacity(legs.len());
        for leg in legs {
            asking.push(Box::pin(async move {
                let holder = Holder(self.random.next_u64());
                let lease = self.tier.ask(|tier| tier.lease(&leg.plan.entry_key, holder, keep)).await;
                (leg, holder, lease)
            }));
        }
        let answers = all_of(asking).await;
        let (mut ready, mut held) = (Vec::new(), Vec::new());
        for (leg, holder, lease) in answers {
            match lease {
                Ok(Lease::Taken) => ready.push((leg, Some(holder))),
                Ok(Lease::Held(_)) if purpose == Purpose::Refresh => leg.flight.land(Landed::GaveUp),
                Ok(Lease::Held(_)) if !is_over => held.push(leg),
                Ok(Lease::Held(_)) | Err(_) => ready.push((leg, None)),
            }
        }
        (ready, held)
    }

    async fn fill_many<K, V, E, F, L>(&self, leased: Vec<Leased<K, V, E>>, load: &Arc<F>, purpose: Purpose)
    where
        K: Clone + Eq + Hash + Send + Sync + 'static,
        V: Serialize + DeserializeOwned + Send + Sync + 'static,
        E: Send + Sync + 'static,
        F: Fn(LoadFrom, Vec<K>) -> L + Send + Sync + 'static,
        L: Future<Output = Result<LoadedMany<K, V, E>, E>> + Send + 'static,
    {
        let plans: Vec<Arc<Plan<V>>> = leased.iter().map(|(leg, _)| Arc::clone(&leg.plan)).collect();
        let looks = self.look_and_open_many(&plans).await;
        let (mut loading, mut released) = (Vec::new(), Vec::new());
        for ((mut leg, holder), Look { token, seen }) in leased.into_iter().zip(looks) {
            match seen {
                Seen::Fresh(found, as_of)
                    if purpose != Purpose::Refresh || self.is_renewed(&leg.plan, &found) =>
                {
                    released.push((Arc::clone(&leg.plan), holder));
                    leg.flight.land(Landed::Found(found, as_of));
                    continue;
                }
                Seen::Expired(expired) => {
                    let expired = Arc::new(expired);
                    leg.flight.offer(Arc::clone(&expired));
                    leg.stale = Some(expired);
                }
                // What was only expired before has been invalidated since.
                Seen::Miss(Miss::Invalidated | Miss::InDoubt) => leg.stale = None,
                Seen::Fresh(..) | Seen::Miss(_) => {}
            }
            // While a transaction is in doubt nobody's load is kept: nobody need wait for this one.
            let is_kept = token.as_ref().is_some_and(|token| !token.is_in_doubt(self.mutant));
            if !is_kept {
                released.push((Arc::clone(&leg.plan), holder));
            }
            let before = self.before(&leg.plan);
            loading.push(Loading { leg, holder: holder.filter(|_| is_kept), token, before });
        }
        self.release_each(released).await;
        if !loading.is_empty() {
            self.load_and_keep(loading, load).await;
        }
    }

    async fn release_each<V>(&self, leases: Vec<(Arc<Plan<V>>, Option<Holder>)>) {
        let mut releasing: Vec<BoxFuture<'_, ()>> = Vec::with_capacity(leases.len());
        for (plan, holder) in leases {
            if holder.is_some() {
                releasing.push(Box::pin(async move { self.release(&plan, holder).await }));
            }
        }
        all_of(releasing).await;
    }

    async fn load_and_keep<K, V, E, F, L>(&self, mut loading: Vec<Loading<K, V, E>>, load: &Arc<F>)
    where
        K: Clone + Eq + Hash + Send + Sync + 'static,
        V: Serialize + DeserializeOwned + Send + Sync + 'static,
        E: Send + Sync + 'static,
        F: Fn(LoadFrom, Vec<K>) -> L + Send + Sync + 'static,
        L: Future<Output = Result<LoadedMany<K, V, E>, E>> + Send + 'static,
    {
        let froms = loading.iter().map(|key| self.asks_for(key));
        let from = froms.reduce(LoadFrom::and).unwrap_or(LoadFrom::Primary);
        let mut answers = self.load_each(&loading, from, load).await;
        if let Some(refused) = self.refused_by_standby(&loading, &answers).await {
            let (kept, again) = partition(loading.into_iter().zip(answers), &refused);
            let (again, _): (Vec<_>, Vec<_>) = again.into_iter().unzip();
            let repeated = self.load_each(&again, LoadFrom::Primary, load).await;
            (loading, answers) = kept.into_iter().chain(again.into_iter().zip(repeated)).unzip();
        }
        self.keep_each(loading, answers).await;
    }

    fn asks_for<K, V, E>(&self, loading: &Loading<K, V, E>) -> LoadFrom
    where
        V: Send + Sync + 'static,
        E: Send + Sync + 'static,
    {
        let token = loading.token.as_ref();
        token.map_or(LoadFrom::Primary, |token| token.load_from(loading.leg.plan.session, self.mutant))
    }

    /// One load for all of them, while their leases are renewed; what each came to.
    async fn load_each<K, V, E, F, L>(
        &self,
        loading: &[Loading<K, V, E>],
        from: LoadFrom,
        load: &Arc<F>,
    ) -> Vec<Result<Loaded<V>, CacheError<E>>>
    where
        K: Clone + Eq + Hash + Send + Sync + 'static,
        V: Send + Sync + 'static,
        E: Send + Sync + 'static,
        F: Fn(LoadFrom, Vec<K>) -> L + Send + Sync + 'static,
        L: Future<Output = Result<LoadedMany<K, V, E>, E>> + Send + 'static,
    {
        let Some(plan) = loading.first().map(|key| &key.leg.plan) else { return Vec::new() };
        let limit = plan.policy.hard_timeout;
        let permits = self.permits(plan.keyspace, plan.policy.max_loads.get());
        let keys: Vec<K> = loading.iter().map(|key| key.leg.key.clone()).collect();
        let whole = async {
            let Ok(_permit) = permits.acquire_owned().await else { return Err(CacheError::Ended) };
            add_one(&self.counts.loads);
            load(from, keys).await.map_err(|error| CacheError::Load(SharedError(Arc::new(error))))
        };
        let mut whole = std::pin::pin!(tokio::time::timeout(limit, whole));
        let every = self.config.load_lease / 3;
        let loaded = loop {
            tokio::select! {
                biased;
                done = &mut whole => break done.unwrap_or(Err(CacheError::TimedOut(limit))),
                () = tokio::time::sleep(every) => self.renew_each(loading).await,
            }
        };
        if loaded.is_err() {
            add_one(&self.counts.failed_loads);
        }
        each_of(loading, loaded)
    }

    async fn renew_each<K, V, E>(&self, loading: &[Loading<K, V, E>])
    where
        K: Sync,
        V: Send + Sync + 'static,
        E: Send + Sync + 'static,
    {
        let keep = self.config.load_lease;
        let mut renewing: Vec<BoxFuture<'_, ()>> = Vec::with_capacity(loading.len());
        for key in loading {
            let Some(holder) = key.holder else { continue };
            let entry_key = &key.leg.plan.entry_key;
            renewing.push(Box::pin(async move {
                // A process that takes over loads once more, and nothing worse.
                let _ = self.tier.ask(|tier| tier.lease(entry_key, holder, keep)).await;
            }));
        }
        all_of(renewing).await;
    }

    /// Which of them a standby answered that was too far behind; none where no standby answered.
    async fn refused_by_standby<K, V, E>(
        &self,
        loading: &[Loading<K, V, E>],
        answers: &[Result<Loaded<V>, CacheError<E>>],
    ) -> Option<Vec<bool>>
    where
        K: Sync,
        V: Send + Sync + 'static,
        E: Send + Sync + 'static,
    {
        let is_from_standby = |answer: &Result<Loaded<V>, _>| match answer {
            Ok(loaded) => loaded.is_from_standby(),
            Err(_) => false,
        };
        if !answers.iter().any(is_from_standby) {
            return None;
        }
        let late: Vec<Vec<Slot>> =
            loading.iter().zip(answers).map(|(key, answer)| self.late_of(key, answer)).collect();
        let all = each_once(late.iter().flatten().copied());
        let later = if all.is_empty() { None } else { self.open(&all).await };
        let has = |slots: &[Slot], replayed| {
            slots.is_empty() || self.mutant == Mutant::IgnoreFloor || {
                let later = later.as_ref().and_then(|token| token.of_slots(slots.iter().copied()));
                later.is_some_and(|token| self.covers(&token, replayed))
            }
        };
        let refused = loading.iter().zip(answers).zip(&late).map(|((key, answer), late)| match answer {
            Ok(Loaded { read_at: read_at @ ReadAt::Standby(replayed), .. }) => {
                !self.accepts(self.asks_for(key), *read_at) || key.token.is_none() || !has(late, *replayed)
            }
            Ok(_) | Err(_) => false,
        });
        let refused: Vec<bool> = refused.collect();
        refused.contains(&true).then_some(refused)
    }

    /// The slots of tags that only the value told.
    fn late_of<K, V, E>(
        &self,
        loading: &Loading<K, V, E>,
        answer: &Result<Loaded<V>, CacheError<E>>,
    ) -> Vec<Slot>
    where
        V: Send + Sync + 'static,
        E: Send + Sync + 'static,
    {
        match (answer, &loading.token) {
            (Ok(loaded), Some(token)) => self.late_slots(&loading.leg.plan, loaded, token),
            _ => Vec::new(),
        }
    }

    /// Keeps each value that may be kept, answers those who wait for it, and then stores all of them.
    async fn keep_each<K, V, E>(
        &self,
        loading: Vec<Loading<K, V, E>>,
        answers: Vec<Result<Loaded<V>, CacheError<E>>>,
    ) where
        K: Send + Sync,
        V: Serialize + DeserializeOwned + Send + Sync + 'static,
        E: Send + Sync + 'static,
    {
        let late: Vec<Vec<Slot>> =
            loading.iter().zip(&answers).map(|(key, answer)| self.late_of(key, answer)).collect();
        let all = each_once(late.iter().flatten().copied());
        let later = if all.is_empty() { None } else { self.open(&all).await };
        let (mut stores, mut released) = (Vec::new(), Vec::new());
        for ((mut key, answer), late) in loading.into_iter().zip(answers).zip(late) {
            let plan = Arc::clone(&key.leg.plan);
            let cost = self.clock.now().since(key.before.began);
            let (landed, store) = match answer {
                Err(error) => {
                    let stale = key.leg.stale.take();
                    (self.instead_of_error(&plan, stale, error), None)
                }
                Ok(loaded) => {
                    let later = later.as_ref().and_then(|token| token.of_slots(late.iter().copied()));
                    self.keep_one(&key, loaded, (&late, later), cost).await
                }
            };
            key.leg.flight.land(landed);
            match store {
                Some(store) => stores.push(Store { release: key.holder, ..store }),
                None => released.push((plan, key.holder)),
            }
        }
        let mut storing: Vec<BoxFuture<'_, ()>> = Vec::with_capacity(stores.len());
        for store in &stores {
            storing.push(Box::pin(async move {
                // The value is served whether it is stored or not; the lease ends by itself.
                if self.tier.ask(|tier| tier.store(store)).await.is_err() {
                    self.counts.not_kept(Unkept::TierDown);
                }
            }));
        }
        all_of(storing).await;
        self.release_each(released).await;
    }

    async fn keep_one<K, V, E>(
        &self,
        key: &Loading<K, V, E>,
        mut loaded: Loaded<V>,
        (late, later): (&[Slot], Option<Token>),
        cost: Duration,
    ) -> (Landed<V, E>, Option<Store>)
    where
        K: Sync,
        V: Serialize + DeserializeOwned + Send + Sync + 'static,
        E: Send + Sync + 'static,
    {
        let plan = &key.leg.plan;
        let as_of = key.token.as_ref().map_or(key.before.began, |token| token.asked);
        let refusal = self.refusal(plan, loaded.read_at, loaded.scope.as_ref(), key.token.as_ref()).await;
        let kept = match (refusal, key.token.clone()) {
            (Some(why), _) => Err(why),
            (None, None) => {
                let found = self.keep_here(plan, loaded, &key.before, cost);
                return (Landed::Found(found, as_of), None);
            }
            (None, Some(mut token)) => {
                let has_all =
                    late.is_empty() || later.is_some_and(|later| token.add_unchanged(later, self.mutant));
                match has_all {
                    true => self.entry_of(plan, &mut loaded, &token, cost),
                    false => Err(Unkept::LateTag),
                }
            }
        };
        match kept {
            Err(why) => (Landed::Found(self.leave(plan, why, loaded.value), as_of), None),
            Ok((found, store)) => (Landed::Found(found, as_of), store),
        }
    }
}

/// What a load of many came to, for each of its keys.
fn each_of<K, V, E>(
    loading: &[Loading<K, V, E>],
    loaded: Result<LoadedMany<K, V, E>, CacheError<E>>,
) -> Vec<Result<Loaded<V>, CacheError<E>>>
where
    K: Eq + Hash,
    V: Send + Sync + 'static,
    E: Send + Sync + 'static,
{
    let mut loaded = match loaded {
        Ok(loaded) => loaded,
        Err(error) => return loading.iter().map(|_| Err(error.clone())).collect(),
    };
    let one = |key: &K| match loaded.failed.remove(key) {
        Some(error) => Err(CacheError::Load(SharedError(Arc::new(error)))),
        None => {
            let value = loaded.values.remove(key);
            Ok(Loaded { scope: loaded.scope.clone(), ..Loaded::new(value, loaded.read_at) })
        }
    };
    loading.iter().map(|key| &key.leg.key).map(one).collect()
}

/// What all of them came to, in any order. A few are under way at a time, so that none waits long in the
/// queue of others.
async fn all_of<T>(requests: Vec<BoxFuture<'_, T>>) -> Vec<T> {
    stream::iter(requests).buffer_unordered(AT_ONCE).collect().await
}

/// What is not marked, and what is.
fn partition<T>(all: impl Iterator<Item = T>, marked: &[bool]) -> (Vec<T>, Vec<T>) {
    let (mut plain, mut chosen) = (Vec::new(), Vec::new());
    for (one, is_chosen) in all.zip(marked) {
        if *is_chosen { chosen.push(one) } else { plain.push(one) }
    }
    (plain, chosen)
}
