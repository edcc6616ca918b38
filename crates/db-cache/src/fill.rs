//! A load from its lease to its store, in a task that no caller can cancel.
//!
//! The order is the protocol's: the lease, the generations, then the snapshot. A store that comes late
//! carries old generations, and is never valid.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::cache::Shared;
use crate::entry::Found;
use crate::error::{CacheError, Shared as SharedError};
use crate::flights::{Flight, Landed};
use crate::generation::Generation;
use crate::load::{LoadFrom, Loaded, ReadAt};
use crate::look::{Look, Seen, Stale};
use crate::mutant::Mutant;
use crate::plan::Plan;
use crate::second_tier::{Fresh, Holder, Lease};
use crate::stats::{Miss, add_one};
use crate::token::Token;

/// Why a value is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// There is none.
    Load,
    /// There is one in the first tier, which is too old for the caller.
    Again,
    /// There is one, whose time is nearly over.
    Refresh,
}

/// What a caller knows of the second tier when it begins a load.
pub(crate) enum Known<V> {
    /// Nothing: it has not looked, and the load counts the read.
    Nothing,
    /// It has looked: whether the slots were all there, and what had expired.
    Look { has_token: bool, expired: Option<Arc<Stale<V>>> },
}

impl<V> Known<V> {
    pub(crate) fn expired(&self) -> Option<&Arc<Stale<V>>> {
        match self {
            Known::Nothing => None,
            Known::Look { expired, .. } => expired.as_ref(),
        }
    }

    /// What the next load may be told; a read is counted once.
    pub(crate) fn take(&mut self) -> Self {
        let next = match self {
            Known::Nothing => Known::Look { has_token: true, expired: None },
            Known::Look { has_token, expired } => {
                Known::Look { has_token: *has_token, expired: expired.clone() }
            }
        };
        std::mem::replace(self, next)
    }
}

/// The first and the longest pause between two questions for a lease that another load has.
pub(crate) const FIRST_PAUSE: Duration = Duration::from_millis(2);
pub(crate) const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// What asking for the lease came to.
enum Leased {
    Taken(Holder),
    /// The tier does not answer, or another load has had it for as long as a load may take.
    Without,
    /// Another process refreshes.
    GiveUp,
}

impl Shared {
    pub(crate) async fn fly<V, E, F, L>(
        self: Arc<Self>,
        plan: Arc<Plan<V>>,
        load: F,
        flight: Flight<V, E>,
        purpose: Purpose,
        known: Known<V>,
    ) where
        V: Serialize + DeserializeOwned + Send + Sync + 'static,
        E: Send + Sync + 'static,
        F: Fn(LoadFrom) -> L + Send + Sync + 'static,
        L: Future<Output = Result<Loaded<V>, E>> + Send + 'static,
    {
        if let Some(stale) = known.expired() {
            flight.offer(Arc::clone(stale));
        }
        // Another load may have ended between this caller's look and its seat.
        if purpose == Purpose::Load
            && let Some((found, as_of)) = self.first_tier_now(&plan)
        {
            if let (Known::Nothing, Some(counts)) = (&known, self.counts.keyspaces.of(plan.counted)) {
                counts.first_tier_hits.add_one();
            }
            return flight.land(Landed::Found(found, as_of));
        }
        let (has_looked, has_token, mut stale) = match known {
            Known::Nothing => (false, true, None),
            Known::Look { has_token, expired } => (true, has_token, expired),
        };
        let (leased, look) = self.lease_and_look(&plan, purpose, has_token).await;
        if !has_looked {
            self.count_look(&plan, &look.seen);
        }
        let holder = match leased {
            Leased::Taken(holder) => Some(holder),
            Leased::Without => None,
            Leased::GiveUp => return flight.land(Landed::GaveUp),
        };
        let Look { token, seen } = look;
        match seen {
            Seen::Fresh(found, as_of) if purpose != Purpose::Refresh || self.is_renewed(&plan, &found) => {
                flight.land(Landed::Found(found.clone(), as_of));
                self.release(&plan, holder).await;
                if !has_looked {
                    self.sample_some(plan, &found, load);
                }
                return;
            }
            Seen::Expired(expired) => {
                let expired = Arc::new(expired);
                flight.offer(Arc::clone(&expired));
                stale = Some(expired);
            }
            // What was only expired before has been invalidated since.
            Seen::Miss(Miss::Invalidated | Miss::InDoubt) => stale = None,
            Seen::Fresh(..) | Seen::Miss(_) => {}
        }
        // While a transaction is in doubt nobody's load is kept: nobody need wait for this one.
        let holder = match token.as_ref().is_none_or(|token| token.is_in_doubt(self.mutant)) {
            true => {
                self.release(&plan, holder).await;
                None
            }
            false => holder,
        };
        let before = self.before(&plan);
        match self.load(&plan, &load, token.as_ref(), holder).await {
            Ok(loaded) => self.keep(&plan, loaded, token, holder, before, &flight).await,
            Err(error) => {
                add_one(&self.counts.failed_loads);
                self.release(&plan, holder).await;
                flight.land(self.instead_of_error(&plan, stale, error));
            }
        }
    }

