//! Which servers a configuration names, how each is connected to, and which of them is the primary.

use db_core::{Connect, DatabaseUrl, Endpoint, Error, Result};
use db_pool::Connector;
use diesel::sql_types::{Bool, Integer};
use diesel::{QueryableByName, sql_query};
use diesel_async::RunQueryDsl;

use crate::config::Config;

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
    may_write: bool,
}

impl Servers {
    /// Where several URLs name one server, the first counts.
    pub(crate) fn of(config: &Config) -> Self {
        let connector = |url: &DatabaseUrl| Connector::new(url.clone(), config.connect.clone());
        let writers = std::iter::once(&config.url).chain(&config.nodes).map(|url| (url, true));
        let mut known: Vec<Server> = Vec::new();
        for (url, may_write) in writers.chain(config.read_urls.iter().map(|url| (url, false))) {
            let connector = connector(url);
            for endpoint in url.hosts() {
                if !known.iter().any(|server| server.endpoint == *endpoint) {
                    let (endpoint, connector) = (endpoint.clone(), connector.clone());
                    known.push(Server { endpoint, connector, may_write });
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

    /// Whether it is named as a standby only.
    pub(crate) fn may_write(&self, endpoint: &Endpoint) -> bool {
        self.that_may_write().any(|(known, _)| known == endpoint)
    }

    pub(crate) fn that_may_write(&self) -> impl Iterator<Item = (&Endpoint, &Connector)> {
        self.known
            .iter()
            .filter(|server| server.may_write)
            .map(|server| (&server.endpoint, &server.connector))
    }

    /// All of them.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = &Endpoint> {
        self.known.iter().map(|server| &server.endpoint)
    }
}

/// What a server says of itself.
#[derive(QueryableByName)]
pub(crate) struct ServerFacts {
    #[diesel(sql_type = Bool)]
    in_recovery: bool,
    #[diesel(sql_type = Integer)]
    pub(crate) max_connections: i32,
}

/// The first of a URL's hosts that is a primary; where all that answer are standbys, the first of these.
///
/// # Errors
/// [`Error::Connect`] where none answers within the connector's `connect_timeout`; the last one's error.
///
/// # Cancel safety
/// Dropping the future closes whatever was opened.
pub async fn primary_of(connector: &Connector) -> Result<Endpoint> {
    Ok(find_primary(connector.url().hosts().iter().map(|host| (host, connector))).await?.0)
}

pub(crate) async fn find_primary<'a>(
    servers: impl IntoIterator<Item = (&'a Endpoint, &'a Connector)>,
) -> Result<(Endpoint, ServerFacts)> {
    let servers: Vec<_> = servers.into_iter().collect();
    let (mut standby, mut failure) = (None, None);
    for &(host, connector) in &servers {
        match ask(connector, host).await {
            Ok(facts) if !facts.in_recovery => return Ok((host.clone(), facts)),
            Ok(facts) => standby = standby.or(Some((host.clone(), facts))),
            Err(error) => {
                if servers.len() > 1 {
                    tracing::warn!(endpoint = %host, %error, "trying the next host");
                }
                failure = Some(error);
            }
        }
    }
    match (standby, failure) {
        (Some((host, facts)), _) => {
            tracing::warn!(endpoint = %host, "there are standbys only: writes will fail until one is promoted");
            Ok((host, facts))
        }
        (None, Some(error)) => Err(error),
        (None, None) => Err(Error::ConnectionLost { reason: "the URL names no host".to_owned() }),
    }
}

/// A server that lets us in and then says nothing is given up as one that does not let us in.
async fn ask(connector: &Connector, host: &Endpoint) -> Result<ServerFacts> {
    let waited = connector.config().connect_timeout;
    let asking = async {
        let mut conn = connector.connect(host).await?;
        let facts = sql_query(
            "SELECT pg_is_in_recovery() AS in_recovery, current_setting('max_connections')::int4 AS max_connections",
        );
        Ok(facts.get_result(&mut conn).await?)
    };
    tokio::time::timeout(waited * 2, asking)
        .await
        .unwrap_or(Err(Error::DeadlineExceeded { waited: waited * 2 }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use db_core::Environment;

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
                format!("{node} {} {}", servers.connector(node).url().user(), servers.may_write(node))
            })
            .collect();
        assert_eq!(seen, ["a:5432 ann true", "b:5432 ann true", "c:6000 bob true", "d:5432 eve false"]);
        let learned = Endpoint::new("e", 5432);
        assert_eq!((servers.connector(&learned).url().user(), servers.may_write(&learned)), ("ann", false));
    }
}
