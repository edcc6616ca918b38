//! A cache in two tiers whose entries are valid exactly as long as the database says so.
#![doc = include_str!("../README.md")]

#[cfg(feature = "part")]
mod attached;
mod cache;
mod clock;
mod codec;
mod config;
mod consistency;
mod contact;
mod counters;
mod entry;
mod envelope;
mod error;
mod feed_task;
mod fill;
mod fill_many;
mod fingerprint;
mod first_tier;
mod flights;
mod generation;
mod guarded_tier;
mod hit;
mod hit_share;
mod hot_keys;
mod keep;
mod key;
mod key_id;
mod keys;
mod keyspace;
mod keyspace_counts;
mod knowledge;
mod load;
mod loaded_many;
mod look;
mod look_many;
mod many;
mod mode;
mod mutant;
mod operator;
#[cfg(feature = "panels")]
mod panel;
mod past_first_tier;
#[cfg(feature = "part")]
mod place;
mod plan;
mod policy;
mod position;
mod protocol;
mod random;
mod record;
#[cfg(feature = "redis")]
mod redis;
mod report;
mod sampler;
mod scope;
mod second_tier;
mod settings;
mod solo;
mod stats;
mod tag;
mod tier_error;
mod token;
mod transaction;
mod unheard;
mod warm;

#[cfg(feature = "simulation")]
pub mod conformance;
#[cfg(feature = "relay")]
pub mod relay;
#[cfg(feature = "simulation")]
pub mod simulation;

#[cfg(feature = "part")]
pub use attached::{AttachedCache, ReadPosition};
pub use cache::{Cache, Foundation};
pub use clock::{Clock, CoarseClock, Moment, SharedClock, TokioClock};
pub use codec::Codec;
pub use config::{CacheConfig, TierUrl, Unmarked};
pub use consistency::Consistency;
pub use entry::Cached;
pub use envelope::{Envelope, Stamps, Unreadable};
pub use error::{CacheError, Shared};
pub use generation::Generation;
pub use key::{EntryKey, Key};
pub use keys::Keys;
pub use keyspace::Keyspace;
pub use keyspace_counts::KeyspaceStats;
pub use load::{LoadFrom, Loaded, ReadAt};
pub use loaded_many::LoadedMany;
pub use many::Answers;
pub use mode::{Mode, SessionToken};
#[cfg(feature = "simulation")]
pub use mutant::Mutant;
pub use operator::{MemberStatus, Operator, TierStatus};
pub use policy::Policy;
pub use position::{Floor, History, Position};
pub use random::Random;
pub use record::{EpochRecord, FeedId, Run, SlotRecord, TierTime};
#[cfg(feature = "redis")]
pub use redis::{RedisConfig, RedisConfigError, RedisTier};
pub use report::{ProcessReport, WarmRequests};
pub use sampler::{SampleConfig, Samples};
pub use scope::Scope;
pub use second_tier::{
    Answer, Change, Cursor, Feed, Fresh, Holder, Lease, Member, NewEpoch, SecondTier, Snapshot, Store, Usage,
    Writer,
};
pub use settings::InvalidMode;
pub use stats::{CacheStats, Drop, Miss, Unkept};
pub use tag::{InvalidTag, Slot, Tag};
pub use tier_error::{TierError, TierFailure};
pub use transaction::{CacheTransaction, NotMarked};
pub use warm::{WarmConfig, Warmed};
