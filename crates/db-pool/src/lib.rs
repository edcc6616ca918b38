//! A pool of PostgreSQL connections for diesel-async.
#![doc = include_str!("../README.md")]

mod adaptive;
mod alarm;
mod backoff;
mod baseline;
mod closing;
mod config;
mod confirm;
mod connection;
mod connector;
mod counters;
mod doubts;
mod failure;
mod gate;
mod harmless;
mod histogram;
mod hooks;
mod identity;
mod inner;
mod lease;
#[cfg(feature = "otel")]
mod metrics;
mod observers;
mod passfile;
mod pool;
mod returning;
mod role;
mod round_trip;
mod settings;
mod slot;
mod stall;
mod status;
#[cfg(feature = "tls")]
mod tls;
mod transport;
mod upkeep;
mod wanted;
mod watch;
mod wire;

pub use adaptive::AdaptiveConfig;
pub use config::{ConnectConfig, ConnectDefaults, PoolConfig, Reset};
pub use connection::Connection;
pub use connector::{Connector, PasswordError};
pub use harmless::HarmlessFunctions;
pub use histogram::Timings;
pub use pool::{Pool, Priority};
pub use settings::ReadPoolConfig;
pub use status::{Drained, StatementStatus, Status};
pub use transport::dial::open_stream;
