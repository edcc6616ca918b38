//! How a channel is: for a metrics page and for `dbctl`.

use std::time::SystemTime;

/// How a channel is now. The counts only grow while the process lives.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ChannelStatus {
    /// The channel's name.
    pub name: String,
    /// Messages that came through.
    pub delivered: u64,
    /// Messages that were given up.
    pub failed: u64,
    /// Attempts beyond the first.
    pub retries: u64,
    /// Repetitions of an incident that were not sent.
    pub suppressed: u64,
    /// Messages that went in a digest.
    pub gathered: u64,
    /// Messages that a full queue dropped.
    pub dropped: u64,
    /// When the last one came through.
    pub last_delivered: Option<SystemTime>,
    /// Why the last one that was given up did not come through.
    pub last_error: Option<String>,
    /// Since when nothing comes through; none while the channel works.
    pub dead_since: Option<SystemTime>,
}
