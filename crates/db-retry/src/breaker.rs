//! Stops asking a server that does not answer, and finds out by itself when it is back.

mod config;
mod connection;
mod guarded;
mod machine;
mod probe;
mod through;
mod window;

pub use config::BreakerConfig;
pub use connection::GuardedConnection;
pub use guarded::{BreakerChange, BreakerStatus, Guarded};
pub use machine::BreakerState;
pub use through::Through;
