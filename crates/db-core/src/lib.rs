//! The nouns that every crate of db-platform agrees on.
#![doc = include_str!("../README.md")]

pub mod awake;
mod bind_hashes;
mod caller;
mod check_status;
mod circuit_open;
mod class;
mod condition;
mod connect_error;
mod endpoint;
mod environment;
mod error;
mod facts;
pub mod foreign;
mod histogram;
mod holder;
mod lsn;
mod measure;
mod observe;
mod opening;
mod own_statement;
#[cfg(feature = "panel")]
pub mod panel;
mod recent_codes;
mod report;
pub mod settings;
mod shown;
mod sqlstate;
mod trace_link;
mod unknown_commit;
mod url;
mod work_scope;

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
mod open_direct;
#[cfg(feature = "diesel")]
mod part;
#[cfg(feature = "diesel")]
mod work;

pub use bind_hashes::BindHashes;
pub use caller::{Caller, Site};
pub use check_status::{CheckStatus, PartCheck};
pub use circuit_open::CircuitOpen;
pub use class::{Class, Classify};
pub use condition::{Condition, PartHealth};
pub use connect_error::{ConnectError, ConnectFailure};
pub use endpoint::{Endpoint, Role};
pub use environment::{Environment, UnknownEnvironment};
pub use error::{Error, Result};
pub use facts::{Facts, ServerId, TransactionStatus};
pub use histogram::{Histogram, Timings};
pub use holder::Holder;
pub use lsn::{InvalidLsn, Lsn};
pub use measure::{Measure, MeasureKind};
pub use observe::{Checkout, LinkEvent, Observe, QueryEvent};
pub use opening::{Opened, Opening};
pub use own_statement::OwnStatement;
pub use recent_codes::ErrorFields;
pub use report::{Evidence, ServerReport};
pub use shown::shown;
pub use sqlstate::{InvalidSqlState, SqlState};
pub use trace_link::TraceLink;
pub use unknown_commit::UnknownCommit;
pub use url::{DatabaseUrl, InvalidUrl, SslMode};
pub use work_scope::{InScope, WorkScope};

#[cfg(feature = "diesel")]
pub use acquire::{Acquire, EvictAll, Report};
#[cfg(feature = "diesel")]
pub use around_commit::{AroundCommit, CommitOutcome};
#[cfg(feature = "diesel")]
pub use connect::Connect;
#[cfg(feature = "diesel")]
pub use open_direct::OpenDirect;
#[cfg(feature = "diesel")]
pub use part::{ConnectionHook, Ground, Host, MakeAroundCommit, Part, Running, Server, Start};
#[cfg(feature = "diesel")]
pub use work::{Once, Work};
