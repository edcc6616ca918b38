//! What a transaction does to the cache: mark before COMMIT, bump after it, and nothing where it rolls back.
//!
//! An outcome that nobody knows leaves the mark: the doubt ends with a fresh generation, by the relay or by
//! time. It is never guessed.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use db_core::{Class, Classify};

use crate::cache::{Cache, Shared};
use crate::config::Unmarked;
use crate::mode::SessionToken;
use crate::mutant::Mutant;
use crate::position::Position;
use crate::second_tier::{Cursor, Writer};
use crate::stats::add_one;
use crate::tag::{Slot, Tag};
use crate::tier_error::{TierError, TierFailure};

/// What one transaction touches. Make one for each transaction; each attempt at it begins with
/// [`CacheTransaction::clear`].
///
/// ```
/// use db_cache::{Cache, CacheConfig, Tag};
///
/// # tokio::runtime::Builder::new_multi_thread().enable_time().build().unwrap().block_on(async {
/// let cache = Cache::new(CacheConfig::default());
/// let transaction = cache.transaction();
/// transaction.touch(Tag::row("users", 7));
/// transaction.before_commit().await.unwrap();
/// // COMMIT
/// let token = transaction.committed(None).await;
/// # });
/// ```
#[derive(Debug)]
pub struct CacheTransaction {
    cache: Cache,
    state: Mutex<State>,
    fenced: bool,
}

/// The pauses between two looks at how far the first tiers are.
const FIRST_FENCE_PAUSE: Duration = Duration::from_micros(100);
const LONGEST_FENCE_PAUSE: Duration = Duration::from_millis(20);
const FENCE_MARGIN: Duration = Duration::from_secs(2);

/// How often an answer that waits looks whether the second tier is gone.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

#[derive(Debug, Default)]
struct State {
    slots: Vec<Slot>,
    marked: Option<Writer>,
}

/// Whether first tiers have heard of what was marked or bumped.
enum Fenced {
    Yes,
    NotYet,
    /// The tier has lost the mark.
    Never,
}

