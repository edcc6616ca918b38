//! Everything between a Rust service and PostgreSQL: the one place where the crates of db-platform meet.
#![doc = include_str!("../README.md")]

#[cfg(feature = "alerts")]
mod alerting;
#[cfg(feature = "backup")]
mod backup_dial;
mod breakers;
#[cfg(feature = "cache")]
mod cache_part;
#[cfg(feature = "cache")]
mod cached_loads;
mod config;
mod cursor;
mod db;
#[cfg(feature = "monitoring")]
mod figures;
mod ground;
mod health;
#[cfg(all(feature = "report", feature = "insight"))]
mod insight_pages;
#[cfg(all(feature = "collector", feature = "insight"))]
mod insight_part;
mod loads;
mod one_read;
#[cfg(feature = "otel")]
mod part_metrics;
#[cfg(feature = "maintenance")]
mod partition_upkeep;
mod parts;
mod read;
#[cfg(feature = "maintenance")]
mod routine_upkeep;
mod servers;
mod settings;
mod transaction;
#[cfg(all(feature = "dashboard", any(feature = "maintenance", feature = "migrations")))]
mod upkeep_pages;
#[cfg(feature = "cache")]
mod warming;
#[cfg(feature = "monitoring")]
mod watched;
mod write;
mod write_batch;

#[cfg(feature = "backup")]
pub use backup_dial::BackupDial;
#[cfg(feature = "cache")]
pub use cache_part::DbCache;
pub use config::Config;
pub use db::Db;
#[cfg(feature = "maintenance")]
pub use db::Maintained;
#[cfg(feature = "cache")]
pub use db::{CachedMany, CachedValue};
pub use db_core::{
    Class, Classify, Condition, DatabaseUrl, Endpoint, Environment, Error, Lsn, Once, Part, Result,
    ServerReport, SqlState, Work,
};
pub use db_notify::NotificationConfig;
pub use db_pool::{Connection, Drained};
pub use db_query::{Batch, BatchError, Returns, Rows, batch};
pub use db_replica_routing::{Freshness, Readiness, Session, Token, Topology, Written};
pub use db_retry::{
    Begin, BreakerConfig, BreakerState, BreakerStatus, BudgetStatus, CommitCounts, Isolation, Resolve,
    RetryConfig, RetryCounts,
};
#[cfg(feature = "schedule")]
pub use db_schedule::AdvisoryLease;
#[cfg(feature = "monitoring")]
pub use figures::{Metrics, ServerFigures};
pub use health::{Health, Liveness, PoolHealth};
#[cfg(all(feature = "report", feature = "insight"))]
pub use insight_pages::InsightPages;
#[cfg(feature = "maintenance")]
pub use partition_upkeep::partitions_of;
pub use parts::PartStatus;
pub use read::ReadBuilder;
#[cfg(feature = "maintenance")]
pub use routine_upkeep::with_bloat;
pub use servers::primary_of;
pub use settings::{configuration_page, settings_from_env, settings_from_vars};
pub use transaction::TransactionBuilder;
#[cfg(all(feature = "dashboard", any(feature = "maintenance", feature = "migrations")))]
pub use upkeep_pages::with_upkeep;
#[cfg(feature = "cache")]
pub use warming::CacheWarming;
pub use write::WriteBuilder;

#[cfg(feature = "backup")]
pub use db_backup as backup;
#[cfg(feature = "cache")]
pub use db_cache as cache;
#[cfg(feature = "insight")]
pub use db_insight as insight;
#[cfg(feature = "maintenance")]
pub use db_maintenance as maintenance;
#[cfg(feature = "migrations")]
pub use db_migrations as migrations;
#[cfg(feature = "monitoring")]
pub use db_monitoring as monitoring;
#[cfg(feature = "schedule")]
pub use db_schedule as schedule;
#[cfg(feature = "seeds")]
pub use db_seeds as seeds;
pub use {
    db_core as core, db_loader as loader, db_notify as notify, db_pool as pool, db_query as query,
    db_replica_routing as replica_routing, db_retry as retry,
};

/// The pages whose Rust blocks must compile.
#[cfg(doctest)]
mod pages {
    #[doc = include_str!("../../../README.md")]
    struct Front;
    #[doc = include_str!("../../../docs/getting-started.md")]
    struct GettingStarted;
    #[cfg(feature = "migrations")]
    #[doc = include_str!("../../../docs/moving-a-service.md")]
    struct MovingAService;
    #[cfg(feature = "dashboard")]
    #[doc = include_str!("../../../docs/dashboard.md")]
    struct Dashboard;
    #[cfg(feature = "maintenance")]
    #[doc = include_str!("../../../docs/partitions.md")]
    struct PartitionsPage;
    #[cfg(feature = "cache")]
    #[doc = include_str!("../../../docs/cache-relay.md")]
    struct CacheRelay;
}
