//! Where a server is and how to log in, from a URL that no message ever shows.

use std::fmt;
use std::path::PathBuf;

use redis::{ConnectionAddr, IntoConnectionInfo, RedisConnectionInfo};

/// What a `REDIS_URL` says.
#[derive(Clone)]
pub(super) struct Address {
    pub(super) place: Place,
    pub(super) tls: bool,
    pub(super) login: RedisConnectionInfo,
}

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    Tcp { host: String, port: u16 },
    Unix(PathBuf),
}

/// Why a [`RedisConfig`](crate::RedisConfig) is none. It shows no part of the URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RedisConfigError {
    /// The URL says nothing that a client understands.
    #[error(
        "the Redis URL is not understood: write redis://user:password@host:6379/0, percent-encoded, or rediss://"
    )]
    Url,
    /// The URL asks for TLS without proof of who answers.
    #[error("the Redis URL ends with #insecure: name the authority's certificate in ca_certificate instead")]
    Insecure,
    /// The URL asks for TLS, and this build has none.
    #[error("the Redis URL begins with rediss://: build db-cache with its feature redis-tls")]
    NoTls,
    /// The authorities that TLS needs.
    #[error("no certificate authority for rediss://: {0}; name one in ca_certificate")]
    Authorities(String),
    /// An installation without a name.
    #[error("the installation has no name: give each database, and each copy of one, its own")]
    Installation,
}

impl Address {
    pub(super) fn parse(url: &str) -> Result<Self, RedisConfigError> {
        let (scheme, rest) = url.split_once("://").ok_or(RedisConfigError::Url)?;
        let tls = matches!(scheme, "rediss" | "valkeys");
        // The client's own TLS is not used: it wants a provider of cryptography for the whole process.
        let plain = if tls { format!("redis://{rest}") } else { url.to_owned() };
        if tls && rest.ends_with("#insecure") {
            return Err(RedisConfigError::Insecure);
        }
        let info = plain.into_connection_info().map_err(|_| RedisConfigError::Url)?;
        let place = match info.addr() {
            ConnectionAddr::Tcp(host, port) => Place::Tcp { host: host.clone(), port: *port },
            ConnectionAddr::Unix(path) if !tls => Place::Unix(path.clone()),
            _ => return Err(RedisConfigError::Url),
        };
        Ok(Address { place, tls, login: info.redis_settings().clone() })
    }

    /// The same server's neighbour in a cluster.
    pub(super) fn moved_to(&self, host: &str, port: u16) -> Self {
        Address { place: Place::Tcp { host: host.to_owned(), port }, ..self.clone() }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Place::Tcp { host, port } => write!(f, "{host}:{port}"),
            Place::Unix(path) => path.display().fmt(f),
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Address").field("place", &self.place).field("tls", &self.tls).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_read_with_its_login() {
        let address = Address::parse("rediss://ann:s%40crt@cache.example:7000/3").unwrap();
        assert_eq!(address.place.to_string(), "cache.example:7000");
        assert!(address.tls);
        assert_eq!((address.login.username(), address.login.password()), (Some("ann"), Some("s@crt")));
        assert_eq!(address.login.db(), 3);
        assert_eq!(Address::parse("redis://[::1]:7").unwrap().place.to_string(), "[::1]:7");
        assert_eq!(Address::parse("unix:///run/redis.sock").unwrap().place.to_string(), "/run/redis.sock");
    }

    #[test]
    fn no_message_shows_a_password() {
        for url in
            ["redis://:hunter2@host:no", "hunter2", "http://hunter2@host", "rediss://:hunter2@h#insecure"]
        {
            let said = Address::parse(url).map(|_| ()).unwrap_err();
            assert!(!format!("{said} {said:?}").contains("hunter2"), "{said}");
        }
        let address = Address::parse("redis://:hunter2@host").unwrap();
        assert!(!format!("{address:?} {}", address.place).contains("hunter2"));
    }
}
