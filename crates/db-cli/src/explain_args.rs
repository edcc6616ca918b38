//! The command line of `dbctl explain`.

use std::path::PathBuf;

use clap::ValueHint;

#[derive(clap::Args)]
#[command(group = clap::ArgGroup::new("what").required(true))]
pub(crate) struct Explain {
    /// A stored plan, as EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) answers it, also as psql prints it; - is standard input.
    #[arg(long, value_name = "FILE", group = "what", value_hint = ValueHint::FilePath)]
    pub(crate) plan: Option<PathBuf>,
    /// End with exit status 3 where something is found that is worse than info.
    #[arg(long)]
    pub(crate) exit_code: bool,
}
