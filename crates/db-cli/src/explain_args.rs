//! The command line of `dbctl explain`.

use std::path::PathBuf;

use clap::ValueHint;

#[derive(clap::Args)]
#[command(group = clap::ArgGroup::new("what").required(true))]
pub(crate) struct Explain {
    /// A stored plan, as EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) answers it, also as psql prints it; - is
    /// standard input.
    #[arg(long, value_name = "FILE", group = "what", value_hint = ValueHint::FilePath)]
    pub(crate) plan: Option<PathBuf>,
    /// A file with one statement, which is explained on the database; its parameters ($1) may stay: then the
    /// plan is the one for any values.
    #[arg(long, value_name = "FILE", group = "what", value_hint = ValueHint::FilePath)]
    pub(crate) sql: Option<PathBuf>,
    /// Run the statement and measure it, in a read-only transaction that is rolled back.
    #[arg(long, requires = "sql")]
    pub(crate) analyze: bool,
    /// With --analyze: run also what writes or locks rows. The rows are rolled back; numbers of sequences,
    /// bloat, locks until then, and what functions and triggers do outside the database remain.
    #[arg(long, requires = "analyze")]
    pub(crate) writes_too: bool,
    /// The value of the next parameter, as text; once for each.
    #[arg(long, value_name = "VALUE", requires = "sql")]
    pub(crate) param: Vec<String>,
    /// Ask the catalogue of the database about the plan's tables, too: which indexes there are, how old the
    /// statistics are. With --sql it is asked anyway.
    #[arg(long)]
    pub(crate) stats: bool,
    /// End with exit status 3 where something is found that is worse than info.
    #[arg(long)]
    pub(crate) exit_code: bool,
}
