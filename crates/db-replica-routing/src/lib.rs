//! Sends reads to standbys that are alive and fresh enough, else to the primary.
#![doc = include_str!("../README.md")]

mod alarm;
mod config;
mod freshness;
mod monitor;
mod node;
mod positions;
mod reader;
mod router;
mod topology;

pub use alarm::LinkAlarm;
pub use config::RouterConfig;
pub use freshness::Freshness;
pub use reader::{Reader, Routed};
pub use router::{Purpose, Router};
pub use topology::{NodeStatus, Topology};
