//! One look at the second tier for many entries: all of them, their slots and the epoch in one round trip.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;

use crate::cache::Shared;
use crate::envelope::Opened;
use crate::key::EntryKey;
use crate::look::{Look, Seen, open_envelope};
use crate::plan::Plan;
use crate::second_tier::Snapshot;
use crate::stats::Miss;
use crate::tag::Slot;
use crate::tier_error::TierError;
use crate::token::Token;

/// So many more entries may take as long again.
const ENTRIES_A_BUDGET: usize = 64;

impl Shared {
    /// As [`Shared::look`], for many keys of one call.
    pub(crate) async fn look_many<V>(&self, plans: &[Arc<Plan<V>>]) -> Vec<Look<V>>
    where
        V: DeserializeOwned + Send + Sync + 'static,
    {
        let all = |why| plans.iter().map(|_| Look::nothing(why)).collect();
        if plans.iter().any(|plan| plan.is_untold()) {
            return all(Miss::Distrusted);
        }
        let (asked, sight) = (self.clock.now(), self.knowledge.sight());
        let wanted: Vec<Cow<'_, [Slot]>> = plans.iter().map(|plan| self.slots_to_ask(plan)).collect();
        let slots = each_once(wanted.iter().flat_map(|slots| slots.iter().copied()));
        let keys: Vec<EntryKey> = plans.iter().map(|plan| plan.entry_key.clone()).collect();
        let budget = self.budget_of(keys.len());
        let snapshot = match self.tier.ask_within(budget, |tier| tier.read(&keys, &slots)).await {
            Ok(snapshot) => snapshot,
            Err(_) => return all(Miss::TierDown),
        };
        let Some(epoch) = self.trusted(asked, &snapshot).await else { return all(Miss::Distrusted) };
        let token = Token::of_present(asked, sight, epoch, &slots, &snapshot);
        let envelopes: Vec<Result<Opened<'_>, Miss>> = plans
            .iter()
            .zip(&snapshot.entries)
            .map(|(plan, bytes)| open_envelope(plan, bytes.as_ref().ok_or(Miss::Absent)?))
            .collect();
        let judging = self.with_slots_of(&token, &envelopes).await;
        let looks = plans.iter().zip(wanted).zip(envelopes);
        looks
            .map(|((plan, wanted), envelope)| {
                let seen = match (envelope, &judging) {
                    (Err(why), _) => Seen::Miss(why),
                    (Ok(_), Err(_)) => Seen::Miss(Miss::TierDown),
                    (Ok(envelope), Ok(judging)) => {
                        self.judge_one(plan, envelope, &wanted, judging, &snapshot)
                    }
                };
                Look { token: token.of_slots(wanted.iter().copied()), seen }
            })
            .collect()
    }

    /// As [`Shared::look_many`], with tokens that can be loaded under: what is absent is made, what is
    /// overdue is settled.
    pub(crate) async fn look_and_open_many<V>(&self, plans: &[Arc<Plan<V>>]) -> Vec<Look<V>>
    where
        V: DeserializeOwned + Send + Sync + 'static,
    {
        let mut looks = self.look_many(plans).await;
        let is_ready = |look: &Look<V>| {
            look.token.as_ref().is_some_and(|token| !token.has_overdue_doubt())
                || matches!(look.seen, Seen::Miss(Miss::TierDown))
        };
        let unready = plans.iter().zip(&looks).filter(|(plan, look)| !plan.is_untold() && !is_ready(look));
        let slots = each_once(unready.flat_map(|(plan, _)| plan.slots.iter().copied()));
        if slots.is_empty() {
            return looks;
        }
        let opened = self.open(&slots).await;
        for (plan, look) in plans.iter().zip(&mut looks) {
            if !plan.is_untold() && !is_ready(look) {
                look.token = opened.as_ref().and_then(|token| token.of_slots(plan.slots.iter().copied()));
            }
        }
        looks
    }

    /// How long so many entries may take.
    pub(crate) fn budget_of(&self, entries: usize) -> Duration {
        let times = u32::try_from(entries / ENTRIES_A_BUDGET).unwrap_or(u32::MAX);
        self.config.tier_budget.saturating_mul(times.saturating_add(1))
    }

    /// The token with what the entries are stamped with besides, read later than the entries; the same where
    /// the tier has changed in between.
    async fn with_slots_of(
        &self,
        token: &Token,
        envelopes: &[Result<Opened<'_>, Miss>],
    ) -> Result<Token, TierError> {
        let stamped = envelopes.iter().flatten().flat_map(|envelope| &envelope.stamps.slots);
        let unasked = stamped.map(|(slot, _)| *slot).filter(|slot| token.slots.get(*slot).is_none());
        let unasked = each_once(unasked);
        if unasked.is_empty() {
            return Ok(token.clone());
        }
        let budget = self.budget_of(unasked.len());
        let later = self.tier.ask_within(budget, |tier| tier.read(&[], &unasked)).await?;
        let mut all = token.clone();
        if later.run == token.run && later.epoch == Some(token.epoch) {
            let more = Token::of_present(token.asked, token.sight, token.epoch, &unasked, &later);
            all.slots.add(more.slots);
        }
        Ok(all)
    }

    fn judge_one<V>(
        &self,
        plan: &Plan<V>,
        envelope: Opened<'_>,
        wanted: &[Slot],
        all: &Token,
        snapshot: &Snapshot,
    ) -> Seen<V>
    where
        V: DeserializeOwned + Send + Sync + 'static,
    {
        let stamped = envelope.stamps.slots.iter().map(|(slot, _)| *slot);
        let Some(token) = all.of_slots(wanted.iter().copied().chain(stamped)) else {
            return Seen::Miss(Miss::Invalidated);
        };
        match token.check(&envelope.stamps, self.mutant) {
            Ok(()) => self.take_in(plan, envelope, &token, snapshot),
            Err(why) => Seen::Miss(why),
        }
    }
}

/// Slots in their order, each once.
pub(crate) fn each_once(slots: impl IntoIterator<Item = Slot>) -> Vec<Slot> {
    let mut slots: Vec<Slot> = slots.into_iter().collect();
    slots.sort_unstable();
    slots.dedup();
    slots
}
