//! Where a Patroni's REST API listens, and how to log in there.

use std::fmt;
#[cfg(feature = "patroni-tls")]
use std::path::Path;
use std::path::PathBuf;
use std::str::FromStr;

use percent_encoding::percent_decode_str;

/// Where a Patroni's REST API listens: `http://host:8008`, or
/// `https://user:password@host:8008?sslrootcert=/path/ca.pem`.
///
/// One is enough: the others are learned from it, and asked with its login. `sslrootcert` names the authority
/// that the API's certificate was issued by; without it those of the system are trusted. `https` takes the
/// feature `patroni-tls`.
///
/// The password is never printed:
///
/// ```
/// let url: db_replica_routing::PatroniUrl = "http://ann:secret@db1:8008".parse()?;
/// assert_eq!(url.to_string(), "http://ann:***@db1:8008");
/// # Ok::<_, db_replica_routing::InvalidPatroniUrl>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PatroniUrl {
    is_encrypted: bool,
    host: String,
    port: u16,
    login: Option<Login>,
    root: Option<PathBuf>,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Login {
    pub(super) user: String,
    pub(super) password: String,
}

/// A text that is not the URL of a Patroni.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidPatroniUrl {
    /// It cannot be read.
    #[error("not the address of a Patroni: write http://host:8008, or https://user:password@host:8008")]
    Address,
    /// It is to be encrypted, and this program has nothing to encrypt with.
    #[error("a Patroni over https takes the feature patroni-tls of db-replica-routing")]
    Encrypted,
}

impl PatroniUrl {
    #[cfg(feature = "patroni-tls")]
    pub(super) fn is_encrypted(&self) -> bool {
        self.is_encrypted
    }

    pub(super) fn host(&self) -> &str {
        &self.host
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn login(&self) -> Option<&Login> {
        self.login.as_ref()
    }

    #[cfg(feature = "patroni-tls")]
    pub(super) fn root(&self) -> Option<&Path> {
        self.root.as_deref()
    }

    /// This one with the login and the authority of the one that named it; no password goes out in the clear
    /// that did not before.
    pub(super) fn asked_as(self, named_by: &PatroniUrl) -> Self {
        let may_log_in = self.is_encrypted || !named_by.is_encrypted;
        let login = named_by.login.clone().filter(|_| may_log_in);
        PatroniUrl { login, root: named_by.root.clone(), ..self }
    }
}

impl FromStr for PatroniUrl {
    type Err = InvalidPatroniUrl;

    fn from_str(text: &str) -> Result<Self, InvalidPatroniUrl> {
        let invalid = || InvalidPatroniUrl::Address;
        let (scheme, rest) = text.trim().split_once("://").ok_or_else(invalid)?;
        let is_encrypted = match scheme {
            "http" => false,
            "https" if cfg!(feature = "patroni-tls") => true,
            "https" => return Err(InvalidPatroniUrl::Encrypted),
            _ => return Err(invalid()),
        };
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let authority = rest.split('/').next().unwrap_or_default();
        let (login, authority) = match authority.rsplit_once('@') {
            Some((login, authority)) => (Some(login), authority),
            None => (None, authority),
        };
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !host.ends_with(':') => (host, port.parse().map_err(|_| invalid())?),
            _ => (authority, 8008),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() || host.contains(['@', ' ', '\r', '\n']) {
            return Err(invalid());
        }
        let login = login.map(|login| {
            let (user, password) = login.split_once(':').unwrap_or((login, ""));
            Ok(Login { user: decode(user)?, password: decode(password)? })
        });
        let root = match query.split_once('=') {
            Some(("sslrootcert", path)) => Some(PathBuf::from(decode(path)?)),
            None if query.is_empty() => None,
            _ => return Err(invalid()),
        };
        Ok(PatroniUrl { is_encrypted, host: host.to_owned(), port, login: login.transpose()?, root })
    }
}

fn decode(text: &str) -> Result<String, InvalidPatroniUrl> {
    let decoded = percent_decode_str(text).decode_utf8().map_err(|_| InvalidPatroniUrl::Address)?;
    Ok(decoded.into_owned())
}

impl fmt::Display for PatroniUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_encrypted { "https://" } else { "http://" })?;
        if let Some(login) = &self.login {
            write!(f, "{}:***@", login.user)?;
        }
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

impl fmt::Debug for PatroniUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PatroniUrl({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_and_a_port_and_perhaps_a_login() {
        let check = |text: &str, shown: &str| {
            let url: Result<PatroniUrl, _> = text.parse();
            assert_eq!(url.map_or_else(|_| "refused".to_owned(), |url| url.to_string()), shown, "{text}");
        };
        check("http://db1:8008", "http://db1:8008");
        check("http://db1/", "http://db1:8008");
        check("http://[::1]:8011", "http://[::1]:8011");
        check("http://127.0.0.1:8011/patroni", "http://127.0.0.1:8011");
        check("https://db1:8008", "https://db1:8008");
        check("https://ann:p%40w@db1?sslrootcert=/etc/ca.pem", "https://ann:***@db1:8008");
        check("http://:8008", "refused");
        check("http://db1?sslmode=require", "refused");
        check("ftp://db1", "refused");
        check("db1:8008", "refused");
    }

    #[test]
    fn a_password_is_not_printed_and_does_not_leave_encryption() {
        let named_by: PatroniUrl = "https://ann:hunter2@db1?sslrootcert=/ca.pem".parse().unwrap();
        assert!(!format!("{named_by} {named_by:?}").contains("hunter2"));
        let asked = |text: &str| text.parse::<PatroniUrl>().unwrap().asked_as(&named_by);
        let login = asked("https://db2/patroni").login.unwrap();
        assert_eq!((&*login.user, &*login.password), ("ann", "hunter2"));
        assert!(asked("http://db2/patroni").login.is_none());
    }
}
