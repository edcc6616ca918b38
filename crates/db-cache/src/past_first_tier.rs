//! A read that the first tier did not answer: a look at the second tier, then a load that all callers share.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::cache::Shared;
use crate::clock::Moment;
use crate::entry::{Cached, Entry, Found};
use crate::error::{CacheError, Shared as SharedError};
use crate::fill::{Known, Purpose};
use crate::flights::{Board, Flights, Landed, Seat};
use crate::key::Key;
use crate::key_id::KeyId;
use crate::load::{LoadFrom, Loaded};
use crate::look::{Look, Seen, Stale};
use crate::mode::Mode;
use crate::plan::Plan;
use crate::stats::{Miss, Unkept, add_one};

impl Shared {
    pub(crate) async fn get_past_first_tier<K, V, E, F, L>(
        self: &Arc<Self>,
        key: &Key<K, V>,
        mode: Mode,
        load: F,
    ) -> Result<Found<V>, CacheError<E>>
    where
        K: Serialize,
        V: Serialize + DeserializeOwned + Send + Sync + 'static,
        E: Send + Sync + 'static,
        F: Fn(LoadFrom) -> L + Send + Sync + 'static,
        L: Future<Output = Result<Loaded<V>, E>> + Send + 'static,
    {
        let began = self.clock.now();
        let Some(plan) = Plan::new(self, key, mode) else {
            return Box::pin(self.load_uncached(key, load)).await;
        };
        let plan = Arc::new(plan);
        if self.may_load_unlooked(&plan)
            && let seat @ Seat::First(..) = Flights::join(self, &plan.id)
        {
            return Box::pin(self.load_with_others(plan, load, began, Known::Nothing, Some(seat))).await;
        }
        let look = self.look(&plan).await;
        self.count_look(&plan, &look.seen);
        let is_absent = matches!(look.seen, Seen::Miss(Miss::Absent | Miss::Invalidated));
        let has_token = look.token.is_some() || !is_absent;
        let expired = match look.seen {
            Seen::Fresh(found, _) => {
                self.sample_some(plan, &found, load);
                return Ok(found);
            }
            Seen::Expired(stale) => Some(Arc::new(stale)),
            Seen::Miss(_) => None,
        };
        let known = Known::Look { has_token, expired };
        // Apart, so that a hit asks for little memory.
        Box::pin(self.load_with_others(plan, load, began, known, None)).await
    }

    /// Whether a read asks for the lease and looks in one round trip: where the second tier seldom has what
    /// the first has not, and nobody may be served what has expired meanwhile.
    fn may_load_unlooked<V>(&self, plan: &Plan<V>) -> bool {
        let may_be_old = matches!(plan.mode, Mode::Ttl | Mode::Bounded(_));
        may_be_old && plan.policy.stale_while_revalidate.is_zero() && self.second_tier_share.is_small()
    }

    /// Counts a read that has looked at the second tier.
    pub(crate) fn count_look<V>(&self, plan: &Plan<V>, seen: &Seen<V>) {
        self.second_tier_share.count(matches!(seen, Seen::Fresh(..)));
        match seen {
            Seen::Fresh(..) => self.counts.keyspaces.second_tier_hit(plan.counted),
            Seen::Expired(_) => self.counts.missed(plan.counted, Miss::Expired),
            Seen::Miss(why) => self.counts.missed(plan.counted, *why),
        }
    }

    /// Reads one of so many hits again, behind the caller.
    pub(crate) fn sample_some<V, E, F, L>(self: &Arc<Self>, plan: Arc<Plan<V>>, found: &Found<V>, load: F)
    where
        V: Serialize + DeserializeOwned + Send + Sync + 'static,
        E: Send + Sync + 'static,
        F: Fn(LoadFrom) -> L + Send + Sync + 'static,
        L: Future<Output = Result<Loaded<V>, E>> + Send + 'static,
    {
        if self.sampler.chooses(self.config.sample) {
            self.sample_planned(plan, found, load);
        }
    }

    /// Loads a value, or waits for the load of another that may be shared.
    async fn load_with_others<V, E, F, L>(
        self: &Arc<Self>,
        plan: Arc<Plan<V>>,
        load: F,
        began: Moment,
        mut known: Known<V>,
        mut seat: Option<Seat<V, E>>,
    ) -> Result<Found<V>, CacheError<E>>
    where
        V: Serialize + DeserializeOwned + Send + Sync + 'static,
        E: Send + Sync + 'static,
        F: Fn(LoadFrom) -> L + Send + Sync + 'static,
        L: Future<Output = Result<Loaded<V>, E>> + Send + 'static,
    {
        let revalidates = known.expired().is_some_and(|stale| self.may_serve_behind(&plan, stale));
        let load = Arc::new(load);
        let mut purpose = Purpose::Load;
        loop {
            let (board, joined) = match seat.take().unwrap_or_else(|| Flights::join(self, &plan.id)) {
                Seat::Joined(board) => {
                    add_one(&self.counts.coalesced);
                    (board, true)
                }
                Seat::First(board, flight) => {
                    let load = Arc::clone(&load);
                    let load = move |from| load(from);
                    let known = known.take();
                    tokio::spawn(Arc::clone(self).fly(Arc::clone(&plan), load, flight, purpose, known));
                    // What it finds here may be too old for this caller.
                    purpose = Purpose::Again;
                    (board, false)
                }
            };
            // The clock is coarse: a load of others in the instant of the call may have begun before it.
            let since = began.after(Duration::from_nanos(1));
            if revalidates && let Some(stale) = known.expired() {
                return Ok(self.serve_stale(stale));
            }
            let may_have = |found: &Found<V>, as_of| !joined || self.may_share(&plan, found, since, as_of);
            match self.landed(&board, plan.policy.soft_timeout).await {
                Wait::Stale(stale) if may_have(&stale.found, stale.as_of) => {
                    return Ok(self.serve_stale(&stale));
                }
                // A load that has begun before this call may not know what was committed before it. What the
                // call's own flight has found is good for it, also where the first tier has had it for long.
                Wait::Landed(Landed::Instead(found, as_of) | Landed::Found(found, as_of))
                    if may_have(&found, as_of) =>
                {
                    return Ok(found);
                }
                Wait::Landed(Landed::Failed(error)) => return Err(error),
                Wait::Stale(_) => {}
                Wait::Landed(Landed::Found(..) | Landed::Instead(..) | Landed::GaveUp) => {
                    if let Look { seen: Seen::Fresh(found, _), .. } = self.look(&plan).await {
                        return Ok(found);
                    }
                }
            }
        }
    }

