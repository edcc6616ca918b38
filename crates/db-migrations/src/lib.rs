//! Applies and undoes SQL migrations in diesel's layout, one runner at a time.
#![doc = include_str!("../README.md")]

pub mod backfill;
#[cfg(feature = "check")]
pub mod check;
mod codes;
mod diesel_source;
mod direct;
mod documented_lock;
mod embed;
mod error;
mod history;
mod import;
mod layout;
mod ledger;
mod leftovers;
mod location;
mod lock;
mod migrator;
pub mod online_change;
mod placeholders;
mod plan;
mod policy;
mod progress;
mod repair;
mod row_locks;
mod run;
pub mod schema;
mod segments;
mod session;
mod session_bound;
mod source;
mod split;
mod statement;
mod stats;
mod status;
mod waiting;

pub use embed::Embedded;
pub use error::{MigrationError, Place};
pub use history::{Applied, History};
pub use import::{Imported, import};
pub use layout::Layout;
pub use migrator::{Migrator, Step, Until};
pub use plan::{Plan, Planned, PlannedStatement};
pub use policy::{Accept, MigratorConfig};
pub use progress::Progress;
pub use repair::Repaired;
pub use source::{Migration, Migrations, Version};
pub use split::{Statement, split};
pub use stats::{Stats, TableStats};
pub use status::{Status, StatusEntry};

#[doc(hidden)]
pub use include_dir as __include_dir;
