//! Handles that look for tables elsewhere: tenants with a schema each, on the same pools.

use db_core::{Error, Result};
use db_pool::Connection;
use db_retry::SearchPath;
use diesel_async::SimpleAsyncConnection;

use super::Db;

impl Db {
    /// The same database, where names without a schema are looked for in these, in their order, and in no
    /// other one.
    ///
    /// It shares everything with this handle: pools, monitors, sessions, retries. So a service with a schema
    /// for each tenant has one [`Db`], and makes such a handle for each request; it costs a clone. The path
    /// goes out with BEGIN and ends with the transaction, by the server's own doing: no connection carries it
    /// on, whatever becomes of a call. Names are quoted here. A schema that is not there is passed over by
    /// the server, so with `["acme", "public"]` a table that `acme` lacks is looked for in `public`.
    ///
    /// ```no_run
    /// # use db_platform::{Db, Result};
    /// # use diesel::prelude::*;
    /// # use diesel_async::RunQueryDsl;
    /// # diesel::table! { todos (id) { id -> Integer, title -> Text, } }
    /// # async fn titles(db: Db) -> Result<Vec<String>> {
    /// let acme = db.with_search_path(["acme", "extensions"])?;
    /// acme.read(async |conn| todos::table.select(todos::title).load(conn).await).await
    /// # }
    /// ```
    ///
    /// | verb | what the path costs |
    /// |---|---|
    /// | [`Db::transaction`], [`Db::stream`] | nothing: it goes out with BEGIN |
    /// | [`Db::read`], [`Db::batch`], loaders | two round trips: each read is a read-only transaction. One that ends it gets [`Error::TransactionEnded`] |
    /// | [`Db::write`] | two round trips: it is a transaction of one statement |
    /// | [`Db::primary`] | one round trip, and the session is reset before anybody else has it; refused behind a pooler (`DB_POOLED`) and where the wire is not read |
    ///
    /// Migrations, monitoring and upkeep do not look at it.
    ///
    /// Statements stay prepared for all tenants: the server plans them again where the path differs, and
    /// where a table's columns are of other types for one tenant the call runs again on connections that know
    /// it, as after a migration. An enum or another type of one's own is looked up once for a connection:
    /// keep such types in one schema for all tenants.
    ///
    /// A cache's keys do not know the path. So such a handle has no cache: its reads through one fail with
    /// [`Error::Client`]. Read through the handle without a path, with the tenant in the key. A loader
    /// belongs to the handle that made it.
    ///
    /// # Errors
    /// [`Error::Client`] for no schema, and for a name that would not mean the schema of that name (see
    /// [`SearchPath::new`]).
    pub fn with_search_path(&self, schemas: impl IntoIterator<Item = impl AsRef<str>>) -> Result<Db> {
        let path = SearchPath::new(schemas)?;
        Ok(Db {
            retry: self.retry.in_path(path),
            #[cfg(feature = "cache")]
            cache: None,
            ..self.clone()
        })
    }

    /// As [`Db::with_search_path`], with the tenant's schema alone: what it lacks is an error (42P01), and is
    /// looked for nowhere else.
    ///
    /// ```no_run
    /// # use db_platform::{Db, Result};
    /// # fn of_tenant(db: &Db, tenant: &str) -> Result<Db> {
    /// db.for_tenant(tenant)
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Db::with_search_path`].
    pub fn for_tenant(&self, schema: &str) -> Result<Db> {
        self.with_search_path([schema])
    }

    /// That a session's path may be set, where this handle has one: behind a pooler it would be somebody
    /// else's session next.
    pub(super) fn can_set_path(&self) -> Result<()> {
        if self.retry.path().is_some() && self.router.is_pooled() {
            let why = "behind a pooler no session can have a search_path of its own: use transaction or read";
            return Err(Error::Client(why.into()));
        }
        Ok(())
    }

    /// The connection, in the handle's path until it goes back: the pool resets the session then.
    pub(super) async fn with_path_set(&self, mut conn: Connection) -> Result<Connection> {
        let Some(path) = self.retry.path() else { return Ok(conn) };
        if conn.facts().status.is_none() {
            let why = "where the wire is not read nobody knows that a session must be reset: use transaction or read";
            return Err(Error::Client(why.into()));
        }
        conn.batch_execute(&path.set()).await?;
        Ok(conn)
    }
}
