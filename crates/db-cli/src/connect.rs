//! Finds out which database is meant, and connects to it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use db_platform::backup::PhysicalError;
use db_platform::backup::session::Session;
use db_platform::core::{Connect as _, Observe, QueryEvent, SqlState};
use db_platform::monitoring::server::OpenConnection;
use db_platform::pool::{ConnectConfig, Connector};
use db_platform::{BackupDial, Config, DatabaseUrl, Endpoint};
use diesel_async::AsyncPgConnection;
use tokio_postgres::Client;

use crate::args::Options;
use crate::error::CliError;
use crate::{interrupt, vars};

/// The configuration of the environment, with the URL of the file or the command line where one is given.
pub(crate) fn config(options: &Options) -> Result<Config, CliError> {
    let url = match (&options.url_file, &options.database_url) {
        (Some(path), _) => Some(std::fs::read_to_string(path).map_err(CliError::file(path))?),
        (None, Some(url)) => {
            if url.parse::<DatabaseUrl>().is_ok_and(|url| url.has_password()) {
                eprintln!(
                    "dbctl: everybody on this machine can read a password on the command line; use --url-file"
                );
            }
            Some(url.clone())
        }
        (None, None) => None,
    };
    let mut config = match url {
        None if options.settings.is_none() => Config::from_env()?,
        None => Config::from_vars(vars::all(options)?)?,
        Some(url) => {
            let given =
                ["DATABASE_URL", "DATABASE_DIRECT_URL"].map(|name| (name.to_owned(), url.trim().to_owned()));
            Config::from_vars(vars::all(options)?.into_iter().chain(given))?
        }
    };
    if options.ledger_schema.is_some() {
        config.ledger_schema.clone_from(&options.ledger_schema);
    }
    Ok(config)
}

/// A connection past any pooler. With it, how it was opened.
pub(crate) async fn connect(config: &Config) -> Result<(AsyncPgConnection, Connector, Endpoint), CliError> {
    let (connector, host) = primary(config).await?;
    let conn = open(&connector, &host).await?;
    interrupt::cancels(&connector, &host, conn.cancel_token());
    Ok((conn, connector, host))
}

/// Opens a connection; the one that looked for the primary may still count where the role may have one only.
async fn open(connector: &Connector, host: &Endpoint) -> Result<AsyncPgConnection, CliError> {
    let since = Instant::now();
    loop {
        match connector.connect(host).await {
            Err(error)
                if error.sqlstate() == Some(SqlState::TOO_MANY_CONNECTIONS)
                    && since.elapsed() < Duration::from_secs(1) =>
            {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            opened => return Ok(opened?),
        }
    }
}

/// A connection as [`connect`] gives it, and who listens on it.
pub(crate) struct Aloud {
    pub(crate) conn: AsyncPgConnection,
    pub(crate) connector: Connector,
    pub(crate) host: Endpoint,
    pub(crate) ear: Arc<Ear>,
}

/// The same; what the server says beside its answers goes to standard error, as `psql` shows it.
pub(crate) async fn connect_aloud(config: &Config) -> Result<Aloud, CliError> {
    let (connector, host) = primary(config).await?;
    let ear = Arc::new(Ear::default());
    let aloud = connector.clone().observed_by([Arc::clone(&ear) as Arc<dyn Observe>]);
    let conn = open(&aloud, &host).await?;
    interrupt::cancels(&connector, &host, conn.cancel_token());
    Ok(Aloud { conn, connector, host, ear })
}

/// Prints NOTICE and WARNING, and keeps the code of the last failure.
#[derive(Default)]
pub(crate) struct Ear {
    failed_with: Mutex<Option<SqlState>>,
}

impl Ear {
    pub(crate) fn last_code(&self) -> Option<SqlState> {
        *self.failed_with.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observe for Ear {
    fn on_query(&self, event: &QueryEvent<'_>) {
        if event.failed {
            *self.failed_with.lock().unwrap_or_else(PoisonError::into_inner) = event.sqlstate;
        }
    }

    fn on_notice(&self, _: &Endpoint, severity: &str, message: &str) {
        eprintln!("{severity}: {message}");
    }
}

/// A bare client for COPY, which diesel-async does not have.
pub(crate) async fn connect_for_copy(config: &Config) -> Result<Client, CliError> {
    let (connector, host) = primary(config).await?;
    let client = connector.client(&host).await?;
    interrupt::cancels(&connector, &host, client.cancel_token());
    Ok(client)
}

/// A session in replication mode with the server of the settings.
pub(crate) async fn replication(options: &Options) -> Result<Session, CliError> {
    session(&config(options)?.direct_url).await
}

/// Whose cluster the server of this URL is.
pub(crate) async fn system_identifier(url: &DatabaseUrl) -> Result<u64, CliError> {
    let identified = session(url).await?.system_identifier().await;
    Ok(identified.map_err(PhysicalError::from)?)
}

/// A session in replication mode with the server of this URL.
pub(crate) async fn session(url: &DatabaseUrl) -> Result<Session, CliError> {
    Ok(Session::open(url, &BackupDial).await.map_err(PhysicalError::from)?)
}

/// How a collector opens its connections: to the primary, or to the only server of the URL, past any pooler.
pub(crate) fn for_collector(config: &Config) -> OpenConnection {
    let (url, connect) = (config.direct_url.clone(), config.connect.clone());
    let options = ConnectConfig { statement_timeout: None, idle_in_transaction_timeout: None, ..connect };
    Arc::new(move |database| {
        let url = url.clone();
        let url = database.map(|name| url.clone().with_database(&*name)).unwrap_or(url);
        let connector = Connector::new(url, options.clone());
        Box::pin(async move {
            let host = db_platform::primary_of(&connector).await?;
            let conn = connector.connect(&host).await?;
            Ok((host, conn))
        })
    })
}

/// The primary, and how to connect to it without a statement timeout: what an operator starts may take its
/// time.
async fn primary(config: &Config) -> Result<(Connector, Endpoint), CliError> {
    let options = ConnectConfig {
        statement_timeout: None,
        idle_in_transaction_timeout: None,
        application_name: Some("dbctl".to_owned()),
        ..config.connect.clone()
    };
    let connector = Connector::new(config.direct_url.clone(), options);
    let host = db_platform::primary_of(&connector).await?;
    Ok((connector, host))
}
