//! How to reach a Redis, and whose keys to keep there.

use std::fmt;
use std::time::Duration;

/// How to reach a Redis, and whose keys to keep there.
///
/// ```
/// use db_cache::{RedisConfig, RedisTier};
///
/// let config = RedisConfig {
///     url: "redis://:password@127.0.0.1:6379".into(),
///     installation: "shop/production".into(),
///     ..RedisConfig::default()
/// };
/// let tier = RedisTier::new(&config)?;
/// assert!(!format!("{config:?} {tier:?}").contains("password"));
/// # Ok::<(), db_cache::RedisConfigError>(())
/// ```
#[derive(Clone)]
pub struct RedisConfig {
    /// Where it is: `redis://user:password@host:6379/0`, `rediss://` for TLS, or `unix:///path`. It may hold
    /// a password.
    ///
    /// It must lead to the primary, also after a failover.
    pub url: String,
    /// Whose keys they are. Two services on one database share it; two databases, and a copy of one, must
    /// not.
    pub installation: String,
    /// What the server's `CLIENT LIST` calls this process.
    pub client_name: String,
    /// The longest that opening a connection may take, with TLS and login. Callers wait only as long as they
    /// want to.
    pub connect_timeout: Duration,
    /// A connection on which nothing was answered for so long is given up.
    pub response_timeout: Duration,
    /// The authority that `rediss://` trusts, as PEM; the system's, where there is none.
    pub ca_certificate: Option<Vec<u8>>,
}

impl Default for RedisConfig {
    fn default() -> Self {
        RedisConfig {
            url: "redis://127.0.0.1:6379".to_owned(),
            installation: String::new(),
            client_name: "db-cache".to_owned(),
            connect_timeout: Duration::from_secs(1),
            response_timeout: Duration::from_secs(1),
            ca_certificate: None,
        }
    }
}

impl fmt::Debug for RedisConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisConfig").field("installation", &self.installation).finish_non_exhaustive()
    }
}
