//! How a connection is encrypted, and what holds where the URL does not say.
//!
//! Source: the PostgreSQL manual, "SSL Support" in the libpq chapter. One thing differs: to a server on
//! another machine libpq's default is `prefer`, which anyone on the way can turn into plain text; here it is
//! `verify-full`.

use std::fmt;

use crate::{DatabaseUrl, Endpoint};

/// How a connection is encrypted (libpq's `sslmode`).
///
/// Ordered from the least to the most that is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SslMode {
    /// Never.
    Disable,
    /// Only where the server insists; the pool takes it as [`Prefer`](SslMode::Prefer).
    Allow,
    /// Where the server can.
    Prefer,
    /// Always, whoever the server is; with `sslrootcert` as [`VerifyCa`](SslMode::VerifyCa).
    Require,
    /// Always, and its certificate must come from a trusted authority.
    VerifyCa,
    /// Always, and its certificate must also name the host.
    VerifyFull,
}

impl SslMode {
    /// All modes, the weakest first.
    pub const ALL: [SslMode; 6] = [
        SslMode::Disable,
        SslMode::Allow,
        SslMode::Prefer,
        SslMode::Require,
        SslMode::VerifyCa,
        SslMode::VerifyFull,
    ];

    /// The mode's name in a URL.
    pub fn name(self) -> &'static str {
        match self {
            SslMode::Disable => "disable",
            SslMode::Allow => "allow",
            SslMode::Prefer => "prefer",
            SslMode::Require => "require",
            SslMode::VerifyCa => "verify-ca",
            SslMode::VerifyFull => "verify-full",
        }
    }

    /// Whether it refuses a connection that is not encrypted.
    pub fn is_strict(self) -> bool {
        self >= SslMode::Require
    }

    pub(super) fn from_name(name: &str) -> Option<SslMode> {
        SslMode::ALL.into_iter().find(|mode| mode.name() == name)
    }
}

impl fmt::Display for SslMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl DatabaseUrl {
    /// The encryption that the URL asks for, where it does.
    pub fn sslmode(&self) -> Option<SslMode> {
        self.param("sslmode").and_then(SslMode::from_name)
    }

    /// The encryption that holds for connections to `endpoint`.
    ///
    /// Where the URL names none: `verify-full`, except that a server on this machine gets `prefer`, unless
    /// the URL gives an `sslrootcert` or negotiates directly, which make no sense without encryption. Over a
    /// Unix socket never any.
    pub fn sslmode_to(&self, endpoint: &Endpoint) -> SslMode {
        if endpoint.socket_dir().is_some() {
            return SslMode::Disable;
        }
        let stays_here =
            endpoint.is_local() && self.addresses_of(endpoint).iter().all(std::net::IpAddr::is_loopback);
        let wants_tls = self.param("sslrootcert").is_some() || self.param("sslnegotiation") == Some("direct");
        match self.sslmode() {
            Some(mode) => mode,
            None if stays_here && !wants_tls => SslMode::Prefer,
            None => SslMode::VerifyFull,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{DatabaseUrl, SslMode};

    #[track_caller]
    fn check(text: &str, mode: SslMode) {
        let url: DatabaseUrl = text.parse().unwrap();
        let found: Vec<SslMode> = url.hosts().iter().map(|host| url.sslmode_to(host)).collect();
        assert!(found.iter().all(|found| *found == mode), "{text}: {found:?}");
    }

    #[test]
    fn a_server_on_another_machine_must_prove_who_it_is_unless_the_url_says_otherwise() {
        check("postgres://ann@db/app", SslMode::VerifyFull);
        check("postgres://ann@10.0.0.7,db2/app", SslMode::VerifyFull);
        check("postgres://ann@db/app?hostaddr=127.0.0.1", SslMode::VerifyFull);
        check("postgres://ann@localhost/app?hostaddr=10.0.0.7", SslMode::VerifyFull);
        check("postgres:///app?user=ann&hostaddr=10.0.0.7", SslMode::VerifyFull);
        for mode in SslMode::ALL {
            check(&format!("postgres://ann@db/app?sslmode={mode}&sslrootcert=/ca.pem"), mode);
        }
    }

    #[test]
    fn a_server_on_this_machine_is_encrypted_to_where_it_can() {
        check("postgres://ann@localhost,127.0.0.1,[::1]/app", SslMode::Prefer);
        check("postgres:///app?user=ann&hostaddr=127.0.0.1", SslMode::Prefer);
        check("postgres://ann@localhost/app?sslmode=require", SslMode::Require);
        check("postgres://ann@localhost/app?sslrootcert=/ca.pem", SslMode::VerifyFull);
        check("postgres://ann@localhost/app?sslnegotiation=direct", SslMode::VerifyFull);
        check("postgres://ann@%2Frun%2Fpg/app?sslmode=verify-full", SslMode::Disable);
    }
}
