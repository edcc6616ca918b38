//! A cache in two tiers whose entries are valid exactly as long as the database says so.
#![doc = include_str!("../README.md")]

mod clock;
mod codec;
mod envelope;
mod fingerprint;
mod generation;
mod key;
mod keyspace;
mod load;
mod mode;
mod policy;
mod position;
mod protocol;
mod random;
mod record;
#[cfg(feature = "redis")]
mod redis;
mod scope;
mod second_tier;
mod tag;
mod tier_error;

#[cfg(feature = "simulation")]
pub mod conformance;
#[cfg(feature = "simulation")]
pub mod simulation;

pub use clock::{Clock, CoarseClock, SharedClock, TokioClock};
pub use codec::Codec;
pub use envelope::{Envelope, Stamps, Unreadable};
pub use generation::Generation;
pub use key::{EntryKey, Key};
pub use keyspace::Keyspace;
pub use load::{LoadFrom, Loaded, ReadAt};
pub use mode::{Mode, SessionToken};
pub use policy::Policy;
pub use position::{Floor, History, Position};
pub use random::Random;
pub use record::{EpochRecord, FeedId, Run, SlotRecord, TierTime};
#[cfg(feature = "redis")]
pub use redis::{RedisConfig, RedisConfigError, RedisTier};
pub use scope::Scope;
pub use second_tier::{
    Answer, Change, Cursor, Feed, Fresh, Holder, Lease, Member, NewEpoch, SecondTier, Snapshot, Store, Usage,
    Writer,
};
pub use tag::{Slot, Tag};
pub use tier_error::{TierError, TierFailure};
