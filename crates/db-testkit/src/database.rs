//! A database for one test: cloned in milliseconds, gone with its value.

use crate::address::Address;
use crate::background;
use crate::error::TestkitError;
use crate::hub::Hub;
use crate::template;
use diesel_async::AsyncPgConnection;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

const DROPPED_WITHIN: Duration = Duration::from_secs(60);

/// A database of its own for one test.
///
/// It lives on the server that `DB_TESTKIT_URL` names, else on one that the kit starts for this process.
/// Dropping the value drops the database and cuts its connections, in a panic too, with a runtime or without
/// one; `drop` returns when it is gone. What a killed process left behind is swept by the next one.
pub struct TestDatabase {
    hub: Arc<Hub>,
    address: Address,
    name: String,
}

impl TestDatabase {
    /// A copy of the template that `migrate` fills, once for each `content_hash`.
    ///
    /// The hash stands for everything that `migrate` does: take it over the migrations' names and texts.
    /// Tests and processes that ask for the same hash at once wait for the first to fill it; a template that
    /// was not filled to its end is never used. `migrate` must end its own connections, if it opens more than
    /// the one it gets.
    ///
    /// # Errors
    /// When there is no server, when it refuses, or when `migrate` fails.
    pub async fn from_template<E: Into<Box<dyn std::error::Error + Send + Sync>>>(
        content_hash: &str,
        migrate: impl AsyncFnOnce(&mut AsyncPgConnection) -> Result<(), E>,
    ) -> Result<Self, TestkitError> {
        let hub = Hub::get().await?;
        let template = template::ready::<E>(&hub, content_hash, migrate).await?;
        Self::clone_of(hub, template.name().to_owned()).await
    }

    /// A database with nothing in it.
    ///
    /// # Errors
    /// When there is no server, or when it refuses.
    pub async fn empty() -> Result<Self, TestkitError> {
        Self::clone_of(Hub::get().await?, "template0".to_owned()).await
    }

    async fn clone_of(hub: Arc<Hub>, template: String) -> Result<Self, TestkitError> {
        background::run("cloning a database", async move {
            let name = hub.name();
            // The value comes first: if its caller is gone when the clone is there, it is dropped like any
            // other.
            let database = Self { address: hub.admin().database(&name), name, hub };
            database.hub.create(&database.name, &template).await?;
            Ok(database)
        })
        .await?
    }

    /// The database's URL, with its password: never log it.
    #[must_use]
    pub fn url(&self) -> &str {
        self.address.text()
    }

    /// The database's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A new connection, which the kit's own thread serves: it works on with the test's clock paused.
    ///
    /// # Errors
    /// When the server does not accept it within half a minute.
    pub async fn connect(&self) -> Result<AsyncPgConnection, TestkitError> {
        self.address.connect("connecting to a test database").await
    }
}

impl fmt::Debug for TestDatabase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestDatabase").field("database", &self.address.label()).finish()
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let (hub, name) = (Arc::clone(&self.hub), self.name.clone());
        let done = background::finish(DROPPED_WITHIN, async move {
            if let Err(error) = hub.remove(&name).await {
                let error = &error as &(dyn std::error::Error + 'static);
                tracing::warn!(error, database = name, "a test database stays until the next run sweeps it");
            }
        });
        if !done {
            tracing::warn!(database = self.name, waited = ?DROPPED_WITHIN, "a test database was not dropped in time");
        }
    }
}
