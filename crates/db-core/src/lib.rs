//! The nouns that every crate of db-platform agrees on.
#![doc = include_str!("../README.md")]

mod class;
mod endpoint;
mod environment;
mod error;
mod lsn;
mod observe;
mod report;
pub mod settings;
mod sqlstate;
mod url;

#[cfg(feature = "diesel")]
mod acquire;
#[cfg(feature = "diesel")]
mod around_commit;
#[cfg(feature = "diesel")]
mod connect;
#[cfg(feature = "diesel")]
mod from_diesel;
#[cfg(feature = "diesel")]
mod from_postgres;
#[cfg(feature = "diesel")]
mod work;

pub use class::{Class, Classify};
pub use endpoint::{Endpoint, Role};
pub use environment::{Environment, UnknownEnvironment};
pub use error::{ConnectError, ConnectFailure, Error, Result};
pub use lsn::{InvalidLsn, Lsn};
pub use observe::{Checkout, LinkEvent, Observe, QueryEvent};
pub use report::{Evidence, ServerReport};
pub use sqlstate::{InvalidSqlState, SqlState};
pub use url::{DatabaseUrl, InvalidUrl, SslMode};

#[cfg(feature = "diesel")]
pub use acquire::Acquire;
#[cfg(feature = "diesel")]
pub use around_commit::{AroundCommit, CommitOutcome};
#[cfg(feature = "diesel")]
pub use connect::Connect;
#[cfg(feature = "diesel")]
pub use work::{Once, Work};
