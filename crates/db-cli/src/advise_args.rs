//! The command line of `dbctl advise`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum, ValueHint};

use crate::backup_args::duration;
use crate::migrate_args::Source;

#[derive(Subcommand)]
pub(crate) enum Advise {
    /// Which indexes would help a workload, and which help nobody.
    ///
    /// Plans each statement on the database, and runs none. With --json it prints {"suggestions": [{"case",
    /// "index", "create", "gain", "confidence", …}], "drop": ["index_name", …]}. A gain is proven by HypoPG
    /// where the database has it; else it is by the planner's formulas, and less sure.
    Indexes(Indexes),
    /// Write the migrations of accepted advice, and check them as `dbctl migrate check` does.
    ///
    /// What `advise indexes --json` printed counts as accepted; take out what you do not want, or name what
    /// you want with
    /// --only. Each index gets a migration of its own. Exit status 3 where the check finds something.
    Apply(Apply),
    /// After the deploy: what was promised, and what came.
    ///
    /// Looks whether each index and each statistics of the advice is there, whether its statement uses it,
    /// and what that saves by the planner now. Runs no statement. Exit status 3 unless all that was
    /// promised came, within 20 %.
    Compare(Compare),
}

#[derive(Args)]
pub(crate) struct Apply {
    /// What `dbctl advise indexes --json` printed; - is standard input.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) advice: PathBuf,
    /// Only these: names of indexes and statistics, or ids of statements.
    #[arg(long, value_name = "NAME", value_delimiter = ',', num_args = 1..)]
    pub(crate) only: Vec<String>,
    #[command(flatten)]
    pub(crate) source: Source,
    /// Print the migrations and what the check says of them, and leave the directory as it is.
    #[arg(long)]
    pub(crate) plan: bool,
    /// The major version of the server that is started for the check; by default the one that is installed.
    #[arg(long, value_parser = clap::value_parser!(u16).range(14..=19))]
    pub(crate) pg: Option<u16>,
}

#[derive(Args)]
pub(crate) struct Compare {
    /// The advice that was accepted, as `dbctl advise indexes --json` printed it.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) advice: PathBuf,
    /// The workload that it was made for: advice keeps no statement.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) workload: PathBuf,
    /// Only these: names of indexes and statistics, or ids of statements.
    #[arg(long, value_name = "NAME", value_delimiter = ',', num_args = 1..)]
    pub(crate) only: Vec<String>,
}

#[derive(Args)]
pub(crate) struct Indexes {
    /// The workload: [{"id", "sql", "params": ["42", "'paid'"], "calls_per_day"}]. Parameters are as SQL
    /// writes them; all but sql may be absent. Without it, the statements that pg_stat_statements has as the
    /// dearest.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) workload: Option<PathBuf>,
    /// How many statements are taken from pg_stat_statements.
    #[arg(long, default_value_t = 200, value_name = "N", conflicts_with = "workload")]
    pub(crate) most: u32,
    /// Read a sample of the tables, about 30,000 rows of each, to advise statistics where the planner is
    /// wrong.
    #[arg(long)]
    pub(crate) sample: bool,
    /// How a gain is proven.
    #[arg(long, value_enum, default_value_t = How::Auto)]
    pub(crate) prove: How,
    /// How long --prove build may build; what it did not come to is advised by the planner's formulas, and
    /// named.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration)]
    pub(crate) build_within: Duration,
    /// The part of a statement's cost that must go.
    #[arg(long, default_value_t = 0.5, value_name = "SHARE")]
    pub(crate) least_gain: f64,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum How {
    /// By HypoPG where the database has it, else by the model.
    Auto,
    /// By the planner's formulas.
    Model,
    /// By building the indexes on temporary copies of the tables: reads all their rows, blocks no writer.
    Build,
}
