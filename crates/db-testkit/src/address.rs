//! A database of a server, and the way to connect to it.

use crate::background;
use crate::error::{BoxError, TestkitError};
use db_core::DatabaseUrl;
use diesel_async::AsyncPgConnection;
use std::time::Duration;
use tokio_postgres::{Client, NoTls, Socket, tls::NoTlsStream};

/// A server on this machine connects in milliseconds; one that is starting under load may take seconds.
const CONNECT_WITHIN: Duration = Duration::from_secs(30);

/// A URL with its password, and the same taken apart.
#[derive(Clone)]
pub(crate) struct Address {
    text: String,
    url: DatabaseUrl,
}

impl Address {
    /// Reads a URL; the error says what is wrong with it and does not show it.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let url: DatabaseUrl = text.parse().map_err(|error| format!("is no PostgreSQL URL: {error}"))?;
        if text.split_once('?').is_some_and(|(_, query)| query.contains("dbname=")) {
            return Err("names its database in the query (dbname=), where it must be in the path".to_owned());
        }
        Ok(Self { text: text.to_owned(), url })
    }

    /// Another database of the same server. Its name must need no escaping.
    pub(crate) fn database(&self, name: &str) -> Self {
        let (rest, query) = match self.text.split_once('?') {
            Some((rest, query)) => (rest, format!("?{query}")),
            None => (self.text.as_str(), String::new()),
        };
        let start = rest.find("://").map_or(0, |at| at + 3);
        let end = rest[start..].find('/').map_or(rest.len(), |at| start + at);
        Self { text: format!("{}/{name}{query}", &rest[..end]), url: self.url.clone().with_database(name) }
    }

    /// The URL with its password: never log it.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Server and database, for messages.
    pub(crate) fn label(&self) -> String {
        let server = self.url.hosts().first().map_or_else(String::new, ToString::to_string);
        format!("{server}/{}", self.url.database())
    }

    /// A connection whose socket is served by the kit's own thread.
    pub(crate) async fn client(&self, doing: &str) -> Result<Client, TestkitError> {
        let (client, connection) = self.open(doing).await?;
        // Its errors reach whoever uses the client.
        tokio::spawn(async move { drop(connection.await) });
        Ok(client)
    }

    /// The same for diesel, and for callers that are on no thread of the kit's.
    pub(crate) async fn connect(&self, doing: &str) -> Result<AsyncPgConnection, TestkitError> {
        let (address, doing) = (self.clone(), doing.to_owned());
        let failed = {
            let (server, doing) = (self.label(), doing.clone());
            move |source: BoxError| TestkitError::Connect { server, doing, source }
        };
        background::run(&doing.clone(), async move {
            let (client, connection) = address.open(&doing).await?;
            AsyncPgConnection::try_from_client_and_connection(client, connection)
                .await
                .map_err(|error| failed(error.into()))
        })
        .await?
    }

    async fn open(
        &self,
        doing: &str,
    ) -> Result<(Client, tokio_postgres::Connection<Socket, NoTlsStream>), TestkitError> {
        let failed = |source: BoxError| TestkitError::Connect {
            server: self.label(),
            doing: doing.to_owned(),
            source,
        };
        let Some(endpoint) = self.url.hosts().first() else {
            return Err(failed("the URL names no host".into()));
        };
        let config = self.url.postgres_config(endpoint);
        match tokio::time::timeout(CONNECT_WITHIN, config.connect(NoTls)).await {
            Ok(Ok(opened)) => Ok(opened),
            Ok(Err(error)) => Err(failed(error.into())),
            Err(_) => Err(failed(format!("the server did not answer within {CONNECT_WITHIN:?}").into())),
        }
    }

    /// Turns an error of a statement on this database into the kit's own.
    pub(crate) fn failed(
        &self,
        doing: impl Into<String>,
    ) -> impl FnOnce(tokio_postgres::Error) -> TestkitError {
        let (server, doing) = (self.label(), doing.into());
        move |source| TestkitError::Statement { server, doing, source: source.into() }
    }
}

/// A URL with its host and port replaced by others.
pub(crate) fn through(url: &str, other: &str) -> Result<String, TestkitError> {
    let (scheme, rest) = url.split_once("://").ok_or(TestkitError::NotAUrl)?;
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let (user, host) = authority.rsplit_once('@').map_or(("", authority), |(user, host)| (user, host));
    if host.is_empty() || host.contains(',') {
        return Err(TestkitError::NotAUrl);
    }
    let at = if user.is_empty() { "" } else { "@" };
    Ok(format!("{scheme}://{user}{at}{other}{path}"))
}

#[cfg(test)]
mod tests {
    use super::Address;

    #[track_caller]
    fn check(url: &str, expected: &str) {
        assert_eq!(Address::parse(url).unwrap().database("other").text(), expected);
    }

    #[test]
    fn only_the_database_of_a_url_is_replaced() {
        check("postgres://a:p%2Fw@h:1/app", "postgres://a:p%2Fw@h:1/other");
        check("postgres://a@h", "postgres://a@h/other");
        check("postgres://a@h/?application_name=x", "postgres://a@h/other?application_name=x");
        check("postgresql://a@/app?host=/run/pg", "postgresql://a@/other?host=/run/pg");
    }

    #[test]
    fn what_is_wrong_with_a_url_is_said_without_its_password() {
        for url in ["postgres://a:secret@h/?dbname=x", "mysql://a:secret@h/x", "postgres://a:secret@h:0/x"] {
            let said = Address::parse(url).err().unwrap();
            assert!(!said.contains("secret"), "{said}");
        }
    }
}
