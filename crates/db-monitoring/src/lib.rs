//! What a service's statements cost it, measured where their bytes go by.
#![doc = include_str!("../README.md")]

#[cfg(feature = "alerts")]
pub mod alerts;
#[cfg(feature = "server")]
mod asker;
#[cfg(feature = "server")]
mod bloat;
#[cfg(feature = "server")]
mod blocking;
mod check;
#[cfg(feature = "server")]
pub mod checks;
mod config;
mod counts;
#[cfg(feature = "dashboard")]
pub mod dashboard;
mod log;
mod monitor;
#[cfg(feature = "otel")]
mod otel;
#[cfg(feature = "otlp")]
mod otlp;
#[cfg(feature = "prometheus")]
mod own_metrics;
#[cfg(feature = "report")]
pub mod panel;
mod pressure;
mod recent;
#[cfg(feature = "report")]
pub mod report;
#[cfg(feature = "server")]
mod schema_look;
#[cfg(feature = "report")]
mod sections;
#[cfg(feature = "server")]
pub mod server;
mod settings;
#[cfg(feature = "server")]
mod setup;
mod slow;
mod span;
mod statement;
mod statements;
mod trace;
#[cfg(feature = "server")]
mod visit;

#[cfg(feature = "server")]
pub use bloat::{Bloat, BloatKind};
#[cfg(feature = "server")]
pub use blocking::{BlockedHow, Blocker, BlockingNode, BlockingTree, LockOwner, WaitsFor};
pub use check::{CheckResult, Figure, Fix, OtherChecks, Subject, SubjectKind, amount};
pub use config::MonitoringConfig;
pub use counts::Counts;
#[cfg(feature = "server")]
pub use db_core::shown;
pub use monitor::Monitor;
#[cfg(feature = "otlp")]
pub use otlp::{OtlpError, OtlpMetrics};
#[cfg(feature = "prometheus")]
pub use own_metrics::OwnMetrics;
pub use pressure::{LookAtPools, PoolLoad};
pub use recent::{Recent, Span};
#[cfg(feature = "server")]
pub use schema_look::SchemaLook;
#[cfg(feature = "server")]
pub use setup::{ServerLog, SetupPlan, SetupStep};
pub use slow::SlowQuery;
pub use statement::StatementStats;
