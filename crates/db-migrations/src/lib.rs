//! Applies and undoes SQL migrations in diesel's layout, one runner at a time.
#![doc = include_str!("../README.md")]

#[cfg(feature = "check")]
pub mod check;
mod error;
mod ledger;
mod lock;
mod migrator;
mod plan;
mod source;
mod split;
mod status;

pub use error::MigrationError;
pub use migrator::{Migrator, MigratorConfig, Step};
pub use plan::{Plan, Planned};
pub use source::{Migration, Migrations, Version};
pub use split::{Statement, split};
pub use status::{Status, StatusEntry};
