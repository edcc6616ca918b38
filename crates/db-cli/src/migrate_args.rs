//! The command line of `dbctl migrate`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Subcommand, ValueEnum, ValueHint};
use db_platform::migrations::{Accept, MigrationError, Migrations, MigratorConfig};

use crate::change_args::{Contract, Expand};

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
        /// No further than this version. Repeatable migrations wait for a run that applies everything.
        #[arg(long, value_name = "VERSION")]
        to: Option<String>,
        /// No more than so many.
        #[arg(long, value_name = "N", conflicts_with = "to", value_parser = clap::value_parser!(u32).range(1..))]
        steps: Option<u32>,
        #[command(flatten)]
        policy: Policy,
        #[command(flatten)]
        locks: Locks,
    },
    /// Print which migrations are applied, and which are not as they should be.
    Status(Source),
    /// Look at every file and at what is applied of them, and print all that is wrong; changes nothing.
    ///
    /// What `plan` and `apply` would refuse is named, and so is what a down.sql cannot have. What is pending
    /// is not wrong. Exit status 3 where something is.
    Validate {
        #[command(flatten)]
        source: Source,
        #[command(flatten)]
        policy: Policy,
    },
    /// Undo the newest applied migrations; APP_ENV must say where this is, else a person at a terminal is
    /// asked.
    Undo {
        #[command(flatten)]
        source: Source,
        /// How many.
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
        count: u32,
        #[command(flatten)]
        locks: Locks,
    },
    /// Undo the newest applied migration and apply it again; APP_ENV must say where this is, else a person is
    /// asked.
    Redo(Source),
    /// Drop everything and apply all migrations; in development and test only (APP_ENV).
    ///
    /// Where APP_ENV is not set, a person at a terminal is asked for the database's name; elsewhere it is
    /// refused. --yes does not stand in for either.
    Reset {
        #[command(flatten)]
        source: Source,
        /// Yes, drop everything that is in this database.
        #[arg(long, required = true)]
        yes: bool,
    },
    /// Accept what `plan` complains of: edited migrations as they are now, and forget versions that have no
    /// file.
    Repair {
        #[command(flatten)]
        source: Source,
        /// The versions; without any, every edited one is accepted and none is forgotten.
        versions: Vec<String>,
    },
    /// Record every migration up to VERSION as applied without running it: for a database that is older than
    /// them.
    Baseline {
        #[command(flatten)]
        source: Source,
        /// The newest version that the database has already.
        version: String,
    },
    /// Play every migration up, down and up on a real server, and say what was lost, locked, rewritten and
    /// read.
    ///
    /// Starts a throw-away server, unless --database-url or --url-file names one; there it makes databases of
    /// its own and drops them. One bad migration does not stop the others. Exit status 3 where something must
    /// be repaired: what stops writers, loses data or breaks the code that still runs.
    /// `-- check-ignore RULE: reason` in the file accepts a finding.
    Check(Check),
    /// Compare the database with what its applied migrations make on a throw-away server, and with schema.rs.
    ///
    /// Reads only. Exit status 3 where they differ.
    Drift(Drift),
    /// Read files of SQL for what is dangerous, without a database. Exit status 3 where something was found.
    Lint(Lint),
    /// List the rules of `check` and `lint`: what each finds, why it matters, and what to write instead.
    Rules {
        /// One rule by its name.
        rule: Option<String>,
        /// As the page docs/migration-rules.md.
        #[arg(long, conflicts_with = "rule")]
        markdown: bool,
    },
    /// Copy the migrations of Flyway, golang-migrate, sqlx or dbmate into directories of ours; the order
    /// stays.
    ///
    /// Nothing is changed where they are. A database that has them already is told so afterwards:
    /// `dbctl migrate baseline` with the newest version.
    Import {
        /// The directory of the other tool's migrations.
        #[arg(value_name = "FROM", value_hint = ValueHint::DirPath)]
        from: PathBuf,
        #[command(flatten)]
        source: Source,
    },
    /// Write the migration that adds to a table beside the application: docs/online-changes.md has each.
    ///
    /// Looks at the table in the database, changes nothing there, and prints what comes next.
    Expand {
        #[command(flatten)]
        source: Source,
        #[command(subcommand)]
        change: Expand,
    },
    /// Write the migration that takes away what no code needs any more.
    Contract {
        #[command(flatten)]
        source: Source,
        #[command(subcommand)]
        change: Contract,
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
        /// Write the table that DB_COMMIT_MARKERS needs: transactions leave a row there, so that it is known
        /// also after a failover whether they committed. It is made in the schema of DB_MARKER_SCHEMA, else
        /// in public.
        #[arg(long, conflicts_with = "diff_schema")]
        commit_markers: bool,
    },
}

