//! What the server tells of itself, read on connections of our own that wait for nobody and are in nobody's
//! way.

mod access;
mod catalog;
mod collect;
mod collector;
mod database_sizes;
mod growth;
mod history;
mod identity;
mod lag;
mod prometheus;
pub(crate) mod record;
mod records;
#[cfg(feature = "axum")]
mod router;
mod section;
mod session;
mod skipped;
mod snapshot;
mod sql;
mod task;
mod text_at_hand;

pub use access::{Access, Database};
pub use catalog::Catalog;
pub use collect::Round;
pub use collector::{Collector, CollectorConfig, Databases};
pub use growth::{Grown, Growth};
pub use history::{HistoryConfig, HistoryPoint, LoadPart, RelationPoint, Resolution, Trend};
pub use identity::{ServerIdentity, ServerRole};
pub use lag::{Lag, LagState, Positions, ReplicationLag};
pub use prometheus::{METRICS_CONTENT_TYPE, metrics_text, metrics_text_at};
pub use record::{Cell, Field, Record};
pub use records::*;
#[cfg(feature = "axum")]
pub use router::{AlsoShown, metrics_router};
pub use section::Section;
pub use session::{Answer, OpenConnection, ServerSession};
pub use skipped::{SkipReason, Skipped};
pub use snapshot::{DatabaseSnapshot, Snapshot};