    /// Whether an entry that was seen is another one than this process's, whose time is nearly over.
    pub(crate) fn is_renewed<V: Send + Sync + 'static>(&self, plan: &Plan<V>, found: &Found<V>) -> bool {
        match found {
            Found::Value(value) => {
                let entry = &value.entry;
                let left = entry.origin.fresh_until.since(self.clock.now());
                left > plan.ttl / 2 || self.clock.now() < entry.head.early_from
            }
            Found::Nothing { .. } => true,
        }
    }

    /// Asks for the lease, and behind it for the generations, without waiting in between: the second tier
    /// answers in the order in which it is asked, and where it does not, another process's load may be made
    /// once more, and nothing is stale.
    async fn lease_and_look<V>(&self, plan: &Plan<V>, purpose: Purpose, has_token: bool) -> (Leased, Look<V>)
    where
        V: DeserializeOwned + Send + Sync + 'static,
    {
        let holder = Holder(self.random.next_u64());
        let keep = self.config.load_lease;
        let ask = || self.tier.ask(|tier| tier.lease(&plan.entry_key, holder, keep));
        let (mut answer, look) = tokio::join!(biased; ask(), self.look_and_open(plan, has_token));
        let mut look = Some(look);
        let until = self.clock.now().after(plan.policy.hard_timeout);
        let mut pause = FIRST_PAUSE;
        let leased = loop {
            let is_there = look.as_ref().is_some_and(|look| matches!(look.seen, Seen::Fresh(..)));
            match answer {
                Ok(Lease::Taken) => break Leased::Taken(holder),
                Ok(Lease::Held(_)) if is_there && purpose != Purpose::Refresh => break Leased::Without,
                Ok(Lease::Held(_)) if purpose == Purpose::Refresh => break Leased::GiveUp,
                Ok(Lease::Held(left)) if self.clock.now() < until => {
                    tokio::time::sleep(pause.min(left.max(Duration::from_millis(1)))).await;
                    pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
                    // What the other load has stored by then is not in it.
                    look = None;
                    answer = ask().await;
                }
                Ok(Lease::Held(_)) | Err(_) => break Leased::Without,
            }
        };
        match look {
            Some(look) => (leased, look),
            None => (leased, self.look_and_open(plan, true).await),
        }
    }

    pub(crate) async fn release<V>(&self, plan: &Plan<V>, holder: Option<Holder>) {
        if let Some(holder) = holder {
            // It ends by itself where nobody can be told.
            let _ = self.tier.ask(|tier| tier.release(&plan.entry_key, holder)).await;
        }
    }

    /// A look whose token can be loaded under: what is absent is made, and what is overdue is settled. Where
    /// it is known that something is, that is not waited for twice.
    async fn look_and_open<V>(&self, plan: &Plan<V>, has_token: bool) -> Look<V>
    where
        V: DeserializeOwned + Send + Sync + 'static,
    {
        if !has_token && !plan.is_untold() {
            let (look, token) = tokio::join!(biased; self.look(plan), self.open(&plan.slots));
            let ready = look.token.filter(|token| !token.has_overdue_doubt());
            return Look { token: ready.or(token), seen: look.seen };
        }
        let look = self.look(plan).await;
        let is_ready = look.token.as_ref().is_some_and(|token| !token.has_overdue_doubt());
        if is_ready || plan.is_untold() || matches!(look.seen, Seen::Miss(Miss::TierDown)) {
            return look;
        }
        let token = self.open(&plan.slots).await;
        Look { token, seen: look.seen }
    }

    /// A token of slots, made where they are absent.
    pub(crate) async fn open(&self, slots: &[crate::tag::Slot]) -> Option<Token> {
        let (asked, sight) = (self.clock.now(), self.knowledge.sight());
        let mut fresh = self.fresh(slots.iter().copied());
        if self.mutant == Mutant::ResurrectMarker {
            fresh = Fresh(fresh.slots().map(|slot| (slot, Generation::first_of(slot))).collect());
        }
        let slots: Vec<_> = fresh.slots().collect();
        let epoch = self.generation();
        let snapshot = self.tier.ask(|tier| tier.open(&fresh, epoch)).await.ok()?;
        let epoch = self.trusted(asked, &snapshot).await?;
        Token::new(asked, sight, epoch, &slots, &snapshot)
    }

    async fn load<V, E, F, L>(
        &self,
        plan: &Plan<V>,
        load: &F,
        token: Option<&Token>,
        holder: Option<Holder>,
    ) -> Result<Loaded<V>, CacheError<E>>
    where
        F: Fn(LoadFrom) -> L,
        L: Future<Output = Result<Loaded<V>, E>>,
    {
        let from = token.map_or(LoadFrom::Primary, |token| token.load_from(plan.session, self.mutant));
        let limit = plan.policy.hard_timeout;
        let permits = self.permits(plan.keyspace, plan.policy.max_loads.get());
        let whole = async {
            let permit = permits.acquire_owned().await;
            let Ok(_permit) = permit else { return Err(CacheError::Ended) };
            add_one(&self.counts.loads);
            let failed = |error| CacheError::Load(SharedError(Arc::new(error)));
            let loaded = load(from).await.map_err(failed)?;
            if !loaded.is_from_standby()
                || (self.accepts(from, loaded.read_at)
                    && self.standby_has_tags_of_value(plan, &loaded, token).await)
            {
                return Ok(loaded);
            }
            add_one(&self.counts.loads);
            load(LoadFrom::Primary).await.map_err(failed)
        };
        let mut whole = std::pin::pin!(tokio::time::timeout(limit, whole));
        let every = self.config.load_lease / 3;
        loop {
            tokio::select! {
                biased;
                done = &mut whole => return done.unwrap_or(Err(CacheError::TimedOut(limit))),
                () = tokio::time::sleep(every), if holder.is_some() => {
                    if let Some(holder) = holder {
                        let keep = self.config.load_lease;
                        // Whoever takes over loads once more, and nothing worse.
                        let _ = self.tier.ask(|tier| tier.lease(&plan.entry_key, holder, keep)).await;
                    }
                }
            }
        }
    }

    /// Whether a value may be kept, by where it was read.
    pub(crate) fn accepts(&self, from: LoadFrom, read_at: ReadAt) -> bool {
        match (self.mutant, from, read_at) {
            (Mutant::IgnoreFloor, ..) => true,
            (Mutant::IgnoreTimeline, LoadFrom::Replayed(floor), ReadAt::Standby(at)) => {
                floor.is_covered_by_number(at)
            }
            _ => from.accepts(read_at),
        }
    }

    pub(crate) fn instead_of_error<V, E>(
        &self,
        plan: &Plan<V>,
        stale: Option<Arc<Stale<V>>>,
        error: CacheError<E>,
    ) -> Landed<V, E>
    where
        V: Send + Sync + 'static,
    {
        let now = self.clock.now();
        match stale.filter(|stale| now < stale.stale_until) {
            Some(stale) => Landed::Instead(self.serve_stale(&stale), stale.as_of),
            None => {
                let expired = self.expired_here(plan, now);
                expired.map_or(Landed::Failed(error), |(found, as_of)| Landed::Instead(found, as_of))
            }
        }
    }
}
