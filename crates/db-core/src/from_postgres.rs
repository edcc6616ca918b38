//! Makes the platform's words from tokio-postgres's: its configuration from a URL, and our errors from its
//! errors.

use std::error::Error as _;
use std::io;
use std::time::Duration;

use tokio_postgres::config::{ChannelBinding, SslMode as PgSslMode};
use tokio_postgres::error::{DbError, ErrorPosition};

use crate::{
    ConnectError, ConnectFailure, DatabaseUrl, Endpoint, Error, Evidence, ServerReport, SqlState, SslMode,
};

impl DatabaseUrl {
    /// The configuration that connects to `endpoint` with this URL's user, password, database and options.
    ///
    /// It asks for encryption as [`sslmode_to`](DatabaseUrl::sslmode_to) says, so that a client that cannot
    /// encrypt refuses a server on another machine. tokio-postgres redacts the password in the `Debug` of its
    /// configuration.
    pub fn postgres_config(&self, endpoint: &Endpoint) -> tokio_postgres::Config {
        let mut config = tokio_postgres::Config::new();
        match endpoint.socket_dir() {
            Some(directory) => config.host_path(directory),
            None => config.host(endpoint.host()),
        };
        config.port(endpoint.port()).user(self.user()).dbname(self.database());
        if let Some(password) = self.password() {
            config.password(password);
        }
        if let Some(options) = self.param("options") {
            config.options(options);
        }
        if let Some(name) = self.param("application_name").or(self.param("fallback_application_name")) {
            config.application_name(name);
        }
        config.ssl_mode(match self.sslmode_to(endpoint) {
            SslMode::Disable => PgSslMode::Disable,
            SslMode::Allow | SslMode::Prefer => PgSslMode::Prefer,
            SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => PgSslMode::Require,
        });
        config.channel_binding(match self.param("channel_binding") {
            Some("disable") => ChannelBinding::Disable,
            Some("require") => ChannelBinding::Require,
            _ => ChannelBinding::Prefer,
        });
        config
    }

    /// The error that a failed attempt to connect to `endpoint` is.
    pub fn connect_error(
        &self,
        endpoint: &Endpoint,
        error: &tokio_postgres::Error,
        waited: Duration,
    ) -> ConnectError {
        let report = error.as_db_error().map(report);
        let reason = match (&report, error.source()) {
            (Some(report), _) => report.to_string(),
            (None, Some(source)) if source.to_string().contains(NO_TLS) => {
                let mode = self.sslmode_to(endpoint);
                format!("sslmode={mode} holds for this server, and this program has nothing to encrypt with")
            }
            // With TLS 1.3 a server judges the client's certificate only after the handshake.
            (None, Some(source)) if source.to_string().contains(ALERT) => {
                format!(
                    "the server broke off the encrypted connection ({source}); check sslcert, and the server's log"
                )
            }
            (None, Some(source)) => source.to_string(),
            (None, None) => error.to_string(),
        };
        let who = (self.user(), self.database());
        let mut made = ConnectError::new(endpoint.clone(), who, failure(error), waited, reason);
        made.report = report;
        made
    }
}

/// What tokio-postgres says where encryption is required and it was given `NoTls`.
const NO_TLS: &str = "no TLS implementation";

/// What rustls says where the other end closed the encrypted stream with an error.
const ALERT: &str = "received fatal alert";

fn failure(error: &tokio_postgres::Error) -> ConnectFailure {
    if let Some(db) = error.as_db_error() {
        return match db.code().code() {
            "28P01" | "28000" => ConnectFailure::Login,
            "3D000" => ConnectFailure::UnknownDatabase,
            "53300" => ConnectFailure::TooManyConnections,
            "57P01" | "57P02" | "57P03" => ConnectFailure::NotReady,
            "42704" | "22023" | "55P02" => ConnectFailure::Options,
            _ => ConnectFailure::Other,
        };
    }
    let Some(source) = error.source() else { return ConnectFailure::Other };
    let text = source.to_string();
    match source.downcast_ref::<io::Error>().map(io::Error::kind) {
        Some(io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound) => ConnectFailure::Refused,
        Some(io::ErrorKind::TimedOut) => ConnectFailure::TimedOut,
        _ if text.contains("lookup address") => ConnectFailure::UnknownHost,
        _ if text.contains("password") => ConnectFailure::Login,
        _ if ["TLS", ALERT, "channel binding"].iter().any(|words| text.contains(words)) => {
            ConnectFailure::Tls
        }
        _ => ConnectFailure::Other,
    }
}

/// What the server said, with its own code.
fn report(db: &DbError) -> ServerReport {
    let code = db.code().code().parse::<SqlState>().ok();
    let mut report = ServerReport::new(db.message(), code.map(|code| (code, Evidence::Server)));
    report.detail = db.detail().map(str::to_owned);
    report.hint = db.hint().map(str::to_owned);
    report.table = db.table().map(str::to_owned);
    report.column = db.column().map(str::to_owned);
    report.constraint = db.constraint().map(str::to_owned);
    report.position = match db.position() {
        Some(ErrorPosition::Original(position)) => usize::try_from(*position).ok(),
        _ => None,
    };
    report
}

impl From<tokio_postgres::Error> for Error {
    fn from(error: tokio_postgres::Error) -> Self {
        if let Some(db) = error.as_db_error() {
            return Error::from_report(report(db));
        }
        let io = error.source().is_some_and(|source| source.is::<io::Error>());
        if error.is_closed() || io {
            return Error::ConnectionLost { reason: error.to_string() };
        }
        Error::Client(Box::new(error))
    }
}
