//! A PostgreSQL connection URL that never shows its password.
//!
//! Source: the PostgreSQL manual, "Connection URIs" in the libpq chapter. `Debug` and `Display` print `***`
//! for the password, and no method gives a printable text with it.

mod options;
mod parameters;
mod said;
mod setters;
mod sslmode;

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::net::IpAddr;
use std::str::FromStr;

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

pub(crate) use said::Said;
pub use sslmode::SslMode;

use crate::Endpoint;
use said::local;

/// A parsed `postgres://` or `postgresql://` URL.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseUrl {
    hosts: Vec<Endpoint>,
    /// Where to find hosts whose name is not to be looked up (`hostaddr`).
    addresses: Vec<(Endpoint, IpAddr)>,
    user: String,
    password: Option<String>,
    database: String,
    params: BTreeMap<String, String>,
}

/// What is wrong with a connection URL.
///
/// No message quotes the text: a `/`, `?` or `#` in a password that is not escaped puts the password's rest
/// where a port, a parameter or a database is expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidUrl {
    /// It starts with neither `postgres://` nor `postgresql://`.
    #[error("does not start with postgres:// or postgresql://")]
    Scheme,
    /// A port is not a number from 1 to 65535.
    #[error(
        "a port is not a number from 1 to 65535 (in a password, write / as %2F, ? as %3F, # as %23, @ as %40)"
    )]
    Port,
    /// An IPv6 address lacks its closing bracket, or is none.
    #[error("a host is not an IPv6 address in brackets")]
    Ipv6,
    /// A percent sign is not followed by two hexadecimal digits, or the bytes are not UTF-8.
    #[error("the {0} has a percent sign that is not followed by two hexadecimal digits; write % as %25")]
    Escape(&'static str),
    /// A parameter that does not exist, at this place among the parameters, from 1.
    #[error("parameter {0} is none that is known (in a password, write ? as %3F and & as %26)")]
    Parameter(usize),
    /// A parameter that does not exist and looks like one that does, at this place among the parameters, from
    /// 1.
    #[error("parameter {place} looks like {meant}, which it is not")]
    Misspelt {
        /// Its place.
        place: usize,
        /// What it looks like.
        meant: &'static str,
    },
    /// A parameter without a value, at this place among the parameters, from 1.
    #[error("parameter {0} has no value (in a password, write ? as %3F and & as %26)")]
    NoValue(usize),
    /// A parameter that libpq knows and that is not supported; ignoring it would not do what was asked for.
    #[error("{name} is not supported: {instead}")]
    Unsupported {
        /// The parameter.
        name: &'static str,
        /// What to do instead.
        instead: &'static str,
    },
    /// A parameter has a value that it cannot have.
    #[error("{name} is none of {one_of}")]
    Value {
        /// The parameter.
        name: &'static str,
        /// What it can be.
        one_of: &'static str,
    },
    /// A value of `sslmode` that does not exist.
    #[error("sslmode is none of disable, allow, prefer, require, verify-ca, verify-full")]
    SslMode,
    /// A value of `sslmode` that is too weak for another parameter.
    #[error("{what} needs sslmode={least} or stronger, or no sslmode")]
    WeakSslMode {
        /// The other parameter and its value.
        what: &'static str,
        /// The least that it goes together with.
        least: SslMode,
    },
    /// A client certificate without its key, or the other way round.
    #[error("sslcert and sslkey go together (both may name the same file)")]
    CertificateAndKey,
    /// A value of `hostaddr` is not an IP address.
    #[error("hostaddr is not a list of IP addresses")]
    Address,
    /// Hosts and addresses do not match in number.
    #[error("{hosts} hosts and {addresses} values of hostaddr: give one for each host")]
    HostsAndAddresses {
        /// How many hosts were given.
        hosts: usize,
        /// How many addresses were given.
        addresses: usize,
    },
    /// Hosts and ports in the parameters do not match in number.
    #[error("{hosts} hosts and {ports} ports: give one port, or one for each host")]
    HostsAndPorts {
        /// How many hosts were given.
        hosts: usize,
        /// How many ports were given.
        ports: usize,
    },
    /// A user is missing.
    #[error("names no user: write postgres://user@host/database")]
    User,
    /// The database's name holds what belongs before it.
    #[error("the database's name holds an @ or ://: give one URL, and in a password write / as %2F")]
    Database,
    /// The database's name holds a `/` that is not escaped.
    #[error(
        "the database's name holds a /: write a socket's directory as host=/run/postgresql behind the ?, or \
         its / as %2F before the database"
    )]
    SocketDirectory,
}

