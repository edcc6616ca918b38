//! Real PostgreSQL clusters, test databases and faults for tests.
#![doc = ""]
#![doc = include_str!("../README.md")]

mod address;
mod at_commit;
mod background;
mod balancer;
mod cancel;
pub mod claims;
mod cluster;
mod database;
mod debian;
mod error;
#[cfg(feature = "otel")]
mod exported;
mod faulty;
mod hub;
mod names;
mod own_thread;
mod pgbouncer;
mod proxy;
mod redis;
mod restored;
mod server;
pub mod skip;
mod source;
mod sweep;
mod template;
mod until;
mod wrapper;

pub use at_commit::{AtCommit, at_commit};
pub use balancer::Balancer;
pub use cancel::{Polled, cancel_at_each_poll, poll_times};
pub use cluster::{Cluster, ClusterBuilder};
pub use database::TestDatabase;
pub use db_server::{PoolMode, Stop};
pub use debian::Debian;
pub use error::TestkitError;
#[cfg(feature = "otel")]
pub use exported::{Exported, Figure, Kind};
pub use faulty::{Faulty, fail_each, fail_from_each};
pub use pgbouncer::PgBouncer;
pub use proxy::{CommitCut, Counters, Direction, Exchange, Proxy};
pub use redis::{Redis, RedisCluster};
pub use restored::Restored;
pub use server::password;
pub use source::Source;
pub use until::until;
pub use wrapper::assert_passes_on;
