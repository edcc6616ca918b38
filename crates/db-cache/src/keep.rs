//! What becomes of a value that was loaded: whether it may be kept, and in which tiers.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::cache::Shared;
use crate::clock::Moment;
use crate::entry::{Cached, Found, Head, Nothing, Origin, Unfilled};
use crate::envelope::Envelope;
use crate::flights::{Flight, Landed};
use crate::load::{Loaded, ReadAt};
use crate::mode::Mode;
use crate::mutant::Mutant;
use crate::plan::Plan;
use crate::position::Position;
use crate::second_tier::{Holder, Store};
use crate::stats::Unkept;
use crate::tag::Slot;
use crate::token::Token;

/// What this process knew before a load, where the second tier did not answer.
pub(crate) struct Before {
    pub(crate) began: Moment,
    epoch: u64,
    words: Box<[(Slot, u64)]>,
}

impl Shared {
    /// What is known now, before a load.
    pub(crate) fn before<V>(&self, plan: &Plan<V>) -> Before {
        let words = plan.slots.iter().map(|slot| (*slot, self.knowledge.word(*slot))).collect();
        Before { began: self.clock.now(), epoch: self.knowledge.epoch(), words }
    }

    /// Keeps a loaded value if it may be kept, and answers those who wait for it before it is stored.
    pub(crate) async fn keep<V, E>(
        &self,
        plan: &Plan<V>,
        mut loaded: Loaded<V>,
        token: Option<Token>,
        holder: Option<Holder>,
        before: Before,
        flight: &Flight<V, E>,
    ) where
        V: Serialize + DeserializeOwned + Send + Sync + 'static,
        E: Send + Sync + 'static,
    {
        let as_of = token.as_ref().map_or(before.began, |token| token.asked);
        let cost = self.clock.now().since(before.began);
        let refusal = self.refusal(plan, loaded.read_at, loaded.scope.as_ref(), token.as_ref()).await;
        let kept = match (refusal, token) {
            (Some(why), _) => Err(why),
            (None, None) => {
                return flight.land(Landed::Found(self.keep_here(plan, loaded, &before, cost), as_of));
            }
            (None, Some(token)) => self.entry_to_keep(plan, &mut loaded, token, cost).await,
        };
        match kept {
            Err(why) => {
                flight.land(Landed::Found(self.leave(plan, why, loaded.value), as_of));
                self.release(plan, holder).await;
            }
            Ok((found, store)) => {
                flight.land(Landed::Found(found, as_of));
                let Some(store) = store else { return self.release(plan, holder).await };
                let store = Store { release: holder, ..store };
                // The value is served whether it is stored or not; the lease ends by itself.
                if self.tier.ask(|tier| tier.store(&store)).await.is_err() {
                    self.counts.not_kept(Unkept::TierDown);
                }
            }
        }
    }

    async fn entry_to_keep<V>(
        &self,
        plan: &Plan<V>,
        loaded: &mut Loaded<V>,
        token: Token,
        cost: Duration,
    ) -> Result<(Found<V>, Option<Store>), Unkept>
    where
        V: Serialize + Send + Sync + 'static,
    {
        let token = self.with_tags_of_value(plan, loaded, token).await.ok_or(Unkept::LateTag)?;
        self.entry_of(plan, loaded, &token, cost)
    }

    /// The entry of a value whose tags are all in the token.
    pub(crate) fn entry_of<V>(
        &self,
        plan: &Plan<V>,
        loaded: &mut Loaded<V>,
        token: &Token,
        cost: Duration,
    ) -> Result<(Found<V>, Option<Store>), Unkept>
    where
        V: Serialize + Send + Sync + 'static,
    {
        let ttl = match &loaded.value {
            Some(_) => loaded.ttl.unwrap_or(plan.ttl),
            None => match plan.ttl_of_nothing() {
                Some(ttl) => ttl,
                None => return Ok((Found::Nothing { stale: false }, None)),
            },
        };
        let payload = loaded.value.as_ref().map(|value| plan.codec.encode(value).ok_or(Unkept::NotEncodable));
        let payload = payload.transpose()?;
        let (found, store) = self.kept(plan, loaded.value.take(), payload, token, (ttl, cost));
        let learned = match loaded.read_at {
            ReadAt::Primary(Some(position)) => Some((token.generations(), position)),
            ReadAt::Primary(None) | ReadAt::Standby(_) | ReadAt::Elsewhere => None,
        };
        Ok((found, store.map(|store| Store { learned, ..store })))
    }

    /// Why a value may not be kept, by where it was read.
    pub(crate) async fn refusal<V>(
        &self,
        plan: &Plan<V>,
        read_at: ReadAt,
        scope: Option<&crate::scope::Scope>,
        token: Option<&Token>,
    ) -> Option<Unkept> {
        if scope.is_some_and(|scope| *scope != plan.scope) {
            tracing::warn!(
                keyspace = plan.keyspace,
                "a load depended on what its key does not name: its value is not kept; use Key::within"
            );
            return Some(Unkept::OtherScope);
        }
        if read_at == ReadAt::Elsewhere {
            return Some(Unkept::ReadElsewhere);
        }
        if let Some(history) = read_at.history()
            && self.mutant != Mutant::KeepEpoch
        {
            self.set_history(history).await;
            let known = self.knowledge.history();
            let is_new = token.is_some_and(|token| token.epoch.history != Some(history));
            if known != Some(history) || is_new {
                return Some(Unkept::OldHistory);
            }
        }
        let token = token?;
        if token.is_in_doubt(self.mutant) {
            return Some(Unkept::InDoubt);
        }
        let from = token.load_from(plan.session, self.mutant);
        (!self.accepts(from, read_at)).then_some(Unkept::ReadElsewhere)
    }

