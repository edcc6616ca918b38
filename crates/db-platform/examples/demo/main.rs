//! The platform's main job on a real cluster: a mixed load of reads and transactions, watched while it runs.
//!
//! `cargo xtask demo` starts the cluster, migrates and seeds it, and runs this. The database is the one that the
//! environment names; docs/configuration.md lists the variables.
#![expect(clippy::print_stdout, reason = "the summary goes to standard output")]

mod load;
mod meter;
#[cfg(test)]
mod plans;
mod queries;
mod report;
mod samples;
mod writes;

use std::process::ExitCode;
use std::time::Duration;

use db_platform::{Config, Db};
use tokio::signal::unix::{SignalKind, signal};

use crate::load::Load;
use crate::report::Report;

const HELP: &str = "usage: demo [--seconds N] [--workers N] [--json] [--pg-version TEXT]";

/// How long connections in use may take to come back at the end.
const GRACE: Duration = Duration::from_secs(5);

struct Options {
    seconds: u64,
    workers: usize,
    json: bool,
    pg_version: Option<String>,
}

fn options() -> Result<Options, lexopt::Error> {
    use lexopt::prelude::*;
    let mut options = Options { seconds: 20, workers: 16, json: false, pg_version: None };
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("seconds") => options.seconds = parser.value()?.parse()?,
            Long("workers") => options.workers = parser.value()?.parse()?,
            Long("json") => options.json = true,
            Long("pg-version") => options.pg_version = Some(parser.value()?.string()?),
            other => return Err(other.unexpected()),
        }
    }
    Ok(options)
}

fn main() -> ExitCode {
    let options = match options() {
        Ok(options) => options,
        Err(error) => {
            eprintln!("demo: {error}\n{HELP}");
            return ExitCode::from(2);
        }
    };
    tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::WARN)
        .with_writer(std::io::stderr)
        .init();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("demo: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(run(&options)) {
        Ok(Some(report)) => {
            let clean = report.is_clean();
            println!("{}", if options.json { report.to_json() } else { report.to_string() });
            if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Ok(None) => ExitCode::from(130),
        Err(error) => {
            eprintln!("demo: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the load to its end; nothing where a signal came first.
async fn run(options: &Options) -> db_platform::Result<Option<Report>> {
    let db = Db::connect(Config::from_env()?).await?;
    let load = Load::prepare(&db, options.workers).await?;
    let interrupted = async {
        match (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) {
            (Ok(mut interrupt), Ok(mut terminate)) => {
                tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
            }
            _ => std::future::pending().await,
        }
    };
    let report = tokio::select! {
        report = load.run(Duration::from_secs(options.seconds), options.pg_version.clone()) => Some(report),
        () = interrupted => None,
    };
    let drained = db.shutdown(GRACE).await;
    if report.is_some() && !drained.is_clean() {
        eprintln!("demo: {} connections were still in use after {GRACE:?}", drained.abandoned);
    }
    Ok(report)
}
