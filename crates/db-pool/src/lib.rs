//! A pool of PostgreSQL connections for diesel-async.
#![doc = include_str!("../README.md")]

mod config;
mod connection;
mod connector;
mod pool;
mod preset;
mod status;
mod upkeep;
mod watch;

pub use config::{ConnectConfig, PoolConfig};
pub use connection::Connection;
pub use connector::Connector;
pub use pool::Pool;
pub use status::{Drained, Status};
