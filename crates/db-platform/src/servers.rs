//! Which servers a configuration names, how each is connected to, and which of them is the primary.

use std::time::Duration;

use std::sync::Arc;

use db_core::{Connect as _, DatabaseUrl, Endpoint, OpenDirect, Result};
use db_pool::{Connector, PoolConfig};
use db_replica_routing::{ServerFacts, find_primary, find_primary_beside};

use crate::config::Config;

const TARGET: &str = "target_session_attrs";

/// The servers that a configuration names.
#[derive(Debug)]
pub(crate) struct Servers {
    known: Vec<Server>,
    /// For those that are learned of later.
    common: Connector,
}

#[derive(Debug)]
struct Server {
    endpoint: Endpoint,
    connector: Connector,
    named: Named,
}

/// What a server is named as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Named {
    Primary,
    /// Nobody says which role it has.
    Node,
    Standby,
}

impl Servers {
    /// Where several URLs name one server, the first counts.
    pub(crate) fn of(config: &Config) -> Self {
        // Which server writes and which reads is found out, and one that was a standby may have to be written
        // to.
        let connector =
            |url: &DatabaseUrl| Connector::new(url.clone().without_param(TARGET), config.connect.clone());
        let is_primary = config.url.hosts().len() == 1 && !config.nodes.contains(&config.url);
        let first = if is_primary { Named::Primary } else { Named::Node };
        let urls = std::iter::once((&config.url, first))
            .chain(config.nodes.iter().map(|url| (url, Named::Node)))
            .chain(config.read_urls.iter().map(|url| (url, Named::Standby)));
        let mut known: Vec<Server> = Vec::new();
        for (url, named) in urls {
            let connector = connector(url);
            for endpoint in url.hosts() {
                if !known.iter().any(|server| server.endpoint == *endpoint) {
                    let (endpoint, connector) = (endpoint.clone(), connector.clone());
                    known.push(Server { endpoint, connector, named });
                }
            }
        }
        Servers { known, common: connector(&config.url) }
    }

    /// How to connect to one of them.
    pub(crate) fn connector(&self, endpoint: &Endpoint) -> &Connector {
        let own = self.known.iter().find(|server| server.endpoint == *endpoint);
        own.map_or(&self.common, |server| &server.connector)
    }

    /// The pool of a server, for whatever its role is.
    pub(crate) fn plain_pool(
        &self,
        endpoint: &Endpoint,
        writes: &PoolConfig,
        reads: &PoolConfig,
    ) -> PoolConfig {
        let max = writes.max.max(reads.max);
        match self.known.iter().find(|server| server.endpoint == *endpoint).map(|server| server.named) {
            Some(Named::Primary) => writes.clone(),
            Some(Named::Node) => PoolConfig { max, min: writes.min.max(reads.min), ..writes.clone() },
            // Whoever is a standby now may take the writes later.
            Some(Named::Standby) | None => PoolConfig { max, ..reads.clone() },
        }
    }

    /// The longest `statement_timeout` that sessions start with; none where one has no limit.
    pub(crate) fn statement_timeout(&self) -> Option<Duration> {
        let connectors = self.known.iter().map(|server| &server.connector).chain([&self.common]);
        let timeouts: Option<Vec<Duration>> = connectors.map(Connector::statement_timeout).collect();
        timeouts?.into_iter().max()
    }

    /// Whether there is any besides those of the one URL.
    pub(crate) fn are_several(&self) -> bool {
        self.known.iter().any(|server| server.named != Named::Primary)
    }

    /// What the primary says of itself; where only standbys answer, what one of these says.
    ///
    /// # Errors
    /// As [`find_primary_beside`].
    pub(crate) async fn primary(&self) -> Result<ServerFacts> {
        let of = |standbys: bool| {
            let chosen = self.known.iter().filter(move |server| (server.named == Named::Standby) == standbys);
            chosen.map(|server| (&server.endpoint, &server.connector))
        };
        let limit = self.common.config().connect_timeout;
        Ok(find_primary_beside(of(false), of(true), limit).await?.1)
    }

    /// All of them.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = &Endpoint> {
        self.known.iter().map(|server| &server.endpoint)
    }
}

/// The first of a URL's hosts that is a primary; where all that answer are standbys, the first of these.
///
/// # Errors
/// [`Error::Connect`](db_core::Error::Connect) where none answers within the connector's `connect_timeout`;
/// the last one's error.
///
/// # Cancel safety
/// Dropping the future closes whatever was opened.
pub async fn primary_of(connector: &Connector) -> Result<Endpoint> {
    let hosts = connector.url().hosts().iter().map(|host| (host, connector));
    Ok(find_primary(hosts, connector.config().connect_timeout).await?.0)
}

/// The way to the primary that is behind this connector.
pub(crate) fn open_direct(direct: Connector) -> OpenDirect {
    Arc::new(move |database| {
        let direct = direct.clone();
        Box::pin(async move {
            let primary = primary_of(&direct).await?;
            let there = match database {
                None => direct,
                Some(database) => {
                    let url = direct.url().clone().with_database(&*database);
                    Connector::new(url, direct.config().clone())
                }
            };
            let conn = there.connect(&primary).await?;
            Ok((primary, conn))
        })
    })
}

impl From<&Config> for OpenDirect {
    fn from(config: &Config) -> OpenDirect {
        open_direct(Connector::new(config.direct_url.clone(), config.connect.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use db_core::Environment;

    fn sized(max: usize) -> PoolConfig {
        PoolConfig { max: std::num::NonZeroUsize::new(max).unwrap(), ..PoolConfig::default() }
    }

    fn url(text: &str) -> DatabaseUrl {
        text.parse().unwrap()
    }

    #[test]
    fn each_server_is_known_once_with_its_own_login() {
        let mut config = Config::new(Environment::Test, url("postgres://ann@a,b/app"));
        config.nodes = vec![url("postgres://bob@b/app"), url("postgres://bob@c:6000/app")];
        config.read_urls = vec![url("postgres://eve@c:6000,d/app")];
        let servers = Servers::of(&config);
        let seen: Vec<_> = servers
            .nodes()
            .map(|node| {
                let (writes, reads) =
                    (PoolConfig { min: 3, ..sized(10) }, PoolConfig { min: 1, ..sized(20) });
                let pool = servers.plain_pool(node, &writes, &reads);
                format!("{node} {} {} to {}", servers.connector(node).url().user(), pool.min, pool.max)
            })
            .collect();
        assert_eq!(
            seen,
            ["a:5432 ann 3 to 20", "b:5432 ann 3 to 20", "c:6000 bob 3 to 20", "d:5432 eve 1 to 20"]
        );
        assert_eq!(servers.connector(&Endpoint::new("e", 5432)).url().user(), "ann");
        let mut alone = Config::new(Environment::Test, url("postgres://ann@a/app"));
        alone.read_urls = vec![url("postgres://ann@b/app")];
        let pool = Servers::of(&alone).plain_pool(&Endpoint::new("a", 5432), &sized(10), &sized(20));
        assert_eq!(pool.max.get(), 10, "it is the primary, and writes have their own limit");
    }
}
