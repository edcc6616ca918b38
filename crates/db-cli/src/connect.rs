//! Finds out which database is meant, and connects to it.

use std::time::{Duration, Instant};

use db_platform::core::Connect as _;
use db_platform::core::{ConnectError, ConnectFailure};
use db_platform::pool::{ConnectConfig, Connector};
use db_platform::{Config, Error};
use diesel_async::AsyncPgConnection;
use tokio_postgres::{Client, NoTls};

use crate::args::Database;
use crate::error::CliError;

/// The configuration of the environment, with the URL of the file where one is given.
pub(crate) fn config(database: &Database) -> Result<Config, CliError> {
    let url = match &database.url_file {
        None => None,
        Some(path) => {
            let read = std::fs::read_to_string(path);
            Some(read.map_err(|source| CliError::UrlFile { path: path.clone(), source })?)
        }
    };
    let lookup = |name: &str| match (name, &url) {
        ("DATABASE_URL" | "DATABASE_DIRECT_URL", Some(url)) => Some(url.trim().to_owned()),
        _ => std::env::var(name).ok(),
    };
    Ok(Config::from_lookup(&lookup)?)
}

/// A connection past any pooler, without a statement timeout: what an operator starts may take its time.
pub(crate) async fn connect(config: &Config) -> Result<AsyncPgConnection, CliError> {
    let options = ConnectConfig {
        statement_timeout: None,
        idle_in_transaction_timeout: None,
        application_name: Some("dbctl".to_owned()),
        ..config.connect.clone()
    };
    let connector = Connector::new(config.direct_url.clone(), options);
    let host = &config.direct_url.hosts()[0];
    Ok(connector.connect(host).await?)
}

/// A bare client for COPY, which diesel-async does not have.
pub(crate) async fn connect_for_copy(config: &Config) -> Result<Client, CliError> {
    let (url, host) = (&config.direct_url, &config.direct_url.hosts()[0]);
    let (started, timeout) = (Instant::now(), config.connect.connect_timeout);
    let mut options = url.postgres_config(host);
    options.application_name("dbctl");
    match tokio::time::timeout(timeout, options.connect(NoTls)).await {
        Ok(Ok((client, driver))) => {
            tokio::spawn(driver);
            Ok(client)
        }
        Ok(Err(error)) => Err(Error::from(url.connect_error(host, &error, started.elapsed())).into()),
        Err(_) => Err(timed_out(config, timeout).into()),
    }
}

fn timed_out(config: &Config, waited: Duration) -> Error {
    let url = &config.direct_url;
    let who = (url.user(), url.database());
    ConnectError::new(url.hosts()[0].clone(), who, ConnectFailure::TimedOut, waited, "timed out").into()
}
