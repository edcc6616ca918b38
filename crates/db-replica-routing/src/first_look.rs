//! Finds the primary among servers before there is a router: each is asked once, in the order in which they
//! are named.

use std::time::Duration;

use db_core::{Class, Classify, Connect, Endpoint, Error, Result};
use diesel::sql_types::{Bool, Integer};
use diesel::{QueryableByName, sql_query};
use diesel_async::RunQueryDsl;

/// What a server says of itself.
#[derive(Debug, QueryableByName)]
#[non_exhaustive]
pub struct ServerFacts {
    /// Whether it is a standby.
    #[diesel(sql_type = Bool)]
    pub in_recovery: bool,
    /// How many sessions it takes at most.
    #[diesel(sql_type = Integer)]
    pub max_connections: i32,
}

/// The first of these servers that is a primary; where all that answer are standbys, the first of these,
/// which the log tells.
///
/// A server that lets us in and says nothing for twice `connect_timeout` is passed over.
///
/// ```no_run
/// # use std::time::Duration;
/// # use db_core::{Connect, Endpoint, Result};
/// # async fn find(hosts: &[Endpoint], connector: &impl Connect) -> Result<Endpoint> {
/// let named = hosts.iter().map(|host| (host, connector));
/// Ok(db_replica_routing::find_primary(named, Duration::from_secs(5)).await?.0)
/// # }
/// ```
///
/// # Errors
/// [`Error::Connect`] where none answers; the last one's error.
///
/// # Cancel safety
/// Dropping the future closes whatever was opened.
pub async fn find_primary<'s, C: Connect + 's>(
    servers: impl IntoIterator<Item = (&'s Endpoint, &'s C)>,
    connect_timeout: Duration,
) -> Result<(Endpoint, ServerFacts)> {
    Ok(warned_of_standbys(look(servers, connect_timeout).await?))
}

/// As [`find_primary`], where some are named as standbys: these are asked where none of the others is a
/// primary, because a failover may have made it one of them. Where only standbys answer, reads can go on.
///
/// # Errors
/// As [`find_primary`]; that of the others where they refuse us for good (the user, the password, the
/// database), whichever standby answers.
///
/// # Cancel safety
/// As [`find_primary`].
pub async fn find_primary_beside<'s, C: Connect + 's>(
    servers: impl IntoIterator<Item = (&'s Endpoint, &'s C)>,
    standbys: impl IntoIterator<Item = (&'s Endpoint, &'s C)>,
    connect_timeout: Duration,
) -> Result<(Endpoint, ServerFacts)> {
    let named = look(servers, connect_timeout).await;
    if named.as_ref().is_ok_and(|(_, facts)| !facts.in_recovery) {
        return named;
    }
    match look(standbys, connect_timeout).await {
        Ok(found) if !found.1.in_recovery => Ok(found),
        Ok(standby) if named.as_ref().is_err_and(|error| error.class() != Class::Permanent) => {
            Ok(warned_of_standbys(standby))
        }
        Ok(_) | Err(_) => named.map(warned_of_standbys),
    }
}

fn warned_of_standbys(found: (Endpoint, ServerFacts)) -> (Endpoint, ServerFacts) {
    if found.1.in_recovery {
        let endpoint = &found.0;
        tracing::warn!(%endpoint, "only standbys answer: reads go on, writes wait for a primary and then fail");
    }
    found
}

async fn look<'s, C: Connect + 's>(
    servers: impl IntoIterator<Item = (&'s Endpoint, &'s C)>,
    connect_timeout: Duration,
) -> Result<(Endpoint, ServerFacts)> {
    let servers: Vec<_> = servers.into_iter().collect();
    let (mut standby, mut failure) = (None, None);
    for &(host, connector) in &servers {
        match ask(connector, host, connect_timeout.saturating_mul(2)).await {
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
        (Some(standby), _) => Ok(standby),
        (None, Some(error)) => Err(error),
        (None, None) => Err(Error::ConnectionLost { reason: "the URL names no host".to_owned() }),
    }
}

/// A server that lets us in and then says nothing is given up as one that does not let us in.
async fn ask(connector: &impl Connect, host: &Endpoint, waited: Duration) -> Result<ServerFacts> {
    let asking = async {
        let mut conn = connector.connect(host).await?;
        let facts = sql_query(
            "SELECT pg_catalog.pg_is_in_recovery() AS in_recovery, \
             pg_catalog.current_setting('max_connections')::integer AS max_connections",
        );
        Ok(facts.get_result(&mut conn).await?)
    };
    tokio::time::timeout(waited, asking).await.unwrap_or(Err(Error::DeadlineExceeded { waited }))
}
