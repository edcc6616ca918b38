//! The way of backups to a server: the pool's own transport, so that a URL means the same to both.

use db_backup::session::{Dial, Dialling, Link};
use db_core::{DatabaseUrl, Endpoint};

/// Opens the streams of backups as the pool opens its own: TCP, Unix sockets, and TLS as `sslmode` asks for
/// it.
///
/// ```
/// use std::sync::Arc;
/// use db_platform::{BackupDial, DatabaseUrl};
/// use db_platform::backup::take::TakeConfig;
///
/// fn over_tls(url: DatabaseUrl) -> TakeConfig {
///     TakeConfig { dial: Arc::new(BackupDial), ..TakeConfig::new(url) }
/// }
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct BackupDial;

impl Dial for BackupDial {
    fn dial<'a>(&'a self, url: &'a DatabaseUrl, endpoint: &'a Endpoint) -> Dialling<'a> {
        Box::pin(async move {
            let stream = db_pool::open_stream(url, endpoint).await?;
            Ok(Box::new(stream) as Box<dyn Link>)
        })
    }
}
