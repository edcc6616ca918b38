//! What happens to a cache around one COMMIT: marks before it, bumps after it.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use db_core::{AroundCommit, CommitOutcome, Error, Result};
use diesel_async::AsyncPgConnection;

use super::writes::Writes;
use super::{Answer, AttachedCache};
use crate::position::Position;
use crate::relay::Message;
use crate::transaction::CacheTransaction;

/// Marks before one COMMIT and bumps after it.
pub(super) struct CommitTouch {
    cache: AttachedCache,
    transaction: CacheTransaction,
    writes: Option<Arc<Writes>>,
    position: Mutex<Option<Position>>,
}

impl CommitTouch {
    pub(super) fn new(cache: &AttachedCache) -> Self {
        CommitTouch {
            transaction: cache.cache.transaction(),
            cache: cache.clone(),
            writes: Writes::current(),
            position: Mutex::default(),
        }
    }

    fn position(&self) -> MutexGuard<'_, Option<Position>> {
        self.position.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AroundCommit for CommitTouch {
    fn before<'a>(&'a self, _: &'a mut AsyncPgConnection) -> Answer<'a, Result<()>> {
        Box::pin(async move {
            self.transaction.clear();
            *self.position() = None;
            let Some(writes) = &self.writes else { return Ok(()) };
            self.cache.warn_of(writes);
            writes.tags().into_iter().for_each(|tag| self.transaction.touch(tag));
            self.transaction.before_commit().await.map_err(|error| Error::Client(Box::new(error)))
        })
    }

    fn sql(&self) -> Option<Cow<'_, str>> {
        let slots = self.transaction.slots();
        if slots.is_empty() {
            return None;
        }
        let message = Message { writer: self.transaction.writer(), slots };
        self.cache.relay.as_ref()?.sql(&message).map(Cow::Owned)
    }

    fn alongside<'a>(&'a self, conn: &'a AsyncPgConnection) -> Option<Answer<'a, ()>> {
        if self.transaction.slots().is_empty() {
            return None;
        }
        Some(Box::pin(async move {
            // Without it standbys fill nothing of what was touched before the primary was asked.
            *self.position() = (self.cache.read_position)(conn).await;
        }))
    }

    fn after<'a>(&'a self, _: Option<&'a mut AsyncPgConnection>, outcome: CommitOutcome) -> Answer<'a, ()> {
        Box::pin(async move {
            let position = self.position().take();
            match outcome {
                CommitOutcome::Committed => {
                    let writer = self.transaction.writer();
                    let token = self.transaction.committed(position).await;
                    if let (Some(relay), Some(writer), Some(_)) = (&self.cache.relay, writer, token.feed) {
                        relay.has_bumped(writer);
                    }
                }
                CommitOutcome::RolledBack => self.transaction.rolled_back().await,
                CommitOutcome::Unknown => self.transaction.outcome_unknown().await,
            }
        })
    }
}
