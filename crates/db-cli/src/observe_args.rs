//! The command line of `dbctl serve`, `report`, `top` and `mcp`.

use std::net::SocketAddr;
use std::path::PathBuf;
#[cfg(any(feature = "top", feature = "mcp"))]
use std::time::Duration;

use clap::{Args, ValueEnum, ValueHint};

#[cfg(any(feature = "top", feature = "mcp"))]
use crate::backup_args::duration;

#[derive(Args)]
pub(crate) struct Serve {
    /// Where the pages are served. Beyond loopback the token goes over the network in clear: put a proxy with
    /// TLS before it.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9189")]
    pub(crate) listen: SocketAddr,
    /// Read the token from this file in place of DASHBOARD_TOKEN. Without either one is made for this run,
    /// and printed.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) token_file: Option<PathBuf>,
    /// Let people cancel statements and end sessions from the pages. Each is logged.
    #[arg(long)]
    pub(crate) allow_actions: bool,
    /// Look into all databases of the server that the role may connect to, not only that of the URL.
    #[arg(long)]
    pub(crate) all_databases: bool,
}

#[derive(Args)]
pub(crate) struct Report {
    /// In which form.
    #[arg(long, value_enum, default_value = "text")]
    pub(crate) format: Format,
    /// Write to this file in place of standard output.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) out: Option<PathBuf>,
    /// Say how each figure changed since the report in this file, in JSON.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) compare: Option<PathBuf>,
    /// Look into all databases of the server that the role may connect to, not only that of the URL.
    #[arg(long)]
    pub(crate) all_databases: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For a terminal or an e-mail.
    Text,
    /// One file, with its plots.
    Html,
    /// For programs: its names stay.
    Json,
}

#[cfg(feature = "top")]
#[derive(Args)]
pub(crate) struct Top {
    /// How often it looks.
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = duration)]
    pub(crate) every: Duration,
}

#[cfg(feature = "mcp")]
#[derive(Args)]
pub(crate) struct Mcp {
    /// Offer a tool that runs one statement of the agent's own: in a read-only transaction, with a timeout,
    /// and at most 1,000
    /// rows. What a SELECT may call is up to the role: take one that may do little.
    #[arg(long)]
    pub(crate) allow_sql: bool,
    /// The longest that a statement of a tool may take.
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = duration)]
    pub(crate) statement_timeout: Duration,
}
