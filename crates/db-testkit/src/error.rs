//! What can go wrong in the kit itself.

use std::net::SocketAddr;
use std::time::Duration;

/// A test that meets one cannot go on; the text says what to look at.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TestkitError {
    /// A proxy could not listen on loopback.
    #[error("no proxy in front of {target} could listen on 127.0.0.1")]
    Proxy {
        /// Where it would have passed connections on to.
        target: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The address to pass connections on to cannot be resolved.
    #[error("the proxy's target is no address")]
    Target(#[source] std::io::Error),
    /// A URL was expected, with one host; the text is not shown, since it may hold a password.
    #[error("not a URL of the form scheme://user:password@host:port/path with one host")]
    NotAUrl,
    /// A setting is unusable.
    #[error("{name} {reason}; {remedy}")]
    Setting {
        /// The environment variable.
        name: &'static str,
        /// What is wrong with its value, which is not shown: it may hold a password.
        reason: String,
        /// What to do.
        remedy: &'static str,
    },
    /// A server could not be started or told to do something.
    #[error("{doing}")]
    Server {
        /// What was being done.
        doing: String,
        /// Why it did not work.
        source: db_server::Error,
    },
    /// No connection to a server of the kit.
    #[error("no connection to {server} while {doing}")]
    Connect {
        /// Host and port, and the database.
        server: String,
        /// What it was wanted for.
        doing: String,
        /// Why there is none.
        source: BoxError,
    },
    /// A statement of the kit failed.
    #[error("{doing} on {server}")]
    Statement {
        /// Host and port, and the database.
        server: String,
        /// What was being done.
        doing: String,
        /// What the server answered.
        source: BoxError,
    },
    /// The caller's closure that fills a template failed.
    #[error("the template for content hash {content_hash:?} could not be filled")]
    Template {
        /// The hash that was passed in.
        content_hash: String,
        /// What the closure returned.
        source: BoxError,
    },
    /// A condition did not come true in time.
    #[error("{what} did not happen within {waited:?} ({seen})")]
    Timeout {
        /// What was waited for.
        what: String,
        /// For how long.
        waited: Duration,
        /// What was seen instead, last.
        seen: String,
    },
    /// A scenario or a future that is run again and again does not come to an end.
    #[error("{what} was not done after {times} runs: it does more each time, or never ends")]
    Endless {
        /// What was repeated.
        what: &'static str,
        /// How often.
        times: usize,
    },
    /// The kit's background thread is gone.
    #[error(
        "the kit's background thread is gone while {0}: it panicked, and its message is in this test's output"
    )]
    Background(String),
}

/// Any error, to be passed on.
pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;