#[derive(clap::Args)]
pub(crate) struct Source {
    /// The directory of migrations, in diesel's layout.
    #[arg(long, default_value = "migrations", value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) dir: PathBuf,
    /// What stands for `${NAME}` in the files; without any, `${…}` is text like any other.
    #[arg(long = "placeholder", value_name = "NAME=VALUE", value_parser = placeholder)]
    placeholders: Vec<(String, String)>,
}

impl Source {
    /// Reads the directory, with values in the place of placeholders where there are some.
    pub(crate) fn migrations(&self) -> Result<Migrations, MigrationError> {
        let migrations = Migrations::read(&self.dir)?;
        match self.placeholders.is_empty() {
            true => Ok(migrations),
            false => migrations.with_placeholders(&self.placeholders.iter().cloned().collect()),
        }
    }
}

fn placeholder(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').filter(|(name, _)| !name.is_empty());
    let (name, value) = pair.ok_or_else(|| "write NAME=VALUE, as in owner=app".to_owned())?;
    Ok((name.to_owned(), value.to_owned()))
}

/// How long and how often locks are waited for.
#[derive(clap::Args, Clone, Copy, Default)]
pub(crate) struct Locks {
    /// How many milliseconds a statement waits for a table before everything is given back and tried again:
    /// so long may traffic on the table stop, 100 by default.
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u32).range(1..))]
    lock_timeout: Option<u32>,
    /// How often a transaction is tried whose tables are not free: 600 times by default, for about nine
    /// minutes.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    lock_attempts: Option<u32>,
}

impl Locks {
    /// A configuration with what is asked for.
    pub(crate) fn over(self, config: MigratorConfig) -> MigratorConfig {
        let timeout = self.lock_timeout.map(|milliseconds| Duration::from_millis(u64::from(milliseconds)));
        MigratorConfig {
            lock_timeout: timeout.unwrap_or(config.lock_timeout),
            lock_attempts: self.lock_attempts.unwrap_or(config.lock_attempts),
            ..config
        }
    }
}

#[derive(clap::Args)]
pub(crate) struct Check {
    #[command(flatten)]
    pub(crate) source: Source,
    /// Check these versions only; those before them are applied unchecked.
    #[arg(long, value_name = "VERSION", value_delimiter = ',', num_args = 1..)]
    pub(crate) only: Vec<String>,
    /// Check what has come since the merge base with this branch or commit, on top of what was there; needs
    /// git.
    #[arg(long, value_name = "REF", conflicts_with = "only")]
    pub(crate) from: Option<String>,
    /// The schema.rs of the service: what stood in it at --from must still be there, since old code runs on.
    #[arg(long, value_name = "FILE", requires = "from", value_hint = ValueHint::FilePath)]
    pub(crate) schema_rs: Option<PathBuf>,
    /// The major version of the server that is started; by default the one that is installed.
    #[arg(long, value_parser = clap::value_parser!(u16).range(14..=19))]
    pub(crate) pg: Option<u16>,
    /// SQL that fills the tables before the first migration that is checked, so that there are rows to lock
    /// and read.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) seed: Option<PathBuf>,
    /// The sizes of production's tables, as `dbctl stats export` writes them: what the locks would mean
    /// there.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) stats: Option<PathBuf>,
    /// Up to this version judge only the round trip: what has run everywhere is not indicted for its locks.
    #[arg(long, value_name = "VERSION")]
    pub(crate) start_after: Option<String>,
    /// SQL that runs before the first migration: roles and extensions that the migrations expect.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) before: Option<PathBuf>,
    /// Keep what is applied unchecked as a database on the server of --database-url or --url-file, and begin
    /// there the next time; the three that were used last stay.
    #[arg(long)]
    pub(crate) keep_base: bool,
    /// From which severity on the exit status is 3.
    #[arg(long, value_enum, default_value_t = FailOn::Error)]
    pub(crate) fail_on: FailOn,
    /// How the report is written.
    #[arg(long, value_enum, default_value_t = Format::Human, conflicts_with = "json")]
    pub(crate) format: Format,
}

