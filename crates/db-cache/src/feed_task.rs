//! The task that keeps the first tier's table: it reads the feed, tells the second tier what it has not heard
//! of, and closes the breaker when that answers.

use std::sync::Weak;
use std::time::Duration;

use crate::cache::Shared;
use crate::clock::Moment;
use crate::mutant::Mutant;
use crate::second_tier::{Answer, Change, Cursor, Feed, NewEpoch};
use crate::stats::Drop as Wholesale;
use crate::tag::Slot;
use crate::tier_error::{TierError, TierFailure};

/// How long the feed may take to answer beyond the time that it was told to wait.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// How often the task asks how full the tier is.
const USAGE_EVERY: Duration = Duration::from_secs(10);

/// How long the task waits after the second tier did not answer.
const PAUSE: Duration = Duration::from_millis(100);

/// The pause between two attempts to tell the second tier what it has not heard of.
const TELL_AGAIN: Duration = Duration::from_millis(20);

/// Runs until the cache is gone.
pub(crate) async fn run(cache: Weak<Shared>) {
    tokio::join!(read(cache.clone()), tell(cache));
}

async fn read(cache: Weak<Shared>) {
    let mut cursor = None;
    let mut wait = Duration::ZERO;
    let mut asked_usage = None;
    loop {
        let Some(cache) = cache.upgrade() else { return };
        cache.ask_usage(&mut asked_usage).await;
        let began = cache.clock.now();
        match cache.read_feed(&mut cursor, wait).await {
            Ok(()) if cache.catch_up().await => wait = cache.config.feed_interval,
            Ok(()) => tokio::time::sleep(PAUSE).await,
            Err(error) => {
                tracing::debug!(%error, "the feed of the cache cannot be read");
                tokio::time::sleep(PAUSE).await;
                cache.contact.missed(began, cache.clock.now());
                wait = Duration::ZERO;
            }
        }
    }
}

/// Tells the second tier what it has not heard of, beside the feed: who was answered relies on it.
async fn tell(cache: Weak<Shared>) {
    loop {
        let Some(cache) = cache.upgrade() else { return };
        cache.unheard.when_any().await;
        if !cache.tell_unheard().await {
            tokio::time::sleep(TELL_AGAIN).await;
        }
    }
}

impl Shared {
    /// How full the tier is, now and then.
    async fn ask_usage(&self, asked: &mut Option<Moment>) {
        let now = self.clock.now();
        if asked.is_some_and(|asked| now < asked.after(USAGE_EVERY)) {
            return;
        }
        *asked = Some(now);
        // What it does not tell stays as it was told last.
        if let Ok(usage) = self.tier.ask(|tier| tier.usage()).await {
            self.unheard.set_usage(usage);
        }
    }

    async fn read_feed(&self, cursor: &mut Option<Cursor>, wait: Duration) -> Result<(), TierError> {
        let asked = self.clock.now();
        let member = cursor.map(|_| (self.member, self.config.longest_lease.saturating_add(ANSWER_WITHIN)));
        let feed = self.tier.tier().feed(*cursor, wait, member);
        let limit = wait.saturating_add(ANSWER_WITHIN);
        let Feed { changes, cursor: end, lost, epoch, now, relayed } =
            match tokio::time::timeout(limit, feed).await {
                Ok(feed) => feed?,
                Err(_) => {
                    let what = format!("the feed took longer than {limit:?}");
                    return Err(TierError::new(TierFailure::TimedOut, what));
                }
            };
        if lost || cursor.is_none() {
            if lost {
                self.dropped_everything(Wholesale::FeedLost);
            }
            self.knowledge.restart(end, epoch);
        } else {
            if changes.iter().any(|change| matches!(change, Change::Epoch(_))) {
                self.dropped_everything(Wholesale::NewEpoch);
            }
            self.knowledge.apply(&changes, end);
        }
        let heard = self.clock.now();
        self.contact.heard(asked, heard);
        let is_complete = self.contact.is_complete(heard) || self.mutant == Mutant::NoQuarantine;
        if !lost && cursor.is_some() && is_complete && self.is_relayed(relayed, now) {
            // The member's registration went out with this request, and lasts longer than any lease from now.
            self.knowledge.confirm(asked);
        }
        *cursor = Some(end);
        Ok(())
    }

    /// Tells the second tier what it has not heard of; then it is asked again. False where it did not take
    /// it.
    async fn catch_up(&self) -> bool {
        if !self.tier.is_open() && self.unheard.is_empty(self.clock.now()) {
            return true;
        }
        let is_told = self.tell_unheard().await;
        if is_told {
            self.tier.close();
        }
        is_told
    }

    /// Tells the second tier what it has not heard of. False where it did not take it.
    async fn tell_unheard(&self) -> bool {
        let _one = self.telling.lock().await;
        let (slots, epoch) = self.unheard.take(self.clock.now());
        match self.tell(&slots, epoch).await {
            Ok(at) => {
                self.contact.answered(self.clock.now());
                self.unheard.told(at);
                true
            }
            Err(error) => {
                tracing::debug!(%error, "the cache's second tier does not take what it has missed");
                self.unheard.not_told(epoch);
                false
            }
        }
    }

    async fn tell(&self, slots: &[Slot], epoch: bool) -> Result<Option<Cursor>, TierError> {
        let mut told = None;
        if !slots.is_empty() {
            let fresh = self.fresh(slots.iter().copied());
            told = Some(within(self.tier.tier().bump(None, &fresh, None)).await?);
        }
        if epoch {
            let when = self.knowledge.history().map_or(NewEpoch::Always, NewEpoch::IfHistoryIs);
            within(self.tier.tier().epoch(self.generation(), when)).await?;
        }
        Ok(told)
    }
}

async fn within<T>(answer: Answer<'_, T>) -> Result<T, TierError> {
    match tokio::time::timeout(ANSWER_WITHIN, answer).await {
        Ok(answer) => answer,
        Err(_) => Err(TierError::new(TierFailure::TimedOut, "it took too long")),
    }
}
