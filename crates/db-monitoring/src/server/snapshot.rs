//! What is known of a server now: a section for each kind of thing, each with its age, or with why it is
//! not known.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Serialize;

use crate::SchemaLook;
use crate::server::database_sizes::KnownSizes;
use crate::server::{
    Access, Archiver, Backend, BgWriter, Checkpointer, DatabaseSize, DatabaseStats, Extension, IndexStats,
    IoStats, LockCount, LockStats, LockWait, PreparedTransaction, Progress, ReplicationLag,
    ReplicationPosition, Section, Sender, Sequence, ServerIdentity, ServerSetting, ServerStatement, Slot,
    StatementTexts, StatementsInfo, TableStats, Wal, WalReceiver,
};

/// Hands the parts of a [`Snapshot`] that are one for the server to a macro, so that a new part is named here
/// alone.
macro_rules! server_sections {
    ($then:ident) => {
        $then!(
            server,
            access,
            activity,
            locks,
            lock_waits,
            prepared,
            databases,
            database_sizes,
            bgwriter,
            checkpointer,
            io,
            wal,
            archiver,
            lock_stats,
            position,
            senders,
            receiver,
            lag,
            slots,
            progress,
            settings,
            statements,
            statements_info
        )
    };
}
pub(crate) use server_sections;

/// What is known of a server now. Cheap to clone: sections are shared.
///
/// The names in JSON are those of the fields here, and stay.
///
/// ```
/// use db_monitoring::server::Snapshot;
///
/// let nothing_yet = Snapshot::default();
/// assert!(nothing_yet.activity.get().is_err()); // never an empty list that would look like peace
/// assert!(serde_json::to_string(&nothing_yet)?.contains(r#""reason":"too_soon""#));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, Default, Serialize)]
#[non_exhaustive]
pub struct Snapshot {
    /// Which server it is of. Skipped where it does not answer: then it is down.
    pub server: Section<ServerIdentity>,
    /// What our role may see, and the databases.
    pub access: Section<Access>,
    /// Whether this process collects for the others, too; they keep to what each needs.
    pub is_leader: bool,
    /// What this server has no column for, as `pg_stat_activity.xmin_age`: there a figure that is absent is
    /// not known.
    pub missing_columns: Arc<BTreeSet<String>>,
    /// Who is connected, each second, without our own sessions.
    pub activity: Section<Vec<Backend>>,
    /// Locks by kind, each second.
    pub locks: Section<Vec<LockCount>>,
    /// Locks that somebody waits for, each second.
    pub lock_waits: Section<Vec<LockWait>>,
    /// Transactions that wait for the second phase of their commit.
    pub prepared: Section<Vec<PreparedTransaction>>,
    /// Counters of each database.
    pub databases: Section<Vec<DatabaseStats>>,
    /// The size of each database.
    pub database_sizes: Section<Vec<DatabaseSize>>,
    /// The background writer.
    pub bgwriter: Section<BgWriter>,
    /// Checkpoints, whichever view they are in.
    pub checkpointer: Section<Checkpointer>,
    /// Reads and writes; from 16 on.
    pub io: Section<Vec<IoStats>>,
    /// What was logged.
    pub wal: Section<Wal>,
    /// The archiver.
    pub archiver: Section<Archiver>,
    /// Waits for locks since the server's start; from 19 on.
    pub lock_stats: Section<Vec<LockStats>>,
    /// How far this server's log is, each second.
    pub position: Section<ReplicationPosition>,
    /// Who gets the log from here, each second.
    pub senders: Section<Vec<Sender>>,
    /// Where a standby gets it, each second; not applicable on a primary.
    pub receiver: Section<WalReceiver>,
    /// How far behind standbys are, each second.
    pub lag: Section<ReplicationLag>,
    /// Who holds the log back.
    pub slots: Section<Vec<Slot>>,
    /// What takes long and is under way.
    pub progress: Section<Vec<Progress>>,
    /// The server's settings.
    pub settings: Section<Vec<ServerSetting>>,
    /// What `pg_stat_statements` counts.
    pub statements: Section<Vec<ServerStatement>>,
    /// How well it keeps up.
    pub statements_info: Section<StatementsInfo>,
    /// The texts of the statements that were seen, in their normal form.
    pub statement_texts: Arc<StatementTexts>,
    /// What was known of the sizes when they were asked for last.
    #[serde(skip)]
    pub(crate) known_sizes: KnownSizes,
    /// What there is of each database that is looked into.
    pub by_database: BTreeMap<String, DatabaseSnapshot>,
}

/// What is known of one database.
#[derive(Debug, Clone, Default, Serialize)]
#[non_exhaustive]
pub struct DatabaseSnapshot {
    /// Its tables.
    pub tables: Section<Vec<TableStats>>,
    /// Their indexes.
    pub indexes: Section<Vec<IndexStats>>,
    /// Its sequences.
    pub sequences: Section<Vec<Sequence>>,
    /// Its extensions.
    pub extensions: Section<Vec<Extension>>,
    /// Its keys, definitions, leftovers and bloat. What of it could not be read says so itself.
    #[serde(skip)]
    pub schema: Section<SchemaLook>,
}
