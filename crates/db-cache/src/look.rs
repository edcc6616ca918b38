//! One look at the second tier: an entry, its slots and the epoch in one round trip, and what they come to.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use serde::de::DeserializeOwned;

use crate::cache::Shared;
use crate::clock::Moment;
use crate::entry::{Cached, Found, Head, Nothing, Origin, Unfilled};
use crate::envelope::{Opened, Unreadable};
use crate::knowledge::Verdict;
use crate::mutant::Mutant;
use crate::plan::Plan;
use crate::record::{EpochRecord, TierTime};
use crate::second_tier::{NewEpoch, Snapshot};
use crate::stats::{Drop as Wholesale, Miss};
use crate::tag::Slot;
use crate::tier_error::TierError;
use crate::token::Token;

/// What a look came to.
pub(crate) struct Look<V> {
    /// What the records were; none where one is absent, or the tier is not trusted.
    pub(crate) token: Option<Token>,
    pub(crate) seen: Seen<V>,
}

/// What became of the entry.
pub(crate) enum Seen<V> {
    /// It is valid and fresh.
    Fresh(Found<V>, Moment),
    /// It is valid, and its time is over: fresh until the first moment, of use until the second.
    Expired(Stale<V>),
    /// It is of no use.
    Miss(Miss),
}

/// A value that is not known to be wrong, whose time is over.
pub(crate) struct Stale<V> {
    pub(crate) found: Found<V>,
    /// When it was known not to be wrong.
    pub(crate) as_of: Moment,
    pub(crate) fresh_until: Moment,
    pub(crate) stale_until: Moment,
}

impl<V> Look<V> {
    pub(crate) fn nothing(why: Miss) -> Self {
        Look { token: None, seen: Seen::Miss(why) }
    }
}

impl Shared {
    /// Looks for an entry in the second tier.
    pub(crate) async fn look<V>(&self, plan: &Plan<V>) -> Look<V>
    where
        V: DeserializeOwned + Send + Sync + 'static,
    {
        if plan.is_untold() {
            return Look::nothing(Miss::Distrusted);
        }
        let (asked, sight) = (self.clock.now(), self.knowledge.sight());
        let slots = &*self.slots_to_ask(plan);
        let keys = std::slice::from_ref(&plan.entry_key);
        let mut snapshot = match self.tier.ask(|tier| tier.read(keys, slots)).await {
            Ok(snapshot) => snapshot,
            Err(_) => return Look::nothing(Miss::TierDown),
        };
        let Some(epoch) = self.trusted(asked, &snapshot).await else {
            return Look::nothing(Miss::Distrusted);
        };
        let token = Token::new(asked, sight, epoch, slots, &snapshot);
        let bytes = snapshot.entries.pop().flatten();
        let seen = match bytes {
            None => Seen::Miss(Miss::Absent),
            Some(bytes) => self.judge_entry(plan, &bytes, token.as_ref(), &snapshot, slots).await,
        };
        Look { token, seen }
    }

