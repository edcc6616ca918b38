//! A pool of PostgreSQL connections for diesel-async.
#![doc = include_str!("../README.md")]

mod adaptive;
mod alarm;
mod backoff;
mod config;
mod connection;
mod connector;
mod counters;
mod gate;
mod histogram;
mod identity;
mod inner;
mod lease;
#[cfg(feature = "otel")]
mod metrics;
mod observers;
mod pool;
mod preset;
mod returning;
mod round_trip;
mod slot;
mod stall;
mod status;
#[cfg(feature = "tls")]
mod tls;
mod transport;
mod upkeep;
mod watch;
mod wire;

pub use adaptive::AdaptiveConfig;
pub use config::{ConnectConfig, PoolConfig, Reset};
pub use connection::Connection;
pub use connector::{Connector, PasswordError};
pub use histogram::Timings;
pub use pool::{Pool, Priority};
pub use status::{Drained, StatementStatus, Status};
