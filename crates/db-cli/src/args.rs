//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueHint};

use crate::cache_args::Cache;
use crate::migrate_args::Migrate;

/// Operates a PostgreSQL database: migrations, seeds, sizes, and the cache before it.
///
/// The database is the one that DATABASE_DIRECT_URL or DATABASE_URL names; docs/configuration.md lists all variables.
#[derive(Parser)]
#[command(name = "dbctl", version, after_help = EXIT_STATUS, after_long_help = EXIT_STATUS)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) options: Options,
    #[command(subcommand)]
    pub(crate) command: Command,
}

pub(crate) const EXIT_STATUS: &str = "Exit status: 0 done; 1 failed or refused; 2 wrong usage; 3 something \
    was found (check, drift, lint, topology, cache stats, cache sample) or is pending (plan --exit-code); 130 interrupted.";

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Read the database's URL from this file in place of the environment; keeps the password off the command line.
    #[arg(long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with = "database_url")]
    pub(crate) url_file: Option<PathBuf>,
    /// The database's URL, in place of the environment. Without a password: others see the command line.
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) database_url: Option<String>,
    /// The schema of the tables that say which migrations are applied and which seeds are loaded, in place of
    /// DB_LEDGER_SCHEMA: where several schemas have such tables.
    #[arg(long, global = true, value_name = "SCHEMA")]
    pub(crate) ledger_schema: Option<String>,
    /// Print one JSON value on standard output, and errors as JSON on standard error.
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Apply, undo, inspect, write and check migrations.
    #[command(subcommand)]
    Migrate(Migrate),
    /// Fill the database with a set of seeds; refused in production.
    ///
    /// APP_ENV must say that this is not production; where it is not set, a person at a terminal is asked.
    Seed(Seed),
    /// Which server takes writes, and how the others are doing.
    ///
    /// Asks every server that DATABASE_URL, DATABASE_NODES, DATABASE_READ_URLS and PATRONI_URL name, as a service does. Exit
    /// status 3 where no server takes writes, one does not answer, or an old primary is still up.
    Topology,
    /// The cache's second tier: how it is, dropping what it holds, warming, and how right it is.
    ///
    /// The tier is the one that REDIS_URL names, and the entries those of CACHE_INSTALLATION: both as the services have
    /// them, or those of another environment are meant.
    #[command(subcommand)]
    Cache(Cache),
    /// What is known of a database's sizes.
    #[command(subcommand)]
    Stats(Stats),
    /// Print the completions for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Write the manual: the page of dbctl to standard output, or all pages into a directory.
    Man {
        /// The directory.
        #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
        out: Option<PathBuf>,
    },
}

#[derive(Subcommand)]
pub(crate) enum Stats {
    /// Print the sizes of all tables as JSON: what `migrate check --stats` reads. No data, no names but those of tables.
    Export {
        /// Write to this file in place of standard output.
        #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        out: Option<PathBuf>,
    },
}

#[derive(clap::Args)]
pub(crate) struct Seed {
    /// The set: a directory below DIR, such as dev, test or staging.
    pub(crate) name: String,
    /// The directory of all sets.
    #[arg(long, default_value = "seeds", value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) dir: PathBuf,
    /// Generate this many times the set's rows.
    #[arg(long, default_value_t = 1.0)]
    pub(crate) scale: f64,
    /// Generate from this number in place of the set's own.
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// Print what would be loaded; changes nothing.
    #[arg(long)]
    pub(crate) plan: bool,
}
