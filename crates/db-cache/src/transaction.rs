//! What a transaction does to the cache: mark before COMMIT, bump after it, and nothing where it rolls back.
//!
//! An outcome that nobody knows leaves the mark: the doubt ends with a fresh generation, by the relay or by time. It is
//! never guessed.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use db_core::{Class, Classify};

use crate::cache::{Cache, Shared};
use crate::config::Unmarked;
use crate::mode::SessionToken;
use crate::mutant::Mutant;
use crate::position::Position;
use crate::second_tier::{Cursor, Writer};
use crate::tag::{Slot, Tag};
use crate::tier_error::{TierError, TierFailure};

/// What one transaction touches. Make one for each transaction; each attempt at it begins with [`CacheTransaction::clear`].
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

/// The pause between two attempts to tell the second tier of a commit.
const RETRY: Duration = Duration::from_millis(20);

#[derive(Debug, Default)]
struct State {
    slots: Vec<Slot>,
    marked: Option<Writer>,
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

    /// A transaction whose COMMIT waits until no first tier serves what it touches: once it has committed, no read in any
    /// process and in any mode but [`Ttl`](crate::Mode::Ttl) answers with an older value.
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
    /// [`NotMarked`] where the second tier does not take it and [`Unmarked::RollBack`] is chosen, or the transaction is
    /// fenced.
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
                match self.fenced && !cache.fence(at).await {
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
    /// It returns once the second tier knows, or is known not to answer: then it is told as soon as it does. A fenced
    /// transaction, and any with [`Unmarked::RollBack`], returns only once the tier knows: its mark may be lost, and others
    /// may reach the tier that this process does not reach.
    ///
    /// # Cancel safety
    /// Dropping the future gives up the wait; the tier is told all the same.
    pub async fn committed(&self, position: Option<Position>) -> SessionToken {
        let (slots, writer) = self.end();
        let cache = &self.cache.shared;
        if slots.is_empty() || cache.mutant == Mutant::BumpBeforeCommit {
            return SessionToken { position, ..SessionToken::default() };
        }
        let mut feed = cache.bump(writer, &slots, position).await;
        if self.fenced || cache.config.unmarked == Unmarked::RollBack {
            let given_up = cache.clock.now().after(cache.config.doubt);
            while feed.is_none() && (cache.mutant != Mutant::AnswerUntold || cache.clock.now() < given_up) {
                tokio::time::sleep(RETRY).await;
                feed = cache.bump(writer, &slots, position).await;
            }
        }
        if let Some(at) = feed.filter(|_| self.fenced) {
            // The mark may have been lost since: nobody is answered before this is everywhere.
            cache.fence(at).await;
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

    /// Nobody will say what became of a transaction: this process bumps what it touched once it must be over, in case the
    /// mark did not come through.
    fn in_doubt_for_good(&self, slots: &[Slot]) {
        self.knowledge.changed_unheard(slots);
        self.unheard.remember_later(self.clock.now().after(self.config.doubt), slots);
    }

    /// Waits until every first tier has applied the feed up to `at`, or has lost its lease. False where that cannot be told.
    async fn fence(&self, at: Cursor) -> bool {
        // A member that hangs is one for as long as a lease lasts, and a tier that is new is not believed for that long.
        let until = self.clock.now().after(self.config.longest_lease.saturating_mul(2)).after(FENCE_MARGIN);
        let mut pause = FIRST_FENCE_PAUSE;
        while !self.is_fenced(at).await {
            if self.clock.now() >= until {
                return false;
            }
            tokio::time::sleep(pause).await;
            pause = pause.saturating_mul(2).min(LONGEST_FENCE_PAUSE);
        }
        true
    }

    async fn is_fenced(&self, at: Cursor) -> bool {
        let budget = self.config.commit_budget;
        let Ok(members) = self.tier.ask_within(budget, |tier| tier.members()).await else { return false };
        // A tier that was emptied or taken over knows no members, but their leases go on.
        let Ok(now) = self.tier.ask_within(budget, |tier| tier.read(&[], &[])).await else { return false };
        let has_all = members.iter().all(|(_, applied)| *applied >= at.id);
        has_all && now.run == at.run && now.keeps_members_for(self.config.longest_lease)
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
