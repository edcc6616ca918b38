//! Backups in a repository that is encrypted, verified, and readable without this program.
#![doc = include_str!("../README.md")]

mod audit;
mod backup_id;
mod buffers;
mod check;
mod chunk;
mod cluster;
#[cfg(feature = "simulation")]
pub mod conformance;
mod container;
mod copy;
mod draft;
mod error;
mod expire;
mod finding;
mod hold;
#[cfg(feature = "import")]
pub mod import;
mod inside;
mod instance;
#[cfg(feature = "schedule")]
mod job_lease;
mod keys;
mod lease;
pub mod logical;
mod losses;
mod manifest;
mod manifest_object;
mod opened;
mod physical_error;
mod programs;
mod progress;
mod reader;
pub mod rehearse;
mod repository;
pub mod restore;
mod retention;
mod seal;
pub mod session;
mod settings;
#[cfg(feature = "simulation")]
pub mod simulation;
mod store;
pub mod take;
mod verify;
mod verify_scope;
pub mod wal;
mod wal_gaps;
mod wal_name;
mod wal_page;
mod wal_store;
mod writer;

pub use audit::{AuditAction, AuditEntry};
pub use backup_id::{BackupId, InvalidBackupId};
pub use check::checks;
pub use chunk::{CHUNK_BYTES, ChunkId, ChunkRef, ChunkTable, Extent, InvalidChunkId, PackRef};
pub use cluster::{Backups, Cluster, DamagedBackup};
pub use copy::Copied;
pub use draft::Draft;
pub use error::{BackupError, Result};
pub use expire::{Expired, Expiry};
pub use finding::Finding;
pub use hold::Hold;
#[cfg(feature = "schedule")]
pub use job_lease::{JobLease, OpenCluster};
pub use keys::{Keys, Protection, RecoveryKey, WriterKey};
pub use lease::Lease;
pub use manifest::{
    BadPage, Figures, File, Kind, MANIFEST_FORMAT, Manifest, Root, ServerFacts, Summary, Tablespace,
    UnknownKind, WalRange, What,
};
pub use physical_error::PhysicalError;
pub use progress::{Observer, Progress};
pub use reader::{ChunkReader, Pieces};
pub use repository::Repository;
pub use retention::{Reason, RetentionPlan, RetentionPolicy, WalNeed};
#[cfg(feature = "import")]
pub use settings::ImportSettings;
#[cfg(feature = "schedule")]
pub use settings::ScheduleSettings;
pub use settings::{
    Compression, HookSettings, InvalidCompression, KeySettings, Provider, StoreSettings, UnknownProvider,
};
pub use store::{Limits, Object, Put, Store, Unsuitability};
pub use verify::{Verdict, VerifyOptions};
pub use verify_scope::{InvalidScope, VerifyScope};
pub use wal_name::{InvalidWalName, Segment, WalName};
pub use wal_page::SegmentHeader;
pub use wal_store::{StoredWal, WalPut};
pub use writer::{ChunkWriter, WriterOptions, WriterStatistics, Written};
