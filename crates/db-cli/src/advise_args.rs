//! The command line of `dbctl advise`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum, ValueHint};

use crate::backup_args::duration;

#[derive(Subcommand)]
pub(crate) enum Advise {
    /// Which indexes would help a workload, and which help nobody.
    ///
    /// Plans each statement on the database, and runs none. With --json it prints {"suggestions": [{"case", "index",
    /// "create", "gain", "confidence", …}], "drop": ["index_name", …]}. A gain is proven by HypoPG where the database has it;
    /// else it is by the planner's formulas, and less sure.
    Indexes(Indexes),
}

#[derive(Args)]
pub(crate) struct Indexes {
    /// The workload: [{"id", "sql", "params": ["42", "'paid'"], "calls_per_day"}]. Parameters are as SQL writes them; all
    /// but sql may be absent.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) workload: PathBuf,
    /// How a gain is proven.
    #[arg(long, value_enum, default_value_t = How::Auto)]
    pub(crate) prove: How,
    /// How long --prove build may build; what it did not come to is advised by the planner's formulas, and named.
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
