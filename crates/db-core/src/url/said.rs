//! What a connection URL says, before what it leaves out is filled in.

use std::collections::BTreeMap;
use std::net::IpAddr;

use percent_encoding::percent_decode_str;

use super::{DatabaseUrl, InvalidUrl, parameters};
use crate::Endpoint;

/// A host, and its port where it has one.
type Host = (String, Option<u16>);

/// What a URL says, part by part; the parameters `host`, `port`, `user`, `password`, `dbname` count as those
/// parts.
#[derive(Default)]
pub(crate) struct Said {
    pub(crate) hosts: Vec<Host>,
    pub(crate) user: Option<String>,
    pub(crate) password: Option<String>,
    pub(crate) database: Option<String>,
    pub(crate) params: BTreeMap<String, String>,
}

impl Said {
    pub(crate) fn of(text: &str) -> Result<Self, InvalidUrl> {
        let rest = text
            .strip_prefix("postgres://")
            .or_else(|| text.strip_prefix("postgresql://"))
            .ok_or(InvalidUrl::Scheme)?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (userinfo, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (user, password) = match userinfo.split_once(':') {
            Some((user, password)) => (user, Some(password)),
            None => (userinfo, None),
        };
        let mut params = parameters::parse(query)?;
        let mut hosts = hosts
            .split(',')
            .filter(|part| !part.is_empty())
            .map(host_and_port)
            .collect::<Result<Vec<_>, _>>()?;
        if let Some(list) = params.remove("host") {
            hosts = names(&list);
        }
        let part = |text: &str, what| Some(decode(text, what)).filter(|_| !text.is_empty()).transpose();
        let user = match params.remove("user") {
            Some(user) => Some(user),
            None => part(user, "user")?,
        };
        let password = match params.remove("password") {
            Some(password) => Some(password),
            None => password.map(|password| decode(password, "password")).transpose()?,
        };
        if path.contains('@') || path.contains("://") {
            return Err(InvalidUrl::Database);
        }
        if path.contains('/') {
            return Err(InvalidUrl::SocketDirectory);
        }
        let database = match params.remove("dbname") {
            Some(database) => Some(database),
            None => part(path, "database")?,
        };
        Ok(Said { hosts, user, password, database, params })
    }

    /// The URL; `unsaid` knows parameters that hold where nothing was said.
    pub(crate) fn url(mut self, unsaid: &dyn Fn(&str) -> Option<String>) -> Result<DatabaseUrl, InvalidUrl> {
        for name in parameters::filled() {
            if !self.params.contains_key(name)
                && let Some(value) = unsaid(name)
            {
                self.params.insert(name.to_owned(), value);
            }
        }
        parameters::check_together(&self.params)?;
        let says_where = !self.hosts.is_empty() || self.params.contains_key("hostaddr");
        let unsaid_host = |name| Some(name).filter(|_| !says_where).and_then(unsaid);
        let hostaddr = self.params.remove("hostaddr").or_else(|| unsaid_host("hostaddr"));
        let hostaddr = hostaddr.filter(|list| !list.is_empty());
        if let Some(list) = unsaid_host("host") {
            self.hosts = names(&list);
        }
        if let (true, Some(list)) = (self.hosts.is_empty(), &hostaddr) {
            // Where only addresses are given, they are the hosts.
            self.hosts = names(list);
        }
        let has_port = self.hosts.iter().any(|(_, port)| port.is_some());
        let port = self.params.remove("port").or_else(|| unsaid("port").filter(|_| !has_port));
        let hosts = endpoints(self.hosts, port)?;
        let addresses = hostaddr.map(|list| addresses(&hosts, &list)).transpose()?.unwrap_or_default();
        let said = |text: Option<String>, name| text.or_else(|| unsaid(name)).filter(|text| !text.is_empty());
        let user = said(self.user, "user").ok_or(InvalidUrl::User)?;
        let database = said(self.database, "dbname").unwrap_or_else(|| user.clone());
        let password = self.password.or_else(|| unsaid("password"));
        Ok(DatabaseUrl { hosts, addresses, user, password, database, params: self.params })
    }
}

pub(super) fn local() -> Endpoint {
    Endpoint::new("localhost", Endpoint::DEFAULT_PORT)
}

/// Each host with its port: the parameter's, else its own, else PostgreSQL's.
fn endpoints(mut hosts: Vec<Host>, port: Option<String>) -> Result<Vec<Endpoint>, InvalidUrl> {
    if hosts.is_empty() {
        hosts.push((local().host().to_owned(), None));
    }
    if let Some(ports) = port {
        let ports = ports.split(',').map(parse_port).collect::<Result<Vec<_>, _>>()?;
        if ports.len() != 1 && ports.len() != hosts.len() {
            return Err(InvalidUrl::HostsAndPorts { hosts: hosts.len(), ports: ports.len() });
        }
        for (index, (_, port)) in hosts.iter_mut().enumerate() {
            *port = ports.get(index).or(ports.first()).copied();
        }
    }
    let endpoint = |(host, port): Host| Endpoint::new(host, port.unwrap_or(Endpoint::DEFAULT_PORT));
    Ok(hosts.into_iter().map(endpoint).collect())
}

fn names(list: &str) -> Vec<Host> {
    list.split(',').map(|host| (host.to_owned(), None)).collect()
}

/// Which host is at which of the addresses in `list`; an empty one means that the host's name is looked up.
fn addresses(hosts: &[Endpoint], list: &str) -> Result<Vec<(Endpoint, IpAddr)>, InvalidUrl> {
    let addresses: Vec<&str> = list.split(',').collect();
    if addresses.len() != hosts.len() {
        return Err(InvalidUrl::HostsAndAddresses { hosts: hosts.len(), addresses: addresses.len() });
    }
    let mut found = Vec::new();
    for (host, address) in hosts.iter().zip(addresses).filter(|(_, address)| !address.is_empty()) {
        let address: IpAddr = address.parse().map_err(|_| InvalidUrl::Address)?;
        if host.host() != address.to_string() {
            found.push((host.clone(), address));
        }
    }
    Ok(found)
}

fn host_and_port(part: &str) -> Result<Host, InvalidUrl> {
    if let Some(rest) = part.strip_prefix('[') {
        let (address, rest) = rest.split_once(']').ok_or(InvalidUrl::Ipv6)?;
        // A zone (`fe80::1%25eth0`) is not part of the address proper.
        let bare = address.split('%').next().unwrap_or(address);
        bare.parse::<std::net::Ipv6Addr>().map_err(|_| InvalidUrl::Ipv6)?;
        let port = match rest.strip_prefix(':') {
            Some(port) => Some(parse_port(port)?),
            None if rest.is_empty() => None,
            None => return Err(InvalidUrl::Ipv6),
        };
        return Ok((decode(address, "host")?, port));
    }
    match part.rsplit_once(':') {
        Some((host, "")) => Ok((decode(host, "host")?, None)),
        Some((host, port)) => Ok((decode(host, "host")?, Some(parse_port(port)?))),
        None => Ok((decode(part, "host")?, None)),
    }
}

fn parse_port(text: &str) -> Result<u16, InvalidUrl> {
    let port = text.parse::<u16>().ok().filter(|port| *port != 0);
    port.ok_or(InvalidUrl::Port)
}

pub(super) fn decode(text: &str, what: &'static str) -> Result<String, InvalidUrl> {
    let bytes = text.as_bytes();
    let escapes_are_whole = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'%').all(|(at, _)| {
        bytes.get(at + 1..at + 3).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    });
    if !escapes_are_whole {
        return Err(InvalidUrl::Escape(what));
    }
    let decoded = percent_decode_str(text).decode_utf8().map_err(|_| InvalidUrl::Escape(what))?;
    Ok(decoded.into_owned())
}
