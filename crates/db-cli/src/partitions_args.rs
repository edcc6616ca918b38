//! The command line of `dbctl partitions`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueHint};
use db_platform::maintenance::TableName;
use db_platform::maintenance::partitions::{Epoch, Every};

#[derive(Subcommand)]
pub(crate) enum Partitions {
    /// What there is to do for the sets of the policy, and what is held back and why. Changes nothing.
    ///
    /// For each partition that would go it prints its bounds, how many rows it has and the newest of them.
    /// Exit status 3 where something is to be done, or needs a person.
    #[command(after_help = POLICY, after_long_help = POLICY)]
    Plan(Kept),
    /// Do it: make the partitions that will be needed, take out those that have outlived their rows.
    ///
    /// Of several maintainers one works; the others say so and do nothing. A set that fails stops no other. A
    /// partition that goes is detached by one run, archived by the next, and dropped by a later one, after
    /// its archive was read back. Exit status 1 where a step failed, 3 where something needs a person, 5
    /// where another maintainer is at work.
    #[command(after_help = POLICY, after_long_help = POLICY)]
    Apply(Kept),
    /// How far ahead there are partitions, and when an insert will fail. Changes nothing.
    ///
    /// Exit status 3 where a row of now has no partition, rows are in a default partition, or a detaching was
    /// interrupted.
    Status(Kept),
    /// Make a plain table a partitioned one while it is written to.
    ///
    /// The table itself becomes the first partition, and no row is moved: a validated CHECK and a unique
    /// index are made beside the load, then names are swapped under one short exclusive lock. What speaks
    /// against it is said before anything is done. A conversion that was killed goes on where it was when it
    /// is started again; --abort undoes what was prepared. Exit status 3 of --plan where it would be refused.
    #[command(after_help = CONVERT)]
    Convert(Convert),
}

const POLICY: &str = "A policy is a file in TOML, named by --policy or PARTITION_POLICY:
  [[set]]
  table = \"app.events\"        # the partitioned table
  every = \"month\"             # day, week, month, quarter or year; or list = [[\"de\"], [\"fr\"]]; or \
  modulus = 8
  ahead = \"3 months\"          # how far ahead partitions are made
  retain = \"12 months\"        # without it rows are kept for ever
  archive = true              # to PARTITION_ARCHIVE_DIR, before anything is dropped
docs/partitions.md describes all of it, and the role to run it as.";

const CONVERT: &str = "Examples:
  dbctl partitions convert app.events --by created_at --every month --plan
  dbctl partitions convert app.events --by created_at --every month";

#[derive(Args)]
pub(crate) struct Kept {
    /// The policy, in place of PARTITION_POLICY.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) policy: Option<PathBuf>,
    /// Where rows go before their table is dropped, in place of PARTITION_ARCHIVE_DIR.
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) archive_dir: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct Convert {
    /// The table, as schema.table.
    pub(crate) table: TableName,
    /// The column whose ranges make the partitions: timestamptz, timestamp, date, uuid (version 7) or a
    /// number.
    #[arg(long, value_name = "COLUMN")]
    pub(crate) by: String,
    /// How long a partition lasts: day, week, month, quarter or year.
    #[arg(long, value_name = "INTERVAL")]
    pub(crate) every: Every,
    /// What a column that is a number counts since 1970.
    #[arg(long, value_enum)]
    pub(crate) epoch: Option<Counts>,
    /// Say what would be done and what speaks against it, and change nothing.
    #[arg(long, conflicts_with = "abort")]
    pub(crate) plan: bool,
    /// Undo what a conversion that was not done has prepared.
    #[arg(long)]
    pub(crate) abort: bool,
    /// A role whose functions may run here, where a superuser converts a table of that role's; can be given
    /// several times.
    #[arg(long, value_name = "ROLE")]
    pub(crate) trust: Vec<String>,
}

/// What `--epoch` says.
#[derive(Clone, Copy, clap::ValueEnum)]
pub(crate) enum Counts {
    /// As Unix counts.
    Seconds,
    /// As JavaScript counts.
    Milliseconds,
    /// As PostgreSQL counts.
    Microseconds,
}

impl From<Counts> for Epoch {
    fn from(counts: Counts) -> Self {
        match counts {
            Counts::Seconds => Epoch::Seconds,
            Counts::Milliseconds => Epoch::Milliseconds,
            Counts::Microseconds => Epoch::Microseconds,
        }
    }
}