    /// Loads a value anew behind the callers, who still have one.
    pub(crate) fn refresh<K, V, E, F, L>(self: &Arc<Self>, key: &Key<K, V>, load: F)
    where
        K: Serialize,
        V: Serialize + DeserializeOwned + Send + Sync + 'static,
        E: Send + Sync + 'static,
        F: Fn(LoadFrom) -> L + Send + Sync + 'static,
        L: Future<Output = Result<Loaded<V>, E>> + Send + 'static,
    {
        let Some(plan) = Plan::new(self, key, *self.mode_of(key)) else { return };
        if let Seat::First(_, flight) = Flights::join::<V, E>(self, &plan.id) {
            add_one(&self.counts.early_refreshes);
            let known = Known::Look { has_token: true, expired: None };
            tokio::spawn(Arc::clone(self).fly(Arc::new(plan), load, flight, Purpose::Refresh, known));
        }
    }

    /// XFetch: the nearer the end and the dearer the load, the likelier.
    pub(crate) fn is_time_to_refresh<T>(&self, entry: &Entry<T>, now: Moment) -> bool {
        let left = entry.origin.fresh_until.since(now).as_secs_f64();
        let fraction = self.random.next_fraction().max(f64::MIN_POSITIVE);
        entry.origin.cost.as_secs_f64() * -fraction.ln() >= left
    }

    pub(crate) fn serve_stale<V>(&self, stale: &Stale<V>) -> Found<V> {
        add_one(&self.counts.stale_served);
        match &stale.found {
            Found::Value(value) => Found::Value(Cached::stale(Arc::clone(&value.entry))),
            Found::Nothing { .. } => Found::Nothing { stale: true },
        }
    }

    pub(crate) fn may_serve_behind<V>(&self, plan: &Plan<V>, stale: &Stale<V>) -> bool {
        let window = plan.policy.stale_while_revalidate;
        !window.is_zero() && self.clock.now() < stale.fresh_until.after(window)
    }

    /// Whether a caller may have the value of a load that had begun before the call: what was committed in
    /// between, and is known here, must not be missing.
    pub(crate) fn may_share<V>(
        &self,
        plan: &Plan<V>,
        found: &Found<V>,
        began: Moment,
        as_of: Moment,
    ) -> bool {
        match plan.mode {
            // A session's own write was over when the call began.
            _ if plan.session.is_some() => as_of >= began,
            // What a failover has lost is not served once it is known.
            Mode::Ttl => as_of >= began || as_of.0 > self.history_since.load(Ordering::Acquire),
            Mode::Bounded(within) if as_of < began => match found {
                Found::Value(value) => {
                    let head = &value.entry.head;
                    as_of.after(within) >= began && head.is_confirmed && value.entry.is_valid(&self.knowledge)
                }
                Found::Nothing { .. } => false,
            },
            Mode::Bounded(_) | Mode::Session(_) | Mode::Strict => as_of >= began,
        }
    }

    /// Waits for a load, or until its caller may take what is stale.
    pub(crate) async fn landed<V, E>(
        &self,
        board: &Board<V, E>,
        soft_timeout: Option<Duration>,
    ) -> Wait<V, E> {
        if let Some(soft) = soft_timeout
            && tokio::time::timeout(soft, board.when_landed()).await.is_err()
            && let Some(stale) = board.stale()
        {
            return Wait::Stale(stale);
        }
        Wait::Landed(board.when_landed().await)
    }

    /// A key that does not encode: its value is loaded each time.
    async fn load_uncached<K, V, E, F, L>(&self, key: &Key<K, V>, load: F) -> Result<Found<V>, CacheError<E>>
    where
        V: Send + Sync + 'static,
        F: Fn(LoadFrom) -> L,
        L: Future<Output = Result<Loaded<V>, E>>,
    {
        self.counts.not_kept(Unkept::NotEncodable);
        let policy = key.keyspace().defaults();
        let permits = self.permits(key.keyspace().name(), policy.max_loads.get());
        let limit = policy.hard_timeout;
        let permit = tokio::time::timeout(limit, permits.acquire_owned()).await;
        let Ok(Ok(_permit)) = permit else { return Err(CacheError::Overloaded(limit)) };
        add_one(&self.counts.loads);
        match tokio::time::timeout(limit, load(LoadFrom::Primary)).await {
            Ok(Ok(loaded)) => Ok(Found::unkept(KeyId::none(), loaded.value)),
            Ok(Err(error)) => {
                add_one(&self.counts.failed_loads);
                Err(CacheError::Load(SharedError(Arc::new(error))))
            }
            Err(_) => Err(CacheError::TimedOut(limit)),
        }
    }
}

/// What waiting for a load came to.
pub(crate) enum Wait<V, E> {
    Stale(Arc<Stale<V>>),
    Landed(Landed<V, E>),
}
