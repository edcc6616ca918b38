//! What a read past the first tier works with: all that its key, its keyspace and its call say, resolved
//! once.

use std::time::Duration;

use serde::de::DeserializeOwned;

use crate::cache::Shared;
use crate::codec::Codec;
use crate::key::{EntryKey, Key};
use crate::key_id::KeyId;
use crate::keyspace_counts::CountedKeyspace;
use crate::mode::{Mode, SessionToken};
use crate::mutant::Mutant;
use crate::policy::Policy;
use crate::scope::Scope;
use crate::tag::{Slot, Tag};

pub(crate) struct Plan<V> {
    pub(crate) id: KeyId,
    pub(crate) entry_key: EntryKey,
    /// The slots that are known before the load: the key's own, and those of the tags.
    pub(crate) slots: Vec<Slot>,
    pub(crate) keyspace: &'static str,
    pub(crate) counted: CountedKeyspace,
    pub(crate) policy: Policy,
    pub(crate) ttl: Duration,
    pub(crate) mode: Mode,
    /// What the caller has written, which it must see.
    pub(crate) session: Option<SessionToken>,
    pub(crate) codec: Codec,
    pub(crate) fingerprint: u64,
    pub(crate) scope: Scope,
    pub(crate) tags_of_value: Option<fn(&V) -> Vec<Tag>>,
}

impl<V: DeserializeOwned> Plan<V> {
    /// None where the key does not encode.
    pub(crate) fn new<K>(cache: &Shared, key: &Key<K, V>, mode: Mode) -> Option<Self> {
        let id = key.id()?.clone();
        let (keyspace, wishes) = (key.keyspace(), key.wishes.get());
        let fingerprint = keyspace.fingerprint();
        let policy = *keyspace.defaults();
        let tags = keyspace.tags_for_key(key.key());
        let own = std::iter::once(id.slot());
        let slot = |tag| slot(cache.mutant, tag, fingerprint);
        let mut slots: Vec<Slot> = own.chain(tags.iter().chain(&wishes.tags).map(slot)).collect();
        slots.sort_unstable();
        slots.dedup();
        Some(Plan {
            entry_key: id.in_installation(&cache.config.installation, fingerprint),
            id,
            slots,
            keyspace: keyspace.name(),
            counted: keyspace.counted(),
            policy,
            ttl: wishes.ttl.or(policy.ttl).unwrap_or(cache.config.ttl),
            mode,
            session: session_of(mode, wishes.session),
            codec: keyspace.encoding(),
            fingerprint,
            scope: wishes.scope.clone(),
            tags_of_value: keyspace.tags_for_values(),
        })
    }
}

impl<V> Plan<V> {
    /// The slot of a tag.
    pub(crate) fn slot(&self, mutant: Mutant, tag: &Tag) -> Slot {
        slot(mutant, tag, self.fingerprint)
    }

    /// Whether the second tier may not know of what the caller has written.
    pub(crate) fn is_untold(&self) -> bool {
        self.session.is_some_and(|token| token.untold)
    }

    /// How long an entry is kept that is fresh for so long: it may be served stale after that.
    pub(crate) fn of_use(&self, ttl: Duration) -> Duration {
        ttl.saturating_add(self.policy.stale_on_error.max(self.policy.stale_while_revalidate))
    }

    /// How long an entry that says that there is nothing is fresh; none where that is not remembered.
    pub(crate) fn ttl_of_nothing(&self) -> Option<Duration> {
        self.policy.negative_ttl.map(|ttl| ttl.min(self.ttl))
    }
}

/// What a call must see of its session, by its mode and by its key.
pub(crate) fn session_of(mode: Mode, of_key: Option<SessionToken>) -> Option<SessionToken> {
    match (mode, of_key) {
        (Mode::Session(token), Some(other)) => Some(other.and(token)),
        (Mode::Session(token), None) => Some(token),
        (_, of_key) => of_key,
    }
}

/// The slot of a tag, which no schema has a part in: programs of different versions hear of each other.
fn slot(mutant: Mutant, tag: &Tag, fingerprint: u64) -> Slot {
    match mutant {
        Mutant::SlotsBySchema => tag.slot().rotated(fingerprint),
        _ => tag.slot(),
    }
}