/// A transaction's mark did not come through, and it is told to roll back then.
#[derive(Debug, thiserror::Error)]
#[error(
    "what the transaction touches could not be marked in the cache; CacheConfig::unmarked decides that it rolls back"
)]
pub struct NotMarked(#[from] TierError);

impl Classify for NotMarked {
    fn class(&self) -> Class {
        Class::Unavailable
    }
}

impl Cache {
    /// A transaction that touches what the cache holds.
    pub fn transaction(&self) -> CacheTransaction {
        CacheTransaction { cache: self.clone(), state: Mutex::default(), fenced: false }
    }

    /// A transaction whose COMMIT waits until no first tier serves what it touches: once it has committed, no
    /// read in any process and in any mode but [`Ttl`](crate::Mode::Ttl) answers with an older value.
    pub fn fenced_transaction(&self) -> CacheTransaction {
        CacheTransaction { cache: self.clone(), state: Mutex::default(), fenced: true }
    }
}

impl CacheTransaction {
    /// The transaction writes what this tag stands for.
    pub fn touch(&self, tag: Tag) {
        self.state().slots.push(tag.slot());
    }

    /// Forgets what was touched: another attempt begins.
    pub fn clear(&self) {
        *self.state() = State::default();
    }

    /// The slots that it touches, each once.
    pub fn slots(&self) -> Vec<Slot> {
        let mut slots = self.state().slots.clone();
        slots.sort_unstable();
        slots.dedup();
        slots
    }

    /// Who its mark names, between [`CacheTransaction::before_commit`] and the outcome.
    pub fn writer(&self) -> Option<Writer> {
        self.state().marked
    }

    /// To be called inside the transaction, right before COMMIT is sent: marks what it touches as in doubt.
    ///
    /// # Errors
    /// [`NotMarked`] where the second tier does not take it and [`Unmarked::RollBack`] is chosen, or the
    /// transaction is fenced.
    ///
    /// # Cancel safety
    /// A mark that was sent ends by itself, with a fresh generation.
    pub async fn before_commit(&self) -> Result<(), NotMarked> {
        let slots = self.slots();
        let cache = &self.cache.shared;
        if slots.is_empty() || cache.mutant == Mutant::NoMark {
            return Ok(());
        }
        if cache.mutant == Mutant::BumpBeforeCommit {
            cache.bump(None, &slots, None).await;
            return Ok(());
        }
        let writer = Writer(cache.random.next_u64());
        self.state().marked = Some(writer);
        let fresh = cache.fresh(slots.iter().copied());
        let (budget, keep) = (cache.config.commit_budget, cache.config.doubt);
        match cache.tier.ask_within(budget, |tier| tier.mark(writer, &fresh, keep)).await {
            Ok(at) => {
                cache.knowledge.changed_here(&slots, at);
                match self.fenced && !cache.fence(at, &slots).await {
                    // The mark may be gone with the tier that took it.
                    true => Err(TierError::new(
                        TierFailure::TimedOut,
                        "not every first tier has heard of the mark",
                    )
                    .into()),
                    false => Ok(()),
                }
            }
            Err(error) => {
                cache.knowledge.changed_unheard(&slots);
                match cache.config.unmarked {
                    Unmarked::Commit if !self.fenced => {
                        tracing::debug!(%error, "a transaction commits without a mark in the cache");
                        Ok(())
                    }
                    Unmarked::Commit | Unmarked::RollBack => Err(error.into()),
                }
            }
        }
    }

    /// The transaction has committed; `position` is the primary's position after COMMIT, where it was asked.
    ///
    /// It returns once the second tier knows, or has been silent for so long that nobody trusts it: then it
    /// is told as soon as it answers. A fenced transaction, and any with [`Unmarked::RollBack`], returns once
    /// the tier knows: its mark may be lost, and others may reach the tier that this process does not reach.
    /// It waits for that as long as [`CacheConfig::told_within`](crate::CacheConfig::told_within) says; where
    /// that was not enough the token is [`untold`](SessionToken::untold).
    ///
    /// # Cancel safety
    /// Dropping the future gives up the wait; the tier is told all the same.
    pub async fn committed(&self, position: Option<Position>) -> SessionToken {
        let (slots, writer) = self.end();
        let cache = &self.cache.shared;
        if slots.is_empty() || cache.mutant == Mutant::BumpBeforeCommit {
            return SessionToken { position, ..SessionToken::default() };
        }
        let until = tokio::time::Instant::now() + cache.config.told_within;
        let mut feed = cache.bump_and_tell(writer, &slots, position).await;
        let waits = self.fenced || cache.config.unmarked == Unmarked::RollBack;
        if feed.is_none() && waits && cache.mutant != Mutant::AnswerUntold {
            feed = cache.told_until(until, &slots).await;
        }
        if let Some(at) = feed.filter(|_| self.fenced) {
            // The mark may have been lost since: nobody is answered before this is everywhere.
            cache.fence(at, &[]).await;
        }
        SessionToken { feed, position, untold: feed.is_none() }
    }

    /// The transaction was rolled back: entries stay valid.
    pub async fn rolled_back(&self) {
        let (slots, writer) = self.end();
        let cache = &self.cache.shared;
        if cache.mutant == Mutant::BumpOnRollback {
            cache.bump(writer, &slots, None).await;
            return;
        }
        let Some(writer) = writer else { return };
        let budget = cache.config.commit_budget;
        // Where it does not come through the doubt ends by itself, with a fresh generation.
        if let Ok(at) = cache.tier.ask_within(budget, |tier| tier.abort(writer, &slots)).await {
            cache.knowledge.changed_here(&slots, at);
        }
    }

    /// Nobody knows whether the transaction has committed: what it touches stays in doubt.
    pub async fn outcome_unknown(&self) {
        if self.cache.shared.mutant == Mutant::UnknownIsRollback {
            return self.rolled_back().await;
        }
        let (slots, _) = self.end();
        self.cache.shared.in_doubt_for_good(&slots);
    }

    fn end(&self) -> (Vec<Slot>, Option<Writer>) {
        let slots = self.slots();
        let marked = std::mem::take(&mut *self.state()).marked;
        (slots, marked)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    /// Gives slots fresh generations; where it stands in the feed, if the second tier took it.
    pub(crate) async fn bump(
        &self,
        writer: Option<Writer>,
        slots: &[Slot],
        position: Option<Position>,
    ) -> Option<Cursor> {
        let fresh = self.fresh(slots.iter().copied());
        let budget = self.config.commit_budget;
        match self.tier.ask_within(budget, |tier| tier.bump(writer, &fresh, position)).await {
            Ok(at) => {
                self.contact.answered(self.clock.now());
                self.knowledge.changed_here(slots, at);
                Some(at)
            }
            Err(error) => {
                tracing::debug!(%error, "the cache's second tier is told later what has changed");
                self.knowledge.changed_unheard(slots);
                self.unheard.remember(slots);
                None
            }
        }
    }

    /// The same. Where the second tier did not take it, this returns when it has, or when it is known not to
    /// be there: nobody who is answered reads older after that.
    pub(crate) async fn bump_and_tell(
        &self,
        writer: Option<Writer>,
        slots: &[Slot],
        position: Option<Position>,
    ) -> Option<Cursor> {
        let at = self.bump(writer, slots, position).await;
        if at.is_some() || slots.is_empty() || self.mutant == Mutant::AnswerUntold {
            return at;
        }
        let gone = async {
            // One that answers, and takes no bump for so long, never will.
            let longest = self.config.doubt.max(self.config.quarantine.saturating_mul(4));
            let until = self.clock.now().after(longest);
            while !self.contact.is_gone() && self.clock.now() < until {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        };
        let at = tokio::select! {
            biased;
            at = self.unheard.when_told(slots) => at,
            () = gone => None,
        };
        if let (Some(writer), Some(_)) = (writer, at) {
            // They have fresh generations; where this is lost the doubt ends by itself.
            let _ = self.tier.ask_within(self.config.commit_budget, |tier| tier.abort(writer, slots)).await;
        }
        at
    }

    /// Waits until the second tier knows of slots, and no longer than that.
    async fn told_until(&self, until: tokio::time::Instant, slots: &[Slot]) -> Option<Cursor> {
        let told = tokio::time::timeout_at(until, self.unheard.when_told(slots)).await;
        told.unwrap_or_else(|_| {
            add_one(&self.counts.answered_untold);
            tracing::warn!(
                waited = ?self.config.told_within,
                "a transaction has committed and the cache's second tier cannot be told: others may read older values until it is"
            );
            None
        })
    }

    /// Nobody will say what became of a transaction: this process bumps what it touched once it must be over,
    /// in case the mark did not come through.
    fn in_doubt_for_good(&self, slots: &[Slot]) {
        self.knowledge.changed_unheard(slots);
        self.unheard.remember_later(self.clock.now().after(self.config.doubt), slots);
    }

    /// Waits until every first tier has applied the feed up to `at`, or has lost its lease. False where that
    /// cannot be told, and where the mark on one of `marked` is gone meanwhile.
    async fn fence(&self, at: Cursor, marked: &[Slot]) -> bool {
        // A member that hangs is one for as long as a lease lasts, and a tier that is new is not believed for
        // that long.
        let until = self.clock.now().after(self.config.longest_lease.saturating_mul(2)).after(FENCE_MARGIN);
        let mut pause = FIRST_FENCE_PAUSE;
        loop {
            match self.is_fenced(at, marked).await {
                Fenced::Yes => return true,
                Fenced::Never => return false,
                Fenced::NotYet if self.clock.now() >= until => return false,
                Fenced::NotYet => {}
            }
            tokio::time::sleep(pause).await;
            pause = pause.saturating_mul(2).min(LONGEST_FENCE_PAUSE);
        }
    }

    async fn is_fenced(&self, at: Cursor, marked: &[Slot]) -> Fenced {
        let budget = self.config.commit_budget;
        let Ok(members) = self.tier.ask_within(budget, |tier| tier.members()).await else {
            return Fenced::NotYet;
        };
        let Ok(now) = self.tier.ask_within(budget, |tier| tier.read(&[], marked)).await else {
            return Fenced::NotYet;
        };
        let is_marked = now.slots.iter().all(|slot| slot.is_some_and(|slot| slot.doubt.is_some()));
        if !marked.is_empty() && (now.run != at.run || !is_marked) {
            return Fenced::Never;
        }
        let has_all = now.run == at.run && members.iter().all(|(_, applied)| *applied >= at.id);
        // A tier that was emptied knows no members, but their leases go on.
        match has_all && now.keeps_members_for(self.config.longest_lease) {
            true => Fenced::Yes,
            false => Fenced::NotYet,
        }
    }
}

/// A transaction that is dropped without a word has an unknown outcome.
impl Drop for CacheTransaction {
    fn drop(&mut self) {
        let (slots, marked) = self.end();
        if marked.is_some() {
            self.cache.shared.in_doubt_for_good(&slots);
        }
    }
}
