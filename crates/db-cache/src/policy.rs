//! How long entries live and how they are loaded: the defaults of a keyspace.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::mode::Mode;

/// How the entries of a keyspace live and are loaded.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Policy {
    /// How long a value is fresh; none is `CACHE_TTL`.
    pub ttl: Option<Duration>,
    /// What a read promises; none is `CACHE_MODE`.
    pub mode: Option<Mode>,
    /// How long after that it may be served while a load is under way behind it.
    pub stale_while_revalidate: Duration,
    /// How long after that it may be served where a load fails. An invalidated value never is.
    pub stale_on_error: Duration,
    /// How long it is remembered that there is nothing; none is not at all.
    pub negative_ttl: Option<Duration>,
    /// After that long a caller takes a stale value, if there is one, and the load goes on.
    pub soft_timeout: Option<Duration>,
    /// After that long a load is given up: its key, its permit and its connection are free again.
    pub hard_timeout: Duration,
    /// How eagerly hot entries are loaded anew before they expire, as XFetch's beta; 0 is never.
    ///
    /// Source: Vattani, Chierichetti and Lowenstein, "Optimal Probabilistic Cache Stampede Prevention", 2015.
    pub early_refresh: f64,
    /// How many loads of the keyspace may run at a time in this process.
    pub max_loads: NonZeroU32,
}

impl Policy {
    /// What a keyspace has that says nothing.
    pub const DEFAULT: Policy = Policy {
        ttl: None,
        mode: None,
        stale_while_revalidate: Duration::ZERO,
        stale_on_error: Duration::from_secs(300),
        negative_ttl: Some(Duration::from_secs(5)),
        soft_timeout: None,
        hard_timeout: Duration::from_secs(10),
        early_refresh: 1.0,
        max_loads: NonZeroU32::MIN.saturating_add(31),
    };
}

impl Default for Policy {
    fn default() -> Self {
        Policy::DEFAULT
    }
}