    /// Whether a standby that answered a load had replayed what its value's own tags ask for. Only the value
    /// tells these tags, so nobody could ask for it before.
    pub(crate) async fn standby_has_tags_of_value<V>(
        &self,
        plan: &Plan<V>,
        loaded: &Loaded<V>,
        token: Option<&Token>,
    ) -> bool {
        let (Some(token), ReadAt::Standby(replayed)) = (token, loaded.read_at) else { return false };
        let late = self.late_slots(plan, loaded, token);
        if late.is_empty() || self.mutant == Mutant::IgnoreFloor {
            return true;
        }
        self.open(&late).await.is_some_and(|later| self.covers(&later, replayed))
    }

    /// Whether a standby that has replayed up to there has all that the token's slots ask for.
    pub(crate) fn covers(&self, token: &Token, replayed: Position) -> bool {
        token.slots.values().all(|record| match self.mutant {
            Mutant::IgnoreTimeline => record.floor.is_covered_by_number(replayed),
            _ => record.doubt.is_none() && record.floor_in(&token.epoch).is_covered_by(replayed),
        })
    }

    /// The token with the slots of tags that only the value told; none where one may have changed since.
    async fn with_tags_of_value<V>(
        &self,
        plan: &Plan<V>,
        loaded: &Loaded<V>,
        mut token: Token,
    ) -> Option<Token> {
        let mut late = self.late_slots(plan, loaded, &token);
        if self.mutant == Mutant::LateStamp {
            late.extend(&plan.slots);
        }
        if late.is_empty() {
            return Some(token);
        }
        let later = self.open(&late).await?;
        token.add_unchanged(later, self.mutant).then_some(token)
    }

    /// The slots of tags that only the value told.
    pub(crate) fn late_slots<V>(&self, plan: &Plan<V>, loaded: &Loaded<V>, token: &Token) -> Vec<Slot> {
        let of_value = loaded.value.as_ref().zip(plan.tags_of_value).map(|(value, tags)| tags(value));
        let all = of_value.iter().flatten().chain(&loaded.tags).map(|tag| plan.slot(self.mutant, tag));
        let mut late: Vec<Slot> = all.filter(|slot| token.slots.get(*slot).is_none()).collect();
        late.sort_unstable();
        late.dedup();
        late
    }

    fn kept<V>(
        &self,
        plan: &Plan<V>,
        value: Option<V>,
        payload: Option<Vec<u8>>,
        token: &Token,
        (ttl, cost): (Duration, Duration),
    ) -> (Found<V>, Option<Store>)
    where
        V: Send + Sync + 'static,
    {
        let of_use = plan.of_use(ttl);
        let size = payload.as_ref().map_or(0, Vec::len);
        let envelope = Envelope {
            stamps: token.stamps(),
            fresh_until: token.now.after(ttl),
            stale_until: token.now.after(of_use),
            cost,
            payload,
        };
        let bytes = envelope.encode(&plan.entry_key, plan.codec, plan.fingerprint, self.config.compress);
        let unfilled = self.unfilled(plan, token, token.asked.after(ttl), token.asked.after(of_use), cost);
        let key = plan.entry_key.clone();
        let store = bytes.map(|bytes| Store { key, bytes, keep: of_use, release: None, learned: None });
        (self.insert(unfilled, value, size), store)
    }

    /// Keeps a value in this process while the second tier does not answer: only [`Mode::Ttl`] reads it.
    pub(crate) fn keep_here<V>(
        &self,
        plan: &Plan<V>,
        loaded: Loaded<V>,
        before: &Before,
        cost: Duration,
    ) -> Found<V>
    where
        V: Serialize + Send + Sync + 'static,
    {
        let Loaded { value, tags, ttl, .. } = loaded;
        let tells_tags = !tags.is_empty() || plan.tags_of_value.is_some();
        let ttl = if value.is_some() { Some(ttl.unwrap_or(plan.ttl)) } else { plan.ttl_of_nothing() };
        let size = value.as_ref().map_or(Some(0), |value| plan.codec.encode(value).map(|bytes| bytes.len()));
        match (plan.mode, ttl, size) {
            (Mode::Ttl, Some(ttl), Some(size)) if !tells_tags => {
                let head = Head {
                    compared: AtomicU64::default(),
                    key: plan.id.clone().into_bytes(),
                    is_confirmed: false,
                    early_from: before.began.after(ttl),
                    asks: self.first.asks_of_predecessor(&plan.id),
                };
                let origin = Origin {
                    epoch: before.epoch,
                    stamps: before.words.clone(),
                    as_of: before.began,
                    fresh_until: before.began.after(ttl),
                    stale_until: before.began.after(plan.of_use(ttl)),
                    cost,
                    bytes: 0,
                };
                self.insert(Unfilled(head, origin), value, size)
            }
            _ => self.leave(plan, Unkept::TierDown, value),
        }
    }

    /// Counts why a value is not kept.
    pub(crate) fn leave<V>(&self, plan: &Plan<V>, why: Unkept, value: Option<V>) -> Found<V> {
        self.counts.not_kept(why);
        Found::unkept(plan.id.clone(), value)
    }

    fn insert<V>(&self, unfilled: Unfilled, value: Option<V>, size: usize) -> Found<V>
    where
        V: Send + Sync + 'static,
    {
        match value {
            Some(value) => {
                let entry = self.first.insert(unfilled.with(value), size);
                Found::Value(Cached::fresh(entry))
            }
            None => {
                self.first.insert(unfilled.with(Nothing), size);
                Found::Nothing { stale: false }
            }
        }
    }
}