impl DatabaseUrl {
    /// A URL from its parts; `hosts` must not be empty, an empty list means localhost.
    pub fn from_parts(
        hosts: Vec<Endpoint>,
        user: impl Into<String>,
        password: Option<String>,
        database: impl Into<String>,
    ) -> Self {
        let hosts = if hosts.is_empty() { vec![local()] } else { hosts };
        let (user, database) = (user.into(), database.into());
        DatabaseUrl { hosts, addresses: Vec::new(), user, password, database, params: BTreeMap::new() }
    }

    /// The servers, in the order in which they are to be tried; never empty.
    pub fn hosts(&self) -> &[Endpoint] {
        &self.hosts
    }

    /// The user to log in as.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The database to open.
    pub fn database(&self) -> &str {
        &self.database
    }

    /// Whether it carries a password.
    pub fn has_password(&self) -> bool {
        self.password.is_some()
    }

    /// The addresses that the URL's `hostaddr` gives for `endpoint`; empty where its name is to be looked up.
    pub fn addresses_of(&self, endpoint: &Endpoint) -> Vec<IpAddr> {
        let found = self.addresses.iter().filter(|(host, _)| host == endpoint);
        found.map(|(_, address)| *address).collect()
    }

    /// A parameter's value, such as `options` or `application_name`.
    pub fn param(&self, name: &str) -> Option<&str> {
        self.params.get(name).map(String::as_str)
    }

    /// Whether a parameter may have this value by itself.
    pub(crate) fn check_param(name: &str, value: &str) -> Result<(), InvalidUrl> {
        parameters::check_value(name, value)
    }

    /// Reads one parameter by the names of libpq's service files, which are those of a URL.
    pub(crate) fn read_param(name: &str, value: &str) -> Result<(), InvalidUrl> {
        parameters::check_name(1, name).and_then(|()| parameters::check_value(name, value))
    }

    pub(crate) fn password(&self) -> Option<&str> {
        self.password.as_deref()
    }
}

impl FromStr for DatabaseUrl {
    type Err = InvalidUrl;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Said::of(text)?.url(&|_| None)
    }
}

