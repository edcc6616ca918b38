//! The command line of `dbctl migrate`.

use std::path::PathBuf;

use clap::{Subcommand, ValueEnum, ValueHint};
use db_platform::migrations::Accept;

#[derive(Subcommand)]
pub(crate) enum Migrate {
    /// Print what `apply` would run, with each statement's lock; changes nothing.
    Plan {
        #[command(flatten)]
        source: Source,
        #[command(flatten)]
        policy: Policy,
        /// Exit with status 3 where something is pending.
        #[arg(long)]
        exit_code: bool,
    },
    /// Apply what is pending, in order, under a lock.
    Apply {
        #[command(flatten)]
        source: Source,
        #[command(flatten)]
        policy: Policy,
    },
    /// Print which migrations are applied, and which are not as they should be.
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
    /// Drop everything and apply all migrations; in development and test only (APP_ENV).
    Reset {
        #[command(flatten)]
        source: Source,
        /// Yes, drop everything that is in this database.
        #[arg(long, required = true)]
        yes: bool,
    },
    /// Accept what `plan` complains of: edited migrations as they are now, and forget versions that have no file.
    Repair {
        #[command(flatten)]
        source: Source,
        /// The versions; without any, every edited one is accepted and none is forgotten.
        versions: Vec<String>,
    },
    /// Record every migration up to VERSION as applied without running it: for a database that is older than them.
    Baseline {
        #[command(flatten)]
        source: Source,
        /// The newest version that the database has already.
        version: String,
    },
    /// Make the directory of a new migration.
    New {
        #[command(flatten)]
        source: Source,
        /// What it does, such as create_users.
        name: String,
        /// Write what leads from the database to this schema.rs, and back.
        #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        diff_schema: Option<PathBuf>,
    },
}

#[derive(clap::Args)]
pub(crate) struct Source {
    /// The directory of migrations, in diesel's layout.
    #[arg(long, default_value = "migrations", value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) dir: PathBuf,
}

#[derive(clap::Args)]
pub(crate) struct Policy {
    /// Let these findings be, which are errors otherwise.
    #[arg(long, value_delimiter = ',', value_name = "FINDING")]
    accept: Vec<Finding>,
}

/// What is an error unless it is accepted.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Finding {
    /// Applied migrations whose up.sql was edited since.
    Edited,
    /// Pending migrations that come before applied ones.
    OutOfOrder,
    /// Applied migrations that are not in the directory.
    Unknown,
}

impl Policy {
    pub(crate) fn accepted(&self) -> Accept {
        Accept {
            edited: self.accept.contains(&Finding::Edited),
            out_of_order: self.accept.contains(&Finding::OutOfOrder),
            unknown: self.accept.contains(&Finding::Unknown),
        }
    }
}

impl Migrate {
    pub(crate) fn source(&self) -> &Source {
        match self {
            Migrate::Status(source) | Migrate::Redo(source) => source,
            Migrate::Plan { source, .. }
            | Migrate::Apply { source, .. }
            | Migrate::Undo { source, .. }
            | Migrate::Reset { source, .. }
            | Migrate::Repair { source, .. }
            | Migrate::Baseline { source, .. }
            | Migrate::New { source, .. } => source,
        }
    }

    pub(crate) fn accepted(&self) -> Accept {
        match self {
            Migrate::Plan { policy, .. } | Migrate::Apply { policy, .. } => policy.accepted(),
            _ => Accept::default(),
        }
    }
}
