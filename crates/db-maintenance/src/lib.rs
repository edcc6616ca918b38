//! Keeps a PostgreSQL schema in order: partitions, compaction, routine upkeep.
#![doc = include_str!("../README.md")]

pub mod compact;
mod error;
mod lock;
mod name;
pub mod partitions;
pub mod routine;
mod session;
mod settings;
#[cfg(feature = "part")]
mod upkeep;

pub use error::{MaintenanceError, Result};
pub use lock::Leader;
pub use name::TableName;
pub use session::{Check, Patience, Session};
pub use settings::{PartitionSettings, UpkeepSettings};
#[cfg(feature = "part")]
pub use upkeep::{FindBloat, OpenClient, Upkeep};
