//! The command line of `dbctl agent` and `dbctl notify`.

use std::net::SocketAddr;
use std::time::Duration;

use clap::{Args, Subcommand};

use crate::backup_args::duration;

#[derive(Args)]
pub(crate) struct Agent {
    /// Where metrics and the state of the jobs are answered; `off` for nowhere.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9188", value_parser = address)]
    pub(crate) metrics: MaybeAddress,
    /// Whose statistics are among the metrics: those of the server and of its own database, of all of its
    /// databases, or none.
    #[arg(long, value_name = "DATABASES", value_enum, default_value_t = Collect::Own)]
    pub(crate) collect: Collect,
    /// Write reports on the server into this directory: each hour, each day at 6:15 and each Monday at 6:45,
    /// in UTC, as HTML and JSON, compared with the one before of its kind. It keeps 48 hours, 31 days and 53
    /// weeks.
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    pub(crate) reports: Option<std::path::PathBuf>,
    /// How long a run may go on after SIGTERM before it is cancelled.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration)]
    pub(crate) grace: Duration,
    /// Run this job now, besides its times; can be given several times.
    #[arg(long, value_name = "JOB")]
    pub(crate) now: Vec<String>,
    /// Print the jobs and their next times, and end.
    #[arg(long)]
    pub(crate) plan: bool,
}

/// What `--collect` says.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Collect {
    /// Nothing.
    Off,
    /// The server, and tables and indexes of the URL's database.
    Own,
    /// The server, and tables and indexes of each database.
    All,
}

#[derive(Subcommand)]
pub(crate) enum Notify {
    /// Send a test message to every channel, and say of each whether it came through; exit status 3 where one
    /// did not.
    Test,
}

#[derive(Subcommand)]
pub(crate) enum Alerts {
    /// Send a test message to every channel, the way that alerts go; exit status 3 where one did not come
    /// through.
    Test,
    /// The incidents that are open, as the service has kept them in the schema dbp; exit status 3 where there
    /// is any.
    ///
    /// With --json it prints [{"incident", "key", "critical", "since", "title", "text", "facts"}].
    List,
}

/// What `--metrics` says: an address, or none.
fn address(text: &str) -> Result<MaybeAddress, String> {
    if text == "off" {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| "write ADDRESS:PORT, as in 127.0.0.1:9188, or off".to_owned())
}

/// Not an `Option` by name: clap would take that for an argument that may be missing.
pub(crate) type MaybeAddress = Option<SocketAddr>;
