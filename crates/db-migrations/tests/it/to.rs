//! Opens connections to a URL, whatever endpoint is asked for.

use db_core::{Connect, ConnectError, ConnectFailure, Endpoint};
use diesel_async::{AsyncConnection, AsyncPgConnection};

pub(crate) struct To(pub(crate) String);

impl Connect for To {
    async fn connect(&self, endpoint: &Endpoint) -> db_core::Result<AsyncPgConnection> {
        AsyncPgConnection::establish(&self.0).await.map_err(|error| {
            let failure = ConnectFailure::Other;
            ConnectError::new(endpoint.clone(), ("", ""), failure, Default::default(), error.to_string())
                .into()
        })
    }
}