/// What must be escaped in a URL's parts.
const ESCAPED: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'&')
    .add(b'+')
    .add(b',')
    .add(b'/')
    .add(b':')
    .add(b'=')
    .add(b'?')
    .add(b'@')
    .add(b'[')
    .add(b']');

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let escape = |text| utf8_percent_encode(text, ESCAPED);
        write!(f, "postgres://{}", escape(&self.user))?;
        if self.has_password() {
            f.write_str(":***")?;
        }
        for (index, host) in self.hosts.iter().enumerate() {
            f.write_char(if index == 0 { '@' } else { ',' })?;
            match host.socket_dir() {
                Some(_) => write!(f, "{}:{}", escape(host.host()), host.port())?,
                None => write!(f, "{host}")?,
            }
        }
        write!(f, "/{}", escape(&self.database))?;
        let address = |host| self.addresses_of(host).first().map(IpAddr::to_string).unwrap_or_default();
        let addresses: Vec<String> = self.hosts.iter().map(address).collect();
        let mut mark = '?';
        if addresses.iter().any(|address| !address.is_empty()) {
            write!(f, "{mark}hostaddr={}", addresses.join(","))?;
            mark = '&';
        }
        for (name, value) in &self.params {
            write!(f, "{mark}{name}={}", escape(value))?;
            mark = '&';
        }
        Ok(())
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DatabaseUrl({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(text: &str, printed: &str) {
        let url: DatabaseUrl = text.parse().unwrap();
        assert_eq!(url.to_string(), printed);
    }

    #[test]
    fn what_libpq_accepts_is_read_and_printed_without_the_password() {
        check("postgres://ann@db/app", "postgres://ann@db:5432/app");
        check("postgresql://ann:pw@db:6432/app", "postgres://ann:***@db:6432/app");
        check("postgres://ann:p%40w%3A%2F@db", "postgres://ann:***@db:5432/ann");
        check("postgres://ann:p@w@db/app", "postgres://ann:***@db:5432/app");
        check("postgres://ann@a,b:6000/app", "postgres://ann@a:5432,b:6000/app");
        check("postgres://ann@[::1]:6000/app", "postgres://ann@[::1]:6000/app");
        check("postgres://ann@%2Frun%2Fpg/app", "postgres://ann@%2Frun%2Fpg:5432/app");
        check("postgres://ann@/app?host=/run/pg&port=6000", "postgres://ann@%2Frun%2Fpg:6000/app");
        check("postgres:///app?user=ann&password=pw", "postgres://ann:***@localhost:5432/app");
        check("postgres://ann@a,b/app?port=1,2", "postgres://ann@a:1,b:2/app");
        check("postgres:///app?user=ann&hostaddr=10.0.0.7", "postgres://ann@10.0.0.7:5432/app");
        check(
            "postgres://ann@a,b/app?hostaddr=,10.0.0.7&sslmode=require",
            "postgres://ann@a:5432,b:5432/app?hostaddr=,10.0.0.7&sslmode=require",
        );
        check(
            "postgres://ann@db/app?sslmode=verify-full&options=-c%20search_path%3Dx",
            "postgres://ann@db:5432/app?options=-c%20search_path%3Dx&sslmode=verify-full",
        );
    }

    #[track_caller]
    fn check_refused(text: &str, error: InvalidUrl) {
        assert_eq!(text.parse::<DatabaseUrl>().unwrap_err(), error, "{text}");
    }

    #[test]
    fn what_is_wrong_is_named() {
        check_refused("mysql://ann@db/app", InvalidUrl::Scheme);
        check_refused("postgres://ann@db:99999/app", InvalidUrl::Port);
        check_refused("postgres://ann@db:0/app", InvalidUrl::Port);
        check_refused("postgres://ann@[::1/app", InvalidUrl::Ipv6);
        check_refused("postgres://ann:p%w@db/app", InvalidUrl::Escape("password"));
        check_refused("postgres://db/app", InvalidUrl::User);
        check_refused(
            "postgres://ann@db/app?sslmod=require",
            InvalidUrl::Misspelt { place: 1, meant: "sslmode" },
        );
        check_refused("postgres://ann@/run/postgresql/app", InvalidUrl::SocketDirectory);
        check_refused("postgres://ann@db/app?sslmode=on", InvalidUrl::SslMode);
        check_refused("postgres://ann@db/app?sslmode=require&options", InvalidUrl::NoValue(2));
        check_refused("postgres://ann@db/app,postgres://ann@db2/app", InvalidUrl::Database);
        check_refused("postgres://ann@a/app?hostaddr=b", InvalidUrl::Address);
        check_refused(
            "postgres://ann@a,b/app?hostaddr=::1",
            InvalidUrl::HostsAndAddresses { hosts: 2, addresses: 1 },
        );
        check_refused("postgres://ann@a,b,c/app?port=1,2", InvalidUrl::HostsAndPorts { hosts: 3, ports: 2 });
    }

    /// What people forget to escape puts the password's rest where something else is expected.
    #[test]
    fn a_password_that_was_not_escaped_is_not_quoted() {
        for text in
            ["ann:hunter2/x@db/app", "ann:p?hunter2@db/app", "ann:p#hunter2@db/app", "ann:p?hunter2=1@db/app"]
        {
            match format!("postgres://{text}").parse::<DatabaseUrl>() {
                Ok(url) => assert!(!format!("{url} {url:?}").contains("hunter2"), "{text}"),
                Err(error) => assert!(!format!("{error} {error:?}").contains("hunter2"), "{text}: {error}"),
            }
        }
    }

    proptest! {
        #[test]
        fn the_password_is_never_printed(password in "[a-zA-Z0-9]{12,24}") {
            let url: DatabaseUrl = format!("postgres://ann:{password}@db/app?sslmode=require").parse().unwrap();
            let printed = [url.to_string(), format!("{url:?}"), format!("{url:#?}")].concat();
            prop_assert!(!printed.contains(&password));
        }

        #[test]
        fn nothing_makes_it_panic(text in "postgres(ql)?://[ -~]{0,40}") {
            let _ = text.parse::<DatabaseUrl>();
        }
    }
}
