//! How stale the answer to a read may be.

use std::time::Duration;

/// How stale the answer to a read may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Freshness {
    /// Not at all: the primary answers.
    Primary,
    /// As stale as [`RouterConfig::max_lag`](crate::RouterConfig::max_lag) says.
    #[default]
    Default,
    /// At most this much; a standby whose lag is unknown does not answer.
    Within(Duration),
    /// As stale as any standby that is alive.
    Any,
}
