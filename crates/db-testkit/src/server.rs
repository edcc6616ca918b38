//! The server that test databases live on: a shared one, or one for this process.

use crate::address::Address;
use crate::error::TestkitError;
use db_server::{Cluster, DATABASE, Install, Password, ServerSettings};
use std::sync::{LazyLock, OnceLock};

/// Names a server to use instead of starting one.
const URL: &str = "DB_TESTKIT_URL";
/// Chooses the major version of the servers that the kit starts.
const MAJOR: &str = "DB_TESTKIT_PG";

/// The server named by the environment, else one that is started now and lives as long as this process.
///
/// To be called on the kit's thread.
pub(crate) async fn server_url() -> Result<Address, TestkitError> {
    if let Ok(text) = std::env::var(URL) {
        let remedy = "set it to a URL of a superuser on a server for tests, or unset it to have one started";
        return Address::parse(&text).map_err(|reason| TestkitError::Setting { name: URL, reason, remedy });
    }
    let doing = "starting a server for this process";
    tokio::task::spawn_blocking(start_own).await.map_err(|_| TestkitError::Background(doing.to_owned()))?
}

fn start_own() -> Result<Address, TestkitError> {
    // Never dropped: when the process ends, however it ends, db-server's guardian removes it.
    static OWN: OnceLock<Cluster> = OnceLock::new();
    let failed =
        |source| TestkitError::Server { doing: "starting a server for this process".to_owned(), source };
    let settings = ServerSettings::fast().with("max_connections", "300");
    let builder = Cluster::builder(install(None)?).settings(settings).password(own_password().clone());
    let cluster = builder.start().map_err(failed)?;
    let url = OWN.get_or_init(|| cluster).primary().url(DATABASE);
    Address::parse(&url).map_err(|reason| TestkitError::Setting {
        name: URL,
        reason,
        remedy: "set it to the URL of a running server",
    })
}

/// The superuser's password on every cluster that the kit starts in this process, another one in each
/// process.
///
/// A test needs it only where it makes URLs of its own: those of the kit carry it. Never log it.
///
/// # Panics
/// When the system gives no random bytes.
#[must_use]
pub fn password() -> &'static str {
    own_password().reveal()
}

#[expect(clippy::expect_used, reason = "without random bytes no test can run")]
pub(crate) fn own_password() -> &'static Password {
    static PASSWORD: LazyLock<Password> =
        LazyLock::new(|| Password::random().expect("the system's random bytes"));
    &PASSWORD
}

/// The PostgreSQL that the kit's servers run from: the version asked for, else the environment's, else any.
pub(crate) fn install(major: Option<u16>) -> Result<Install, TestkitError> {
    let wanted = match (major, std::env::var(MAJOR).ok().filter(|text| !text.is_empty())) {
        (Some(major), _) => Some(major),
        (None, Some(text)) => Some(text.parse::<u16>().map_err(|_| TestkitError::Setting {
            name: MAJOR,
            reason: format!("is {text:?}, which is no major version"),
            remedy: "set it to one of 14 to 19, or unset it to take what is installed",
        })?),
        (None, None) => None,
    };
    db_server::find(wanted, &|line| tracing::info!("{line}"))
        .map_err(|source| TestkitError::Server { doing: "looking for PostgreSQL".to_owned(), source })
}
