//! Sends writes to the node that takes them, and reads to standbys that are alive and fresh enough.
#![doc = include_str!("../README.md")]

mod admission;
mod backends;
mod balance;
mod cluster;
mod config;
mod consistency;
mod counts;
mod deadline;
mod ejection;
mod election;
#[cfg(feature = "axum")]
mod extract;
mod first_look;
mod freshness;
mod histories;
mod lag;
#[cfg(feature = "tower")]
mod layer;
mod lines;
mod lost_writes;
#[cfg(feature = "otel")]
mod metrics;
mod moment;
mod monitor;
mod node;
mod nodes;
mod pace;
#[cfg(feature = "patroni")]
mod patroni;
mod positions;
mod probe;
mod purpose;
mod reader;
mod routed;
mod router;
mod rule;
mod seen;
mod session;
mod session_commit;
#[cfg(feature = "redis")]
mod session_store;
mod settings;
mod signals;
mod token;
mod topology;
mod vitals;
mod waiting;
mod writer;
mod written;

pub use config::{EjectionConfig, Fallback, NodeConfig, Policy, RouterConfig};
pub use consistency::ReadConsistency;
pub use counts::ReadCounts;
pub use first_look::{ServerFacts, find_primary, find_primary_beside};
pub use freshness::Freshness;
#[cfg(feature = "tower")]
pub use layer::{OnError, PassOn, SessionLayer, SessionService};
pub use lost_writes::LostWrites;
#[cfg(feature = "patroni")]
pub use patroni::{InvalidPatroniUrl, PatroniUrl};
pub use purpose::Purpose;
pub use reader::Reader;
pub use routed::Routed;
pub use router::Router;
pub use session::Session;
pub use session_commit::SessionCommit;
#[cfg(feature = "redis")]
pub use session_store::SessionStore;
#[cfg(feature = "patroni")]
pub use settings::PatroniUrls;
pub use signals::Signals;
pub use token::{InvalidToken, Token};
pub use topology::{NodeStatus, Readiness, Topology};
pub use writer::Writer;
pub use written::Written;