#[derive(clap::Args)]
pub(crate) struct Drift {
    #[command(flatten)]
    pub(crate) source: Source,
    /// Compare with this schema.rs, too.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) schema_rs: Option<PathBuf>,
    /// SQL that runs before the first migration: roles and extensions that the migrations expect.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) before: Option<PathBuf>,
    /// The major version of the server that is started: that of the database.
    #[arg(long, value_parser = clap::value_parser!(u16).range(14..=19))]
    pub(crate) pg: Option<u16>,
}

#[derive(clap::Args)]
pub(crate) struct Lint {
    /// Files of SQL; of a directory every file that applies something (no down.sql); `-` is standard input.
    #[arg(required = true, value_hint = ValueHint::AnyPath)]
    pub(crate) files: Vec<PathBuf>,
    /// From which severity on the exit status is 3.
    #[arg(long, value_enum, default_value_t = FailOn::Warn)]
    pub(crate) fail_on: FailOn,
    /// The oldest major version of the server that it must run on.
    #[arg(long, value_name = "MAJOR", value_parser = clap::value_parser!(u16).range(11..=19))]
    pub(crate) pg_version: Option<u16>,
    /// The files run in a transaction that their text does not show.
    #[arg(long)]
    pub(crate) assume_in_transaction: bool,
    /// How the findings are written.
    #[arg(long, value_enum, default_value_t = Format::Human, conflicts_with = "json")]
    pub(crate) format: Format,
}

/// From which severity on something fails.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum FailOn {
    /// What stops writers or readers, loses data, or breaks the code that still runs.
    Error,
    /// Everything but notes.
    Warn,
    /// Nothing.
    Never,
}

impl From<FailOn> for db_platform::migrations::check::FailOn {
    fn from(wanted: FailOn) -> Self {
        match wanted {
            FailOn::Error => Self::Error,
            FailOn::Warn => Self::Warn,
            FailOn::Never => Self::Never,
        }
    }
}

/// How findings are written.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For a person.
    Human,
    /// One page for a pull request.
    Markdown,
    /// For code scanners.
    Sarif,
    /// For GitHub to show beside the changed lines.
    Github,
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
    /// Of those the ones that are newer than everything in the directory: an old release restarts beside a
    /// new one.
    Newer,
}

impl Policy {
    pub(crate) fn accepted(&self) -> Accept {
        Accept {
            edited: self.accept.contains(&Finding::Edited),
            out_of_order: self.accept.contains(&Finding::OutOfOrder),
            unknown: self.accept.contains(&Finding::Unknown),
            newer: self.accept.contains(&Finding::Newer),
        }
    }
}

impl Migrate {
    pub(crate) fn accepted(&self) -> Accept {
        match self {
            Migrate::Plan { policy, .. }
            | Migrate::Apply { policy, .. }
            | Migrate::Validate { policy, .. } => policy.accepted(),
            _ => Accept::default(),
        }
    }

    pub(crate) fn locks(&self) -> Locks {
        match self {
            Migrate::Apply { locks, .. } | Migrate::Undo { locks, .. } => *locks,
            _ => Locks::default(),
        }
    }
}