    /// The slots that the key names, and those that the last entry here had besides: its value may have told
    /// them.
    pub(crate) fn slots_to_ask<'a, V: Send + Sync + 'static>(&self, plan: &'a Plan<V>) -> Cow<'a, [Slot]> {
        if plan.tags_of_value.is_some()
            && let Some(entry) = self.first.get::<V>(&plan.id)
        {
            let told = entry.origin.stamps.iter().map(|(slot, _)| *slot);
            let mut slots: Vec<Slot> = plan.slots.iter().copied().chain(told).collect();
            slots.sort_unstable();
            slots.dedup();
            return Cow::Owned(slots);
        }
        Cow::Borrowed(&plan.slots)
    }

    /// The epoch, if this process may trust what was read under it, asked for at `asked`. An epoch of another
    /// run is renewed.
    pub(crate) async fn trusted(&self, asked: Moment, snapshot: &Snapshot) -> Option<EpochRecord> {
        let now = self.clock.now();
        self.contact.answered(now);
        let epoch = snapshot.epoch?;
        match self.knowledge.judge(&epoch, snapshot.run) {
            Verdict::Trusted => self.has_been_told_all(asked, now, snapshot).then_some(epoch),
            Verdict::OtherRun if self.mutant == Mutant::IgnoreRun => Some(epoch),
            Verdict::OtherRun => {
                self.dropped_everything(Wholesale::NewEpoch);
                self.renew_epoch(NewEpoch::IfOfAnotherRun).await;
                None
            }
            Verdict::HistoryBehind(_) if self.mutant == Mutant::KeepEpoch => Some(epoch),
            Verdict::HistoryBehind(history) => {
                self.renew_epoch(NewEpoch::IfHistoryIs(history)).await;
                None
            }
            Verdict::HistoryAhead => None,
        }
    }

    /// Whether all that was committed is known to the tier, as far as it was away or waits for a relay.
    fn has_been_told_all(&self, asked: Moment, now: Moment, snapshot: &Snapshot) -> bool {
        if !self.is_relayed(snapshot.relayed, snapshot.now) {
            return false;
        }
        // The tier counts in milliseconds.
        let behind =
            snapshot.relayed.map(|at| snapshot.now.since(at).saturating_add(Duration::from_millis(1)));
        let relayed = self.config.relay_within.and(behind).map(|behind| asked.before(behind));
        let has_caught_up = relayed.is_none_or(|relayed| self.contact.has_caught_up(relayed));
        (has_caught_up && self.contact.is_steady(now)) || self.mutant == Mutant::NoQuarantine
    }

    /// Whether the relay is no further behind than it may be. One that is ahead was heard by another server's
    /// clock.
    pub(crate) fn is_relayed(&self, relayed: Option<TierTime>, now: TierTime) -> bool {
        self.config.relay_within.is_none_or(|within| {
            relayed.is_some_and(|relayed| relayed <= now && now.since(relayed) <= within)
        })
    }

    async fn judge_entry<V>(
        &self,
        plan: &Plan<V>,
        bytes: &[u8],
        token: Option<&Token>,
        snapshot: &Snapshot,
        asked: &[Slot],
    ) -> Seen<V>
    where
        V: DeserializeOwned + Send + Sync + 'static,
    {
        let envelope = match open_envelope(plan, bytes) {
            Ok(envelope) => envelope,
            Err(why) => return Seen::Miss(why),
        };
        let Some(token) = token else { return Seen::Miss(Miss::Invalidated) };
        let unasked: Vec<Slot> = envelope
            .stamps
            .slots
            .iter()
            .map(|(slot, _)| *slot)
            .filter(|slot| !asked.contains(slot))
            .collect();
        let token = match unasked.is_empty() {
            true => Cow::Borrowed(token),
            false => match self.with_more_slots(token, &unasked).await {
                Ok(Some(token)) => Cow::Owned(token),
                Ok(None) => return Seen::Miss(Miss::Invalidated),
                Err(_) => return Seen::Miss(Miss::TierDown),
            },
        };
        match token.check(&envelope.stamps, self.mutant) {
            Ok(()) => self.take_in(plan, envelope, &token, snapshot),
            Err(why) => Seen::Miss(why),
        }
    }

    /// The token with more slots, read later than the entry: an entry that passes by them was valid when it
    /// was read.
    async fn with_more_slots(&self, token: &Token, more: &[Slot]) -> Result<Option<Token>, TierError> {
        let snapshot = self.tier.ask(|tier| tier.read(&[], more)).await?;
        if snapshot.run != token.run || snapshot.epoch != Some(token.epoch) {
            return Ok(None);
        }
        let more = Token::new(token.asked, token.sight, token.epoch, more, &snapshot);
        Ok(more.map(|more| {
            let mut all = token.clone();
            all.slots.add(more.slots);
            all
        }))
    }

    pub(crate) fn take_in<V>(
        &self,
        plan: &Plan<V>,
        envelope: Opened<'_>,
        token: &Token,
        snapshot: &Snapshot,
    ) -> Seen<V>
    where
        V: DeserializeOwned + Send + Sync + 'static,
    {
        let fresh_until = token.asked.after(envelope.fresh_until.since(snapshot.now));
        let stale_until = token.asked.after(envelope.stale_until.since(snapshot.now));
        let is_fresh = envelope.fresh_until > snapshot.now;
        let unfilled = self.unfilled(plan, token, fresh_until, stale_until, envelope.cost);
        let found = match &envelope.payload {
            None => {
                self.first.insert(unfilled.with(Nothing), 0);
                Found::Nothing { stale: !is_fresh }
            }
            Some(bytes) => {
                let Some(value) = plan.codec.decode::<V>(bytes) else { return Seen::Miss(Miss::Damaged) };
                let entry = unfilled.with(value);
                let entry = match is_fresh {
                    true => self.first.insert(entry, bytes.len()),
                    false => Arc::new(entry),
                };
                Found::Value(if is_fresh { Cached::fresh(entry) } else { Cached::stale(entry) })
            }
        };
        match is_fresh {
            true => Seen::Fresh(found, token.asked),
            false => Seen::Expired(Stale {
                found,
                as_of: token.asked,
                fresh_until: expired_at(token, &envelope, snapshot),
                stale_until,
            }),
        }
    }

    /// An entry that was read or loaded under a token; the table learns the token's generations.
    pub(crate) fn unfilled<V>(
        &self,
        plan: &Plan<V>,
        token: &Token,
        fresh_until: Moment,
        stale_until: Moment,
        cost: Duration,
    ) -> Unfilled {
        for (slot, record) in token.slots.iter() {
            if record.doubt.is_none() {
                self.knowledge.learn(token.sight, *slot, record.generation);
            }
        }
        let head = Head {
            compared: AtomicU64::default(),
            key: plan.id.clone().into_bytes(),
            is_confirmed: true,
            early_from: early_from(plan.policy.early_refresh, fresh_until, cost),
            asks: self.first.asks_of_predecessor(&plan.id),
        };
        let origin = Origin {
            epoch: token.epoch.generation.bits(),
            stamps: token.slots.iter().map(|(slot, record)| (*slot, record.generation.bits())).collect(),
            as_of: token.asked,
            fresh_until,
            stale_until,
            cost,
            bytes: 0,
        };
        Unfilled(head, origin)
    }
}

/// What an entry's bytes say, or why they say nothing.
pub(crate) fn open_envelope<'b, V>(plan: &Plan<V>, bytes: &'b [u8]) -> Result<Opened<'b>, Miss> {
    Opened::decode(bytes, &plan.entry_key, plan.codec, plan.fingerprint).map_err(|why| match why {
        Unreadable::Damaged => Miss::Damaged,
        Unreadable::OtherKey => Miss::OtherKey,
        Unreadable::OtherSchema => Miss::OtherSchema,
    })
}

/// When an entry expired, by this process's clock.
fn expired_at(token: &Token, envelope: &Opened<'_>, snapshot: &Snapshot) -> Moment {
    token.asked.before(snapshot.now.since(envelope.fresh_until))
}

/// The earliest moment at which XFetch could ever refresh an entry: the smallest random fraction is 2^-53.
pub(crate) fn early_from(beta: f64, fresh_until: Moment, cost: std::time::Duration) -> Moment {
    const LARGEST_LOGARITHM: f64 = 37.0;
    if beta <= 0.0 {
        return fresh_until;
    }
    let window = (cost.as_secs_f64() * beta * LARGEST_LOGARITHM).min(86_400.0);
    fresh_until.before(Duration::try_from_secs_f64(window).unwrap_or_default())
}
