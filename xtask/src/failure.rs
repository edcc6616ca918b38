//! Why a command did not do what it was asked.

use std::fmt;

/// The error of every command.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The command line makes no sense.
    Usage(String),
    /// A child said itself what was wrong, and this is its exit status.
    Status(u8),
    /// Anything else, in words.
    Said(String),
}

pub(crate) type Result<T = (), E = Failure> = std::result::Result<T, E>;

impl Failure {
    pub(crate) fn said(text: impl Into<String>) -> Failure {
        Failure::Said(text.into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Usage(text) => write!(f, "{text}; see `cargo xtask COMMAND --help`"),
            Failure::Status(code) => write!(f, "exit status {code}"),
            Failure::Said(text) => f.write_str(text),
        }
    }
}

impl From<db_server::Error> for Failure {
    fn from(error: db_server::Error) -> Self {
        Failure::Said(error.to_string())
    }
}

impl From<lexopt::Error> for Failure {
    fn from(error: lexopt::Error) -> Self {
        Failure::Usage(error.to_string())
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Failure::Said(error.to_string())
    }
}
