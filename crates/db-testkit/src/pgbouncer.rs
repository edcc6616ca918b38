//! PgBouncer in front of a server, for tests of what it changes.

use std::sync::Arc;

use db_core::DatabaseUrl;
use db_server::{Password, PgBouncerProgram, PoolMode, Upstream};

use crate::address::through;
use crate::background;
use crate::error::TestkitError;

/// A PgBouncer before one server, gone with its value.
#[derive(Debug, Clone)]
pub struct PgBouncer {
    inner: Arc<db_server::PgBouncer>,
    url: String,
}

impl PgBouncer {
    /// Starts one in front of the server that a URL leads to, as which user it logs in there. `settings` are
    /// those of pgbouncer.ini's section of the same name.
    ///
    /// It lets in that user with that user's password, so a client's URL differs in its port only. It ignores
    /// the start-up parameters `extra_float_digits` and `options`; from version 1.21 on it follows prepared
    /// statements.
    ///
    /// # Errors
    /// When it is not installed ([`skip::without`](crate::skip::without) skips the test then; `cargo xtask
    /// test` installs it as root on a Debian, and says so), or does not start.
    pub async fn start(url: &str, mode: PoolMode, settings: &[(&str, &str)]) -> Result<Self, TestkitError> {
        let doing = "starting PgBouncer";
        let server = upstream(url)?;
        let settings: Vec<_> =
            settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let start = move || {
            let program = PgBouncerProgram::find()?;
            db_server::PgBouncer::start(&program, &server, mode, &settings)
        };
        let failed = |source| TestkitError::Server { doing: doing.to_owned(), source };
        let inner = background::blocking(doing, start).await?.map_err(failed)?;
        let url = through(url, &format!("127.0.0.1:{}", inner.port()))?;
        Ok(Self { inner: Arc::new(inner), url })
    }

    /// The URL that it was started with, through it: never log it.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its loopback port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.inner.port()
    }
}

fn upstream(url: &str) -> Result<Upstream, TestkitError> {
    let url: DatabaseUrl = url.parse().map_err(|_| TestkitError::NotAUrl)?;
    let [host] = url.hosts() else { return Err(TestkitError::NotAUrl) };
    let config = url.postgres_config(host);
    let password = Password::new(String::from_utf8_lossy(config.get_password().unwrap_or_default()));
    Ok(Upstream { host: host.host().to_owned(), port: host.port(), user: url.user().to_owned(), password })
}
