//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueHint};

use crate::advise_args::Advise;
use crate::agent_args::{Agent, Alerts, Notify};
use crate::backfill_args::Backfill;
use crate::backup_args::Backup;
use crate::cache_args::Cache;
use crate::explain_args::Explain;
use crate::inspect_args::{Bloat, CheckServer, Monitor, Slow};
use crate::maintain_args::Maintain;
use crate::migrate_args::Migrate;
#[cfg(feature = "mcp")]
use crate::observe_args::Mcp;
#[cfg(feature = "top")]
use crate::observe_args::Top;
use crate::observe_args::{Report, Serve};
use crate::partitions_args::Partitions;
use crate::schema_args::SchemaPrint;
use crate::seed_args::Seed;
use crate::wal_args::Wal;

/// Operates a PostgreSQL database: backups, migrations, seeds, sizes, and the cache before it.
///
/// The database is the one that DATABASE_DIRECT_URL or DATABASE_URL names; docs/configuration.md lists all
/// variables.
#[derive(Parser)]
#[command(name = "dbctl", version, after_help = EXIT_STATUS, after_long_help = EXIT_STATUS)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) options: Options,
    #[command(subcommand)]
    pub(crate) command: Command,
}

pub(crate) const EXIT_STATUS: &str = "Exit status: 0 done; 1 failed or refused; 2 wrong usage; 3 something \
    was found (check, migrate check, drift, lint, topology, cache stats, cache sample, verify, rehearse), is \
    pending (plan, repeats --exit-code) or needs a person (partitions, maintain); of backup, wal and upkeep \
    also 4 the log has a gap, 5 somebody else has the lock, 6 the store, 7 the target is not safe; \
    130 interrupted.";

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Read the database's URL from this file in place of the environment; keeps the password off the command
    /// line.
    #[arg(long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with = "database_url")]
    pub(crate) url_file: Option<PathBuf>,
    /// Settings that the environment leaves out: lines of NAME=value. For archive_command, restore_command
    /// and cron.
    #[arg(long, global = true, value_name = "FILE", env = "DBCTL_SETTINGS", value_hint = ValueHint::FilePath)]
    pub(crate) settings: Option<PathBuf>,
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
    /// Fill columns of a large table in batches, beside the application.
    #[command(subcommand)]
    Backfill(Backfill),
    /// Fill the database: with a set of seeds, or with rows made for its schema; refused in production.
    ///
    /// `dbctl seed NAME` is short for `dbctl seed apply NAME`. APP_ENV must say that this is not production;
    /// where it is not set, a person at a terminal is asked.
    Seed(Seed),
    /// Keep tables in partitions: made ahead of time, taken out when their rows have outlived their use.
    #[command(subcommand)]
    Partitions(Partitions),
    /// Routine upkeep: vacuum, statistics, indexes, materialized views, as far as they need it.
    #[command(subcommand)]
    Maintain(Maintain),
    /// Take, look at, verify, restore and remove backups.
    #[command(subcommand)]
    Backup(Box<Backup>),
    /// Archive the write-ahead log, get it back, and see whether it is whole.
    #[command(subcommand)]
    Wal(Wal),
    /// Run what is due: backups, verification, rehearsals, expiry, partitions, at the times that the settings
    /// name.
    ///
    /// BACKUP_SCHEDULE and the others are cron expressions in BACKUP_TIME_ZONE. Of several agents one takes a
    /// backup; the others say why they wait. SIGTERM ends it in good order. Successes, failures and what has
    /// not run for too long go to NOTIFICATION_EMAIL and NOTIFICATION_WEBHOOK.
    Agent(Agent),
    /// What people are told of the database: try it, and see what is open.
    #[command(subcommand)]
    Alerts(Alerts),
    /// See whether messages come through.
    #[command(subcommand)]
    Notify(Notify),
    /// Which server takes writes, and how the others are doing.
    ///
    /// Asks every server that DATABASE_URL, DATABASE_NODES, DATABASE_READ_URLS and PATRONI_URL name, as a
    /// service does. Exit status 3 where no server takes writes, one does not answer, or an old primary is
    /// still up.
    Topology,
    /// The cache's second tier: how it is, dropping what it holds, warming, and how right it is.
    ///
    /// The tier is the one that REDIS_URL names, and the entries those of CACHE_INSTALLATION: both as the
    /// services have them, or those of another environment are meant.
    #[command(subcommand)]
    Cache(Cache),
    /// What is known of a database's sizes.
    #[command(subcommand)]
    Stats(Stats),
    /// Why a query is slow: its plan as a tree, with what is wrong at each node and what to do.
    ///
    /// Reads a stored plan without a database, or explains a statement on the one that DATABASE_URL names.
    /// With --json it prints {"tips": [{"code", "severity": "info|warning|critical", "node", "evidence",
    /// "fix"}]}. No value of a row or of the statement is printed.
    Explain(Explain),
    /// Report on the server: connections, statements, indexes, vacuum, locks, sizes, replication, settings.
    ///
    /// It only reads, on connections of its own that give up soon. With --json it prints the same as --format
    /// json.
    Report(Report),
    /// Serve pages about the server: its load, statements, locks, tables, indexes, replication.
    ///
    /// For services that do not mount the pages themselves. They are on this machine only unless --listen
    /// says otherwise, and nobody sees anything without the token: DASHBOARD_TOKEN or --token-file.
    Serve(Serve),
    /// Watch the server's sessions: those that run, those that wait, and those that block others.
    #[cfg(feature = "top")]
    Top(Top),
    /// Answer an agent's questions about the server by the Model Context Protocol, on standard input and
    /// output.
    ///
    /// Its tools only look: in a read-only transaction, with a timeout, and without values of statements.
    #[cfg(feature = "mcp")]
    Mcp(Mcp),
    /// Advice from a workload and the statistics.
    #[command(subcommand)]
    Advise(Advise),
    /// What is wrong with the server and what to do about it: 46 checks, each with its figures and its fix.
    ///
    /// Looks at connections, locks, statements, indexes, tables, vacuum, replication and settings, read-only
    /// and with short timeouts. What the role may not see, or the server does not have, is skipped and never
    /// ok. With --json it prints [{"id", "title", "status": "ok|warn|critical|skipped", "reason", "server",
    /// "subject", "evidence", "summary", "fix", "sql"}]. docs/checks.md describes each check.
    Check(CheckServer),
    /// Who waits for whose lock, as a tree: those at the roots block others and wait for nobody.
    ///
    /// With --json it prints the roots, each with "pid" or "prepared_transaction", "waits_for", "blocked_by",
    /// "victims" and "blocks", which holds those that wait for it.
    Locks,
    /// The statements that take most of the server's time, by pg_stat_statements. Texts have no constants.
    ///
    /// With --json it prints [{"query_id", "share_percent", "total_ms", "calls", "mean_ms", "max_ms", "rows",
    /// "statement"}].
    Slow(Slow),
    /// How much of each table and B-tree could be given back: an estimate that reads only statistics.
    ///
    /// Relations under 100 pages are left out, and what fillfactor keeps free is not bloat. With --json it
    /// prints [{"relation", "kind": "table|index", "bytes", "bloat_percent"}].
    Bloat(Bloat),
    /// Make a server ready to be watched.
    #[command(subcommand, alias = "monitoring")]
    Monitor(Monitor),
    /// Which requests of a trace repeat statements: N+1 queries, loops of writes, duplicates.
    ///
    /// Judges each trace by the code that a service runs, and needs no database. With --json it prints
    /// [{"id", "label": "n+1|loop_write|duplicate|ok", "findings"}].
    Repeats(Repeats),
    /// What the database holds: tables, columns, indexes, constraints, relations, sizes.
    #[command(subcommand)]
    Schema(Schema),
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

