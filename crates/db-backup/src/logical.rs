//! Logical backups: dumps by pg_dump, in the same repository as the physical ones, and restored selectively.
//!
//! pg_dump does not compress: its own containers notice no flipped bit, and its gzip is slower than all the
//! rest. Chunks are compressed, sealed and hashed here. Rows are counted in the dump's own snapshot, so that
//! a restore can be compared.

mod counts;
mod dump;
mod restore;
mod work;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use db_core::DatabaseUrl;
use serde::{Deserialize, Serialize};

use crate::WriterOptions;
use crate::manifest::Summary;
use crate::session::{Dial, Plain};

pub use dump::dump;
pub(crate) use restore::restore_without;
pub use restore::{RestoredDump, restore};

/// The rows of each table, by `schema.table`.
pub type RowCounts = BTreeMap<String, u64>;

/// The note of a manifest that holds the rows of each database's tables.
pub(crate) const ROWS: &str = "rows";

/// The note of a manifest that says what the dump could not see or does not hold.
const UNSEEN: &str = "unseen";

/// What a dump could not see or does not hold, in words.
pub fn unseen(summary: &Summary) -> Vec<String> {
    let noted = summary.notes.get(UNSEEN).cloned();
    noted.and_then(|noted| serde_json::from_value(noted).ok()).unwrap_or_default()
}

/// The file of the roles and tablespaces.
pub(crate) const GLOBALS: &str = "globals.sql";

/// What is dumped.
#[derive(Clone)]
pub struct DumpConfig {
    /// The server, and a database to connect to first.
    pub url: DatabaseUrl,
    /// How a session's bytes get there.
    pub dial: Arc<dyn Dial>,
    /// The databases; none means the URL's.
    pub databases: Vec<String>,
    /// Tables as pg_dump's `--table` takes them; none means all.
    pub tables: Vec<String>,
    /// How many tables are dumped at a time.
    pub jobs: usize,
    /// Whether each table's rows are counted, which reads each table a second time.
    pub count_rows: bool,
    /// Where the dump lies before it is stored: it needs the room of the largest database's rows.
    pub work_directory: PathBuf,
    /// The directory of PostgreSQL's programs; `None` looks for those of the server's version.
    pub programs: Option<PathBuf>,
    /// What the operator calls it.
    pub label: Option<String>,
    /// How hard it is compressed, and by how many threads.
    pub writer: WriterOptions,
}

/// What is restored of a dump, and to where.
#[derive(Clone)]
pub struct RestoreDumpConfig {
    /// The server, and a database to connect to first.
    pub url: DatabaseUrl,
    /// How a session's bytes get there.
    pub dial: Arc<dyn Dial>,
    /// The database of the dump; `None` where it has only one.
    pub database: Option<String>,
    /// The database that is made for it. It must not exist.
    pub into: String,
    /// Tables, as pg_restore's `--table` takes them; none means all.
    pub tables: Vec<String>,
    /// How many tables are restored at a time.
    pub jobs: usize,
    /// Where the dump lies while it is restored.
    pub work_directory: PathBuf,
    /// The directory of PostgreSQL's programs; `None` looks for those of the server's version.
    pub programs: Option<PathBuf>,
}

/// Tables whose rows are not as many as the manifest says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Miscount {
    /// The table.
    pub table: String,
    /// The rows when it was dumped.
    pub dumped: u64,
    /// The rows that were restored; `None` where the table is missing.
    pub restored: Option<u64>,
}

impl fmt::Display for Miscount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Miscount { table, dumped, restored } = self;
        match restored {
            Some(rows) => write!(f, "{table} has {rows} rows, and had {dumped} when it was dumped"),
            None => write!(f, "{table} is missing, and had {dumped} rows when it was dumped"),
        }
    }
}

impl DumpConfig {
    /// Whether rows are counted: those of a choice of tables are not.
    fn counts(&self) -> bool {
        self.count_rows && self.tables.is_empty()
    }

    /// The URL's database, with counts, two tables at a time.
    pub fn new(url: DatabaseUrl, work_directory: impl Into<PathBuf>) -> Self {
        DumpConfig {
            url,
            dial: Arc::new(Plain),
            databases: Vec::new(),
            tables: Vec::new(),
            jobs: 2,
            count_rows: true,
            work_directory: work_directory.into(),
            programs: None,
            label: None,
            writer: WriterOptions::default(),
        }
    }
}

impl RestoreDumpConfig {
    /// All of a dump that has one database, into a new database.
    pub fn new(url: DatabaseUrl, into: impl Into<String>, work_directory: impl Into<PathBuf>) -> Self {
        RestoreDumpConfig {
            url,
            dial: Arc::new(Plain),
            database: None,
            into: into.into(),
            tables: Vec::new(),
            jobs: 2,
            work_directory: work_directory.into(),
            programs: None,
        }
    }
}
