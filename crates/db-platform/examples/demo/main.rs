//! The platform's main job on a real cluster: a mixed load of reads and transactions, watched while it runs.
//!
//! `cargo xtask demo` starts the cluster, migrates and seeds it, and runs this. The database is the one that
//! the environment names; docs/configuration.md lists the variables.
#![expect(clippy::print_stdout, reason = "the summary goes to standard output")]

mod comparison;
mod job_queue;
mod load;
mod meter;
mod network;
mod operations;
#[cfg(test)]
mod plans;
mod popularity;
mod queries;
mod random;
mod reads;
mod report;
mod samples;
mod turns;
mod twin;
mod writes;

use std::process::ExitCode;
use std::time::Duration;

use db_platform::{Config, Db};
use tokio::signal::unix::{SignalKind, signal};

use crate::comparison::Comparison;
use crate::load::Load;

const HELP: &str = "usage: demo [--seconds N] [--workers N] [--json] [--pg-version TEXT] [--compare-cache]";

/// How long connections in use may take to come back at the end.
const GRACE: Duration = Duration::from_secs(5);

struct Options {
    seconds: u64,
    workers: u32,
    json: bool,
    pg_version: Option<String>,
    compare_cache: bool,
}

fn options() -> Result<Options, lexopt::Error> {
    use lexopt::prelude::*;
    let mut options =
        Options { seconds: 20, workers: 16, json: false, pg_version: None, compare_cache: false };
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("seconds") => options.seconds = parser.value()?.parse()?,
            Long("workers") => options.workers = parser.value()?.parse()?,
            Long("json") => options.json = true,
            Long("pg-version") => options.pg_version = Some(parser.value()?.string()?),
            Long("compare-cache") => options.compare_cache = true,
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
        Ok(Some(Summary { text, is_clean })) => {
            println!("{text}");
            if is_clean { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Ok(None) => ExitCode::from(130),
        Err(error) => {
            eprintln!("demo: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What is printed, and whether no error reached a caller.
struct Summary {
    text: String,
    is_clean: bool,
}

/// Runs the load to its end; nothing where a signal came first.
async fn run(options: &Options) -> db_platform::Result<Option<Summary>> {
    let interrupted = async {
        match (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) {
            (Ok(mut interrupt), Ok(mut terminate)) => {
                tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
            }
            _ => std::future::pending().await,
        }
    };
    if options.compare_cache {
        return tokio::select! {
            comparison = Comparison::run(options.workers, Duration::from_secs(options.seconds)) => {
                let comparison = comparison?;
                let text = if options.json { comparison.to_json() } else { comparison.to_string() };
                Ok(Some(Summary { text, is_clean: comparison.is_clean() }))
            }
            () = interrupted => Ok(None),
        };
    }
    // The plain load reads from the servers.
    let db = Db::connect(Config { cache: None, ..Config::from_env()? }).await?;
    let load = Load::prepare(&db, options.workers).await?;
    let report = tokio::select! {
        report = load.run(Duration::from_secs(options.seconds), options.pg_version.clone()) => Some(report),
        () = interrupted => None,
    };
    close(&db).await;
    Ok(report.map(|report| Summary {
        text: if options.json { report.to_json() } else { report.to_string() },
        is_clean: report.is_clean(),
    }))
}

/// Waits for connections in use, and says so where some do not come back.
async fn close(db: &Db) {
    let drained = db.shutdown(GRACE).await;
    if !drained.is_clean() {
        eprintln!("demo: {} connections were still in use after {GRACE:?}", drained.abandoned);
    }
}
