//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

/// Operates a PostgreSQL database: migrations and seeds.
///
/// The database is the one that DATABASE_DIRECT_URL or DATABASE_URL names; docs/configuration.md lists all variables.
/// Exit status: 0 done, 1 failed, 2 wrong usage, 130 interrupted.
#[derive(Parser)]
#[command(name = "dbctl", version)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) database: Database,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(clap::Args)]
pub(crate) struct Database {
    /// Read the database's URL from this file in place of the environment; keeps the password off the command line.
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) url_file: Option<PathBuf>,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Apply, undo and inspect migrations.
    #[command(subcommand)]
    Migrate(Migrate),
    /// Fill the database with a set of seeds; refused in production.
    Seed(Seed),
}

#[derive(Subcommand)]
pub(crate) enum Migrate {
    /// Print what `apply` would run; changes nothing.
    Plan(Source),
    /// Apply what is pending, in order, under a lock.
    Apply(Source),
    /// Print which migrations are applied.
    Status(Source),
    /// Undo the newest applied migrations.
    Undo {
        #[command(flatten)]
        source: Source,
        /// How many.
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
        count: u32,
    },
    /// Undo the newest applied migration and apply it again.
    Redo(Source),
}

#[derive(clap::Args)]
pub(crate) struct Source {
    /// The directory of migrations, in diesel's layout.
    #[arg(long, default_value = "migrations", value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(clap::Args)]
pub(crate) struct Seed {
    /// The set: a directory below DIR, such as dev, test or staging.
    pub(crate) name: String,
    /// The directory of all sets.
    #[arg(long, default_value = "seeds", value_name = "DIR")]
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
    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}
