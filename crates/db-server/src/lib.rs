//! Finds, fetches, starts and stops PostgreSQL, Redis and PgBouncer servers.
#![doc = include_str!("../README.md")]

mod account;
mod apt;
mod cluster;
mod dev_cluster;
mod error;
pub mod fetch;
mod find;
mod guardian;
mod home;
mod install;
mod patience;
mod pgbouncer;
mod place;
mod ports;
pub mod process;
mod redis;
mod redis_cluster;
mod replication;
mod server;
mod settings;
mod template;

pub use account::Account;
pub use cluster::{Cluster, ClusterBuilder};
pub use dev_cluster::{DevCluster, DevNode, DevState};
pub use error::{Error, Result};
pub use find::{Candidate, Finder, find};
pub use guardian::end_everything;
pub use install::{Install, Origin, PROGRAMS, Version};
pub use patience::wait_until;
pub use pgbouncer::{PgBouncer, PgBouncerProgram, PoolMode, Upstream};
pub use place::Place;
pub use ports::free_port;
pub use redis::{Redis, RedisPrograms};
pub use redis_cluster::RedisCluster;
pub use server::{Server, Stop};
pub use settings::ServerSettings;

/// The database that every cluster starts with.
pub const DATABASE: &str = "app";

/// The superuser of every cluster.
pub const SUPERUSER: &str = "postgres";

/// The superuser's password: these servers listen on loopback only and hold nothing worth guarding.
pub const PASSWORD: &str = "postgres";

/// Reads a setting from the environment: the lookup that programs use, where tests pass their own.
pub fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
