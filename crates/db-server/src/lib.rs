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
mod password;
mod patience;
mod pgbouncer;
mod place;
mod ports;
pub mod process;
mod redis;
mod redis_cluster;
mod redis_protocol;
mod replication;
mod server;
mod settings;
pub mod skip;
mod template;
mod wheels;

pub use account::Account;
pub use cluster::{Cluster, ClusterBuilder};
pub use dev_cluster::{DevCluster, DevData, DevDown, DevNode, DevState};
pub use error::{Error, Result};
pub use find::{Candidate, Finder, MAJORS, find, find_redis, is_fetchable};
pub use guardian::end_everything;
pub use install::{Install, Origin, PROGRAMS, Version};
pub use password::Password;
pub use patience::wait_until;
pub use pgbouncer::{PgBouncer, PgBouncerProgram, PoolMode, Upstream};
pub use place::Place;
pub use ports::free_port;
pub use redis::{Redis, RedisProgram};
pub use redis_cluster::RedisCluster;
pub use server::{Server, Stop};
pub use settings::ServerSettings;

/// The database that every cluster starts with.
pub const DATABASE: &str = "app";

/// The superuser of every cluster.
pub const SUPERUSER: &str = "postgres";

/// Reads a setting from the environment: the lookup that programs use, where tests pass their own.
pub fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
