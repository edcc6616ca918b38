//! How a cache is set up.

use std::fmt;
use std::time::Duration;

use crate::mode::Mode;
use crate::sampler::SampleConfig;

/// How a cache is set up. Every field has a default.
///
/// ```
/// use std::time::Duration;
/// use db_cache::CacheConfig;
///
/// let config = CacheConfig { ttl: Duration::from_secs(60), ..CacheConfig::default() };
/// assert!(config.second_tier.is_none());
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct CacheConfig {
    /// Where the second tier is; none is that the first tier works alone.
    pub second_tier: Option<TierUrl>,
    /// Whose entries they are: two installations that share a second tier must differ here, a copy of one
    /// included.
    pub installation: String,
    /// How long an entry is fresh.
    pub ttl: Duration,
    /// What a read promises.
    pub mode: Mode,
    /// How many bytes the entries in this process may take.
    pub max_memory_bytes: u64,
    /// Whether values above 2 KB are compressed in the second tier.
    pub compress: bool,
    /// Whether the hot keys are kept in the second tier, for the next start:
    /// [`Cache::saved_keys`](crate::Cache::saved_keys).
    pub warming: bool,
    /// How long a read waits for the second tier before it goes on without it. After three in a row that took
    /// longer, nobody waits until it answers again.
    pub tier_budget: Duration,
    /// How long COMMIT waits for the second tier to mark what a transaction touches.
    pub commit_budget: Duration,
    /// What becomes of a transaction whose mark does not come through.
    pub unmarked: Unmarked,
    /// How long the answer to a fenced transaction, or to any with [`Unmarked::RollBack`], waits for a second
    /// tier that went away between its mark and its COMMIT: it holds its connection meanwhile. After that it
    /// is answered without, which [`SessionToken::untold`](crate::SessionToken::untold) says and
    /// [`CacheStats::answered_untold`](crate::CacheStats::answered_untold) counts: where others reach the
    /// tier all the same, they may read older than what it has committed until this process does. Longer than
    /// `quarantine` twice.
    pub told_within: Duration,
    /// How long a transaction stays in doubt whose outcome nobody tells. `transaction_timeout` must be
    /// shorter.
    pub doubt: Duration,
    /// How long a load may go without a sign of life before another process loads instead.
    pub load_lease: Duration,
    /// How often the feed is confirmed while nothing changes. A read that is bounded by less than this asks
    /// the second tier.
    pub feed_interval: Duration,
    /// The longest time for which a first tier trusts its entries without word from the feed: a fenced write
    /// waits that long for a process that hangs.
    pub longest_lease: Duration,
    /// Which hits are read again in the background, to tell how consistent the cache is; none is not at all.
    pub sample: Option<SampleConfig>,
    /// Where a relay runs: how far it may be behind before neither tier is trusted, but in [`Mode::Ttl`]. A
    /// write from outside is seen that much later than a mode says. Longer than `RelayConfig::longest_rest`,
    /// or its rests cost hits.
    pub relay_within: Option<Duration>,
    /// A second tier that was away for longer than this is not trusted for as long when it is back: by then
    /// the other processes have told it what they changed meanwhile. An answer to a transaction that it
    /// cannot be told of waits for at most twice as long, while an outage begins.
    pub quarantine: Duration,
}

/// What becomes of a transaction whose mark does not come through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unmarked {
    /// It commits. Its caller is answered when the second tier has been told, or has been silent for so long
    /// that nobody trusts it: that takes [`CacheConfig::quarantine`] twice, once an outage. Other processes
    /// may read old values after that only where this one alone does not reach the second tier: until a relay
    /// has told it, or this process; and up to their TTL, if this process ends before and no relay runs.
    Commit,
    /// It is rolled back. One whose mark came through, and that the second tier then cannot be told of, is
    /// answered when the tier is back, or after [`CacheConfig::told_within`].
    RollBack,
}

/// Where a second tier is. Its password shows nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct TierUrl(String);

impl TierUrl {
    /// A URL such as `redis://host:6379/0`.
    pub fn new(url: impl Into<String>) -> Self {
        TierUrl(url.into())
    }

    /// The URL, password included.
    pub fn secret(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for TierUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for TierUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, rest) = self.0.split_once("://").unwrap_or(("", &self.0));
        let place = rest.rsplit_once('@').map_or(rest, |(_, place)| place);
        let place = place.split_once('?').map_or(place, |(place, _)| place);
        write!(f, "{scheme}://{place}")
    }
}

impl Default for CacheConfig {
    fn default() -> Self {
        CacheConfig {
            second_tier: None,
            installation: String::new(),
            ttl: Duration::from_secs(300),
            mode: Mode::default(),
            max_memory_bytes: 64 << 20,
            compress: true,
            warming: false,
            tier_budget: Duration::from_millis(5),
            commit_budget: Duration::from_millis(50),
            unmarked: Unmarked::Commit,
            told_within: Duration::from_secs(30),
            doubt: Duration::from_secs(60),
            load_lease: Duration::from_secs(2),
            feed_interval: Duration::from_millis(200),
            longest_lease: Duration::from_secs(5),
            sample: None,
            relay_within: None,
            quarantine: Duration::from_secs(1),
        }
    }
}