impl Command {
    /// Whether it ends by itself when it is interrupted.
    pub(crate) fn ends_itself(&self) -> bool {
        match self {
            Command::Agent(_) | Command::Serve(_) | Command::Wal(Wal::Receive(_)) => true,
            Command::Migrate(Migrate::Check(_)) => true,
            Command::Backfill(Backfill::Apply(_)) | Command::Maintain(Maintain::Compact(_)) => true,
            #[cfg(feature = "top")]
            Command::Top(_) => true,
            _ => false,
        }
    }
}

#[derive(clap::Args)]
pub(crate) struct Repeats {
    /// The traces: [{"id", "events": [{"t_ms", "scope", "task", "conn", "db", "sql", "binds", "callsite",
    /// "rows", "error", "tx"}]}]. Fields of an event may be absent or null.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) trace: PathBuf,
    /// End with exit status 3 where something is repeated.
    #[arg(long)]
    pub(crate) exit_code: bool,
}

#[derive(Subcommand)]
pub(crate) enum Schema {
    /// Print all tables with their columns, indexes, constraints and sizes, and what refers to what.
    ///
    /// Reads the catalogue only, and no row. With --json it prints {"database", "server_version", "tables":
    /// [{"schema", "name", "kind", "columns", "indexes", "constraints", "sizes", …}], "relations"}.
    Show {
        /// Only this table; its schema may stand before it.
        #[arg(long, value_name = "NAME")]
        table: Option<String>,
    },
    /// Write diesel's schema.rs to standard output, as `diesel print-schema` of diesel's own program 2.3
    /// does.
    ///
    /// It needs neither that program nor rustfmt: `dbctl schema print > src/schema.rs` behind
    /// `dbctl migrate apply` keeps the file, `dbctl migrate drift --schema-rs src/schema.rs` compares it.
    /// Views and tables of extensions are left out; so are tables without a primary key, which standard error
    /// names. docs/migrations.md says where it differs from diesel's program, and why.
    Print(SchemaPrint),
}

#[derive(Subcommand)]
pub(crate) enum Stats {
    /// Print the sizes of all tables as JSON: what `migrate check --stats` reads. No data, no names but those
    /// of tables.
    Export {
        /// Write to this file in place of standard output.
        #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        out: Option<PathBuf>,
    },
}
