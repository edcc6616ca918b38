//! The command line of `dbctl wal`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueHint};

use crate::backup_args::{Of, duration};

const PUSH_HELP: &str = "In postgresql.conf:
  archive_mode = on
  archive_command = 'dbctl --settings /etc/dbctl.env wal push %p'

Exit status 0 only once the file is in the repository for good; 1 otherwise, and the server tries again. Another file under \
the same name is refused.";

const FETCH_HELP: &str = "In postgresql.conf, written there by `dbctl backup restore`:
  restore_command = 'dbctl --settings /etc/dbctl.env wal fetch %f %p'

Exit status 0 the file is there; 1 the repository says that there is no such file, and recovery ends; 200 anything else, \
and the server stops instead of taking writes with a part of the log missing.

It starts itself once more, to fetch the next segments while the server replays.";

const RECEIVE_HELP: &str = "Run it beside archive_command, as a service of its own: both store the same files. To make each \
commit wait until it is stored, name it on the server: synchronous_standby_names = 'dbctl'. While nobody receives, such \
commits wait.";

#[derive(Subcommand)]
pub(crate) enum Wal {
    /// Put a file of the write-ahead log into the repository: the server's archive_command.
    #[command(after_help = PUSH_HELP)]
    Push(Push),
    /// Get a file of the write-ahead log out of the repository: the server's restore_command.
    #[command(after_help = FETCH_HELP)]
    Fetch(Fetch),
    /// Receive the log as the server writes it, so that a crash of the server loses milliseconds; until
    /// SIGTERM.
    #[command(after_help = RECEIVE_HELP)]
    Receive(Receive),
    /// Whether the archive is whole, and how far it is behind the server; exit status 4 where somebody must
    /// look.
    Status(Status),
}

#[derive(Args)]
pub(crate) struct Push {
    /// The file, %p.
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) path: PathBuf,
    /// Where marks of what was pushed ahead are kept.
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) spool: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct Fetch {
    /// The file's name, %f.
    pub(crate) name: String,
    /// Where it goes, %p.
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) path: PathBuf,
    /// Where segments lie that are fetched ahead; a directory in pg_wal if it is not given.
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) spool: Option<PathBuf>,
    /// Fetch ahead until the server asks for nothing more: how this command starts itself.
    #[arg(long, hide = true)]
    pub(crate) refill: bool,
}

#[derive(Args)]
pub(crate) struct Receive {
    /// The replication slot; made where there is none. The server keeps the log for it while nobody receives.
    #[arg(long, value_name = "NAME", default_value = "dbctl")]
    pub(crate) slot: String,
    /// How long bytes may wait for others before they are stored.
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "50ms")]
    pub(crate) every: Duration,
}

#[derive(Args)]
pub(crate) struct Status {
    /// A finished segment may be missing for so long.
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "60s")]
    pub(crate) late_after: Duration,
    /// Look at the repository only: ask no server.
    #[arg(long)]
    pub(crate) offline: bool,
    #[command(flatten)]
    pub(crate) of: Of,
}
