//! `dbctl`: the operator's program, one library call per command.
#![doc = include_str!("../README.md")]
#![expect(clippy::print_stdout, reason = "results go to standard output")]

mod advise;
mod advise_args;
mod agent;
mod agent_args;
mod alerts;
mod apply_advice;
mod args;
mod ask;
mod audit;
mod backfill;
mod backfill_args;
mod backup;
mod backup_args;
mod backups_shown;
mod cache;
mod cache_args;
mod change_args;
mod check;
mod check_text;
mod compact;
mod compact_args;
mod connect;
mod consent;
mod error;
mod explain;
mod explain_args;
mod hooks;
mod input;
mod inspect;
mod inspect_args;
mod interrupt;
mod maintain;
mod maintain_args;
mod manual;
#[cfg(feature = "mcp")]
mod mcp;
mod migrate;
mod migrate_args;
mod monitor_setup;
mod new_migration;
mod notify;
mod observe_args;
mod partitions;
mod partitions_args;
mod progress;
mod repeats;
mod report;
mod repository;
mod say;
mod schema;
mod schema_args;
mod seed;
mod seed_args;
mod serve;
mod stats;
mod table;
#[cfg(feature = "top")]
mod top;
mod topology;
mod transfer;
mod vars;
mod wal;
mod wal_args;
mod watch;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;
use db_platform::backup::wal::FATAL_EXIT;
use serde_json::json;
use tracing_subscriber::EnvFilter;

use crate::agent_args::{Alerts, Notify};
use crate::args::{Args, Command};
use crate::error::CliError;
use crate::inspect_args::Monitor;
use crate::wal_args::Wal;

/// The exit status of a command that Ctrl-C ended, as shells have it.
pub(crate) const INTERRUPTED: u8 = 130;

/// The exit status of a command that found what it looked for.
pub(crate) const FOUND: u8 = 3;

fn main() -> ExitCode {
    let args = Args::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error, 1, args.options.json),
    };
    let json = args.options.json;
    let ends_itself = args.command.ends_itself();
    let failed = match &args.command {
        Command::Wal(Wal::Fetch(fetch)) => Some(if fetch.refill { 0 } else { FATAL_EXIT }),
        _ => None,
    };
    runtime.block_on(async {
        let mut command = std::pin::pin!(run(args));
        tokio::select! {
            result = &mut command => match result {
                Ok(code) => code,
                Err(error) => {
                    let status = failed.unwrap_or(error.status());
                    if json {
                        eprintln!("{}", error.value());
                        return ExitCode::from(status);
                    }
                    fail(&error, status, false)
                }
            },
            () = interrupt::interrupted(), if !ends_itself => {
                // The server would run the statement to its end: it is told to stop, and what it says is
                // awaited.
                if interrupt::cancel_statement().await {
                    let _ = tokio::time::timeout(interrupt::PATIENCE, command).await;
                }
                ExitCode::from(failed.unwrap_or(INTERRUPTED))
            }
        }
    })
}

async fn run(args: Args) -> Result<ExitCode, CliError> {
    match args.command {
        Command::Migrate(command) => migrate::run(command, &args.options).await,
        Command::Backfill(command) => backfill::run(command, &args.options).await,
        Command::Seed(seed) => seed::run(seed, &args.options).await,
        Command::Cache(command) => cache::run(command, &args.options).await,
        Command::Explain(command) => explain::run(&command, &args.options).await,
        Command::Advise(command) => advise::run(command, &args.options).await,
        Command::Schema(command) => schema::run(command, &args.options).await,
        Command::Repeats(command) => repeats::run(&command, &args.options),
        Command::Stats(command) => stats::run(command, &args.options).await,
        Command::Report(command) => report::run(command, &args.options).await,
        Command::Serve(command) => serve::run(command, &args.options).await,
        #[cfg(feature = "top")]
        Command::Top(command) => top::run(command, &args.options).await,
        #[cfg(feature = "mcp")]
        Command::Mcp(command) => mcp::run(command, &args.options).await,
        Command::Backup(command) => backup::run(*command, &args.options).await,
        Command::Wal(command) => wal::run(command, &args.options).await,
        Command::Agent(command) => agent::run(command, &args.options).await,
        Command::Alerts(Alerts::Test) | Command::Notify(Notify::Test) => notify::test(&args.options).await,
        Command::Alerts(Alerts::List) => alerts::list(&args.options).await,
        Command::Check(command) => inspect::check(command, &args.options).await,
        Command::Locks => inspect::locks(&args.options).await,
        Command::Slow(command) => inspect::slow(command, &args.options).await,
        Command::Bloat(command) => inspect::bloat(command, &args.options).await,
        Command::Monitor(Monitor::Setup(command)) => monitor_setup::run(command, &args.options).await,
        Command::Maintain(command) => maintain::run(command, &args.options).await,
        Command::Partitions(command) => partitions::run(command, &args.options).await,
        Command::Topology => topology::run(&args.options).await,
        Command::Completions { shell } => Ok(manual::completions(shell)),
        Command::Man { out } => manual::man(out.as_deref()),
    }
}

fn fail(error: &dyn std::error::Error, status: u8, json: bool) -> ExitCode {
    if json {
        eprintln!("{}", json!({ "error": error.to_string() }));
    } else {
        eprintln!("dbctl: {error}");
    }
    ExitCode::from(status)
}
