//! `dbctl`: the operator's program, one library call per command.
#![doc = include_str!("../README.md")]
#![expect(clippy::print_stdout, reason = "results go to standard output")]

mod args;
mod connect;
mod error;
mod interrupt;
mod migrate;
mod seed;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;

use crate::args::{Args, Command};
use crate::error::CliError;

/// The exit status of a command that Ctrl-C ended, as shells have it.
const INTERRUPTED: u8 = 130;

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
        Err(error) => return fail(&error),
    };
    runtime.block_on(async {
        let mut command = std::pin::pin!(run(args));
        tokio::select! {
            result = &mut command => match result {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => fail(&error),
            },
            () = interrupt::interrupted() => {
                // The server would run the statement to its end: it is told to stop, and what it says is awaited.
                interrupt::cancel_statement().await;
                let _ = tokio::time::timeout(interrupt::PATIENCE, command).await;
                ExitCode::from(INTERRUPTED)
            }
        }
    })
}

async fn run(args: Args) -> Result<(), CliError> {
    match args.command {
        Command::Migrate(command) => migrate::run(command, &args.database).await,
        Command::Seed(options) => seed::run(options, &args.database).await,
    }
}

fn fail(error: &dyn std::error::Error) -> ExitCode {
    eprintln!("dbctl: {error}");
    ExitCode::FAILURE
}
