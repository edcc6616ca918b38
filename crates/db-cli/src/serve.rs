//! `dbctl serve`: the dashboard for services that have no place to mount it.

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::{Arc, PoisonError};

use db_platform::insight::Insights;
use db_platform::monitoring::dashboard::{self, Access, Actions, Source};
use db_platform::{InsightPages, with_upkeep};
use tokio::net::TcpListener;

use crate::args::Options;
use crate::backups_shown::BackupsShown;
use crate::error::CliError;
use crate::observe_args::Serve;
use crate::{connect, interrupt, vars, watch};

const TOKEN: &str = "DASHBOARD_TOKEN";

pub(crate) async fn run(command: Serve, options: &Options) -> Result<ExitCode, CliError> {
    let (token, is_made) = token(&command, options)?;
    let access = Access::token(token.clone()).map_err(|error| CliError::Dashboard(error.to_string()))?;
    let config = connect::config(options)?;
    let name = config.direct_url.database().to_owned();
    let collector = watch::collector(options, command.all_databases, None)?;
    let found = watch::LastChecks::default();
    let checking = tokio::spawn(watch::keep_checking(watch::open(options)?, Arc::clone(&found)));
    let backups = BackupsShown::start(options, &config.direct_url)?;
    let of_backups = backups.clone();
    let last = move || {
        let found = found.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        let more = of_backups.as_ref().map(BackupsShown::checks).unwrap_or_default();
        Some(Arc::new(found.iter().cloned().chain(more).collect()))
    };
    let insights = Insights::default();
    let looking = tokio::spawn(watch::keep_looking(watch::open(options)?, insights.clone()));
    let mut source =
        Source::named(name).collector(collector.clone()).checks(last).insight(InsightPages::of(&insights));
    source = with_upkeep(source, &config)?;
    if let Some(backups) = &backups {
        source = backups.on(source);
    }
    if command.allow_actions {
        source = source.actions(Actions::new(watch::open(options)?));
    }
    let pages = dashboard::router(source, access).map_err(|error| CliError::Dashboard(error.to_string()))?;
    let address = command.listen;
    let listener = TcpListener::bind(address).await.map_err(|source| CliError::Listen { address, source })?;
    let bound = listener.local_addr().unwrap_or(address);
    say(bound, is_made.then_some(&token));
    let collecting = tokio::spawn(collector.run());
    let served =
        axum::serve(listener, pages.into_make_service()).with_graceful_shutdown(interrupt::interrupted());
    let served = served.await;
    collecting.abort();
    checking.abort();
    looking.abort();
    served.map_err(|source| CliError::Listen { address, source })?;
    Ok(ExitCode::SUCCESS)
}

fn say(bound: SocketAddr, made: Option<&String>) {
    eprintln!("dbctl: the dashboard is on http://{bound}/");
    if !bound.ip().is_loopback() {
        eprintln!(
            "dbctl: others reach it, and the token goes over the network in clear: put a proxy with TLS before it"
        );
    }
    if let Some(token) = made {
        eprintln!("dbctl: the token of this run is {token}");
    }
}

/// The token, and whether it was made here, because nobody gave one.
fn token(command: &Serve, options: &Options) -> Result<(String, bool), CliError> {
    if let Some(file) = &command.token_file {
        return Ok((std::fs::read_to_string(file).map_err(CliError::file(file))?, false));
    }
    if let Some(token) = vars::all(options)?.remove(TOKEN).filter(|token| !token.is_empty()) {
        return Ok((token, false));
    }
    // Into a log a token must not come: one is made only where a person reads it.
    if !std::io::stderr().is_terminal() {
        return Err(CliError::Dashboard(format!(
            "nobody is at the terminal to read a token: set {TOKEN}, or give --token-file"
        )));
    }
    Ok((dashboard::random_token().map_err(|error| CliError::Dashboard(error.to_string()))?, true))
}
