//! Why a pool closes a connection, for the log.

use std::fmt;

use db_core::Endpoint;

/// Why a connection is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Closing {
    /// The server or the network had closed it.
    Lost,
    /// All connections of that age were given up: the server failed, or has changed.
    Evicted,
    /// It has lived as long as it may, or whoever used it said that it is not to be used again.
    Expired,
    /// Nobody has used it for the time that an idle one is kept.
    Idle,
    /// More are open than may be.
    TooMany,
    /// It did not answer when it was asked for a sign of life.
    Silent,
    /// It could not be made as new again.
    Unclean,
    /// A message went over it that made its buffers larger than they may be.
    TooLarge,
    /// The pool is closed.
    Shutdown,
}

impl Closing {
    pub(crate) fn log(self, endpoint: &Endpoint) {
        tracing::debug!(%endpoint, reason = %self, "a connection is closed");
    }
}

impl fmt::Display for Closing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Closing::Lost => "the server or the network closed it",
            Closing::Evicted => "all of its age were given up",
            Closing::Expired => "it has lived as long as it may",
            Closing::Idle => "it was idle for too long",
            Closing::TooMany => "more are open than may be",
            Closing::Silent => "it gave no sign of life",
            Closing::Unclean => "it could not be made as new",
            Closing::TooLarge => "a message has made its buffers too large",
            Closing::Shutdown => "the pool is closed",
        })
    }
}
