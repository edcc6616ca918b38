//! Loads what many callers ask for one by one in a few batches.
#![doc = include_str!("../README.md")]

#[cfg(feature = "diesel")]
mod ahead;
#[cfg(feature = "diesel")]
mod any_fetch;
mod batch;
#[cfg(feature = "diesel")]
mod children;
mod config;
#[cfg(feature = "diesel")]
mod connections;
mod counts;
mod drain;
mod drive;
mod error;
mod flight;
mod found;
#[cfg(feature = "diesel")]
mod lateral;
#[cfg(feature = "diesel")]
mod lend;
mod loader;
mod memo;
#[cfg(feature = "otel")]
mod metrics;
mod nesting;
#[cfg(feature = "diesel")]
mod page;
#[cfg(feature = "diesel")]
mod query;
mod queue;
mod scope;
#[cfg(feature = "diesel")]
mod sort_key;
#[cfg(feature = "diesel")]
mod statement;

pub use batch::Batch;
pub use config::LoaderConfig;
pub use counts::LoadCounts;
pub use error::LoadError;
pub use found::Found;
pub use loader::Loader;
pub use scope::Scope;

#[cfg(feature = "diesel")]
pub use ahead::Ahead;
#[cfg(feature = "diesel")]
pub use children::{Children, Top};
#[cfg(feature = "diesel")]
pub use connections::Connections;
#[cfg(feature = "diesel")]
pub use lateral::Within;
#[cfg(feature = "diesel")]
pub use lend::{Lent, Loan, lend};
#[cfg(feature = "diesel")]
pub use page::{Order, Page, PageOf};
#[cfg(feature = "diesel")]
pub use query::{Fetch, Query};
#[cfg(feature = "diesel")]
pub use sort_key::SortKey;
#[cfg(feature = "diesel")]
pub use statement::Statement;
