//! The rows that are read of each view, under the names that the manual gives them.

mod activity;
mod counters;
mod progress;
mod relations;
mod replication;
mod settings;
mod statements;

pub use activity::{Backend, LockCount, LockWait, PreparedTransaction};
pub(crate) use counters::OldCheckpointer;
pub use counters::{Archiver, BgWriter, Checkpointer, DatabaseSize, DatabaseStats, IoStats, LockStats, Wal};
pub use progress::Progress;
pub(crate) use progress::progress_sql;
pub use relations::{Extension, IndexStats, Sequence, TableStats};
pub use replication::{ReplicationPosition, Sender, Slot, WalReceiver};
pub use settings::ServerSetting;
pub use statements::{ServerStatement, StatementTexts, StatementsInfo};
