//! What a service's statements cost it, measured where their bytes go by.
#![doc = include_str!("../README.md")]

#[cfg(feature = "alerts")]
pub mod alerts;
mod check;
mod config;
mod counts;
#[cfg(feature = "dashboard")]
pub mod dashboard;
mod log;
mod monitor;
#[cfg(feature = "otel")]
mod otel;
#[cfg(feature = "prometheus")]
mod own_metrics;
#[cfg(feature = "report")]
pub mod panel;
mod pressure;
mod recent;
#[cfg(feature = "report")]
pub mod report;
#[cfg(feature = "report")]
mod sections;
#[cfg(feature = "server")]
pub mod server;
mod settings;
mod slow;
mod span;
mod statement;
mod statements;

pub use check::{CheckResult, Figure, Fix, OtherChecks, Subject, SubjectKind, amount};
pub use config::MonitoringConfig;
pub use counts::Counts;
pub use monitor::Monitor;
#[cfg(feature = "prometheus")]
pub use own_metrics::OwnMetrics;
pub use pressure::{LookAtPools, PoolLoad};
pub use recent::{Recent, Span};
pub use slow::SlowQuery;
pub use statement::StatementStats;
