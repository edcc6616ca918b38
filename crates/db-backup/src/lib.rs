//! Backups in a repository that is encrypted, verified, and readable without this program.
#![doc = include_str!("../README.md")]

mod backup_id;
mod chunk;
mod error;
mod manifest;
mod wal_name;

pub use backup_id::{BackupId, InvalidBackupId};
pub use chunk::{CHUNK_BYTES, ChunkId, ChunkRef, ChunkTable, Extent, InvalidChunkId, PackRef};
pub use error::{BackupError, Result};
pub use manifest::{
    BadPage, File, Kind, MANIFEST_FORMAT, Manifest, Root, ServerFacts, Tablespace, UnknownKind, WalRange,
    What,
};
pub use wal_name::{InvalidWalName, Segment, WalName};
