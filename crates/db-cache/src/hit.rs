//! A hit in the first tier: what every read asks first, so what it costs is counted in nanoseconds.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::cache::{ASKS_EVERY, Behind, Shared};
use crate::clock::Moment;
use crate::entry::{Cached, Entry, Found, Nothing};
use crate::key::Key;
use crate::key_id::KeyId;
use crate::load::{LoadFrom, Loaded};
use crate::mode::{Mode, SessionToken};
use crate::mutant::Mutant;
use crate::plan::Plan;
use crate::stats::add_one;

impl Shared {
    /// What the first tier may answer with, and what is to be done behind it.
    pub(crate) fn first_tier_hit<K, V: Send + Sync + 'static>(
        &self,
        key: &Key<K, V>,
        mode: &Mode,
    ) -> Option<(Found<V>, Behind)> {
        match self.first_tier_value(key, mode) {
            Some((entry, behind)) => Some((Found::Value(Cached::fresh(entry)), behind)),
            None => {
                self.first_tier_nothing(key, mode).map(|behind| (Found::Nothing { stale: false }, behind))
            }
        }
    }

    /// A hit that is a value. What it returns fits in two registers: through memory it would take a tenth
    /// longer.
    #[inline]
    pub(crate) fn first_tier_value<K, V: Send + Sync + 'static>(
        &self,
        key: &Key<K, V>,
        mode: &Mode,
    ) -> Option<(Arc<Entry<V>>, Behind)> {
        let id = key.id().filter(|_| *mode != Mode::Strict)?;
        let (entry, refresh) = self.servable(id, mode, key.wishes.get().session.as_ref())?;
        let (nth, behind) = self.count_hit(key, refresh)?;
        if nth.is_multiple_of(ASKS_EVERY) {
            entry.head.asks.fetch_add(1, Ordering::Relaxed);
        }
        Some((entry, behind))
    }

    /// A hit that says that there is nothing.
    pub(crate) fn first_tier_nothing<K, V>(&self, key: &Key<K, V>, mode: &Mode) -> Option<Behind> {
        let id = key.id().filter(|_| *mode != Mode::Strict)?;
        self.servable::<Nothing>(id, mode, key.wishes.get().session.as_ref())?;
        self.count_hit(key, false).map(|(_, behind)| behind)
    }

    /// Does what is to be done behind a hit.
    #[cold]
    pub(crate) fn go_behind<K, V, E, F, L>(
        self: &Arc<Self>,
        behind: Behind,
        key: &Key<K, V>,
        found: &Found<V>,
        load: F,
    ) where
        K: Serialize,
        V: Serialize + DeserializeOwned + Send + Sync + 'static,
        E: Send + Sync + 'static,
        F: Fn(LoadFrom) -> L + Send + Sync + 'static,
        L: Future<Output = Result<Loaded<V>, E>> + Send + 'static,
    {
        match behind {
            Behind::Nothing => {}
            Behind::LoadAnew => self.refresh(key, load),
            Behind::Compare => self.sample(key, found, load),
        }
    }

    /// Counts a hit in the first tier; how many there were before, and what is to be done behind it.
    #[inline]
    fn count_hit<K, V>(&self, key: &Key<K, V>, refresh: bool) -> Option<(u64, Behind)> {
        let nth = self.counts.keyspaces.of(key.keyspace().counted())?.first_tier_hits.add_one();
        let behind = match refresh {
            true => Behind::LoadAnew,
            false if self.sampler.chooses(self.config.sample) => Behind::Compare,
            false => Behind::Nothing,
        };
        Some((nth, behind))
    }

    /// What the first tier may answer with, which is not counted as a read.
    pub(crate) fn first_tier_has<K, V: Send + Sync + 'static>(&self, key: &Key<K, V>) -> Option<Found<V>> {
        let mode = self.mode_of(key);
        let id = key.id().filter(|_| *mode != Mode::Strict)?;
        self.first_tier_entry(id, mode, key.wishes.get().session.as_ref())
    }

    /// What a load finds that another has just brought.
    pub(crate) fn first_tier_now<V: Send + Sync + 'static>(
        &self,
        plan: &Plan<V>,
    ) -> Option<(Found<V>, Moment)> {
        if plan.mode == Mode::Strict {
            return None;
        }
        let found = self.first_tier_entry(&plan.id, &plan.mode, plan.session.as_ref())?;
        let as_of = match &found {
            Found::Value(value) => value.entry.origin.as_of,
            Found::Nothing { .. } => self.first.get::<Nothing>(&plan.id)?.origin.as_of,
        };
        Some((found, as_of))
    }

    /// What the first tier has that is expired and not known to be wrong, and when it was read.
    pub(crate) fn expired_here<V: Send + Sync + 'static>(
        &self,
        plan: &Plan<V>,
        now: Moment,
    ) -> Option<(Found<V>, Moment)> {
        let entry = self.first.get::<V>(&plan.id)?;
        let is_known_good = entry.is_valid(&self.knowledge)
            && self.keeps(entry.head.is_confirmed, &plan.mode, plan.session.as_ref(), now);
        let may =
            now < entry.origin.stale_until && (is_known_good || self.mutant == Mutant::ServeInvalidated);
        let as_of = entry.origin.as_of;
        may.then(|| {
            add_one(&self.counts.stale_served);
            (Found::Value(Cached::stale(entry)), as_of)
        })
    }

    fn first_tier_entry<V: Send + Sync + 'static>(
        &self,
        id: &KeyId,
        mode: &Mode,
        session: Option<&SessionToken>,
    ) -> Option<Found<V>> {
        match self.servable(id, mode, session) {
            Some((entry, _)) => Some(Found::Value(Cached::fresh(entry))),
            None => {
                let nothing = self.servable::<Nothing>(id, mode, session);
                nothing.map(|_| Found::Nothing { stale: false })
            }
        }
    }

    /// The entry of the first tier that may be served, and whether it is time to load it anew.
    #[inline]
    fn servable<T: Send + Sync + 'static>(
        &self,
        id: &KeyId,
        mode: &Mode,
        session: Option<&SessionToken>,
    ) -> Option<(Arc<Entry<T>>, bool)> {
        let entry = self.first.get::<T>(id)?;
        let refresh = self.may_serve(&entry, mode, session, self.clock.now())?;
        Some((entry, refresh))
    }

    /// Whether an entry of the first tier may be served: none, or whether it is time to load it anew.
    #[inline]
    fn may_serve<T>(
        &self,
        entry: &Entry<T>,
        mode: &Mode,
        session: Option<&SessionToken>,
        now: Moment,
    ) -> Option<bool> {
        let head = &entry.head;
        let is_early = now < head.early_from;
        let is_good = (is_early || now < entry.origin.fresh_until)
            && (entry.is_valid(&self.knowledge) || self.mutant == Mutant::TrustFirstTier)
            && self.keeps(head.is_confirmed, mode, session, now);
        is_good.then(|| !is_early && self.is_time_to_refresh(entry, now))
    }

    #[inline]
    fn keeps(&self, is_confirmed: bool, mode: &Mode, session: Option<&SessionToken>, now: Moment) -> bool {
        self.keeps_promise(is_confirmed, mode, now)
            && session.is_none_or(|token| self.keeps_promise(is_confirmed, &Mode::Session(*token), now))
    }

    #[inline]
    fn keeps_promise(&self, is_confirmed: bool, mode: &Mode, now: Moment) -> bool {
        match mode {
            Mode::Ttl => true,
            Mode::Bounded(within) => is_confirmed && self.has_lease(*within, now),
            Mode::Session(token) => {
                is_confirmed
                    && !token.untold
                    && self.has_lease(self.config.longest_lease, now)
                    && token.feed.is_none_or(|wanted| self.knowledge.has_applied(wanted))
            }
            Mode::Strict => false,
        }
    }

    /// Whether the feed was confirmed within that time.
    #[inline]
    fn has_lease(&self, within: Duration, now: Moment) -> bool {
        let within = within.min(self.config.longest_lease).saturating_sub(self.lag);
        self.knowledge.is_confirmed(now, within) || self.mutant == Mutant::NoFeedLease
    }
}
