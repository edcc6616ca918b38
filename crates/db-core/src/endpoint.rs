//! One place where a PostgreSQL server listens, and the role that it plays.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// One place where a server listens: a host name or address and a port, or a Unix socket directory and a
/// port.
///
/// Cheap to clone: it labels every event and every error.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Endpoint {
    host: Arc<str>,
    port: u16,
}

impl Endpoint {
    /// PostgreSQL's port where none is given.
    pub const DEFAULT_PORT: u16 = 5432;

    /// An endpoint from a host name, an address (IPv6 without brackets) or a socket directory, and a port.
    pub fn new(host: impl AsRef<str>, port: u16) -> Self {
        Endpoint { host: Arc::from(host.as_ref()), port }
    }

    /// The host name, address or socket directory.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The directory of the Unix socket, where this is one.
    pub fn socket_dir(&self) -> Option<&Path> {
        self.host.starts_with(['/', '@']).then(|| Path::new(&*self.host))
    }

    /// Whether traffic to it stays on this machine: a Unix socket, `localhost` or a loopback address.
    pub fn is_local(&self) -> bool {
        self.socket_dir().is_some()
            || self.host.eq_ignore_ascii_case("localhost")
            || self.host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.socket_dir().is_none() && self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({self})")
    }
}

/// The role that a server plays in streaming replication.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Takes writes.
    Primary,
    /// Replays a primary's log and answers reads.
    Standby,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::Primary => "primary",
            Role::Standby => "standby",
        })
    }
}
