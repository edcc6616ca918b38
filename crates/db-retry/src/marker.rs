//! The table of marker rows: proof that a transaction committed, which goes wherever its data goes.
//!
//! A transaction with [`Resolve::ByMarker`](crate::Resolve::ByMarker) inserts one row in the message that
//! carries its COMMIT. Whoever lost the answer inserts the same row itself, marked as a fence: where it is
//! there already the transaction has committed, and where it was not, the transaction never can, because its
//! own insert would find the fence. A transaction that is under way is waited for, since both insert the same
//! key.
//!
//! `search_path` does not decide which table is meant: roles, databases and transactions change it, and a row
//! that is written to one table and looked for in another proves what is not so. The table is the one in the
//! schema that [`RetryConfig::marker_schema`](crate::RetryConfig::marker_schema) names, else the one that the
//! database has, whatever its schema; a new one is made in `public`.

mod location;
mod statements;
mod upkeep;

use std::time::Duration;

use db_core::Result;
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use uuid::Uuid;

pub(crate) use location::{Location, is_missing};
use location::{find, name_in};
use statements::{Fence, Forget, Look};
pub use upkeep::part;

/// What creates the table in `public`: for a migration. [`table_in`] is for another schema.
///
/// Ids grow with time, so that the index takes them at its right edge.
pub const TABLE: &str = "\
CREATE TABLE IF NOT EXISTS public.db_platform_commits (
    id pg_catalog.uuid PRIMARY KEY,
    at pg_catalog.timestamptz NOT NULL DEFAULT pg_catalog.now(),
    fenced boolean NOT NULL DEFAULT false
)";

/// What creates the table in a schema of that name, which is quoted here: for a migration.
///
/// ```
/// let sql = db_retry::marker::table_in("Tenant 7");
/// assert!(sql.starts_with("CREATE TABLE IF NOT EXISTS \"Tenant 7\".db_platform_commits ("));
/// ```
pub fn table_in(schema: &str) -> String {
    TABLE.replacen("public.db_platform_commits", &name_in(schema), 1)
}

/// What drops the table in a schema of that name: for the way back of that migration.
///
/// ```
/// assert_eq!(db_retry::marker::drop_in("public"), "DROP TABLE \"public\".db_platform_commits");
/// ```
pub fn drop_in(schema: &str) -> String {
    format!("DROP TABLE {}", name_in(schema))
}

/// Creates the table in `public` where the database has none in any schema.
///
/// # Errors
/// The server's, such as 42501 where the role may not create tables there; SQLSTATE 42P09 where several
/// schemas have one.
///
/// # Cancel safety
/// Dropping the future may leave it created or not.
pub async fn apply(conn: &mut AsyncPgConnection) -> Result<()> {
    if find(conn).await?.is_none() {
        conn.batch_execute(TABLE).await?;
    }
    Ok(())
}

/// Removes rows that are older than `age`, `at_most` in one statement; returns how many.
///
/// A row is needed for as long as somebody may ask for it, which is
/// [`resolve_timeout`](crate::RetryConfig::resolve_timeout): an hour is plenty. Call it again while it
/// returns `at_most`.
///
/// # Errors
/// The server's; SQLSTATE 42P01 where there is no such table, 42P09 where several schemas have one: use
/// [`forget_in`] then.
///
/// # Cancel safety
/// Dropping the future may leave them removed or not.
pub async fn forget(conn: &mut AsyncPgConnection, age: Duration, at_most: u32) -> Result<usize> {
    let table = find(conn).await?.ok_or_else(location::none)?;
    Ok(Forget::new(table, age, at_most).execute(conn).await?)
}

/// As [`forget`], in the table of this schema, whose name is quoted here.
///
/// # Errors
/// The server's.
///
/// # Cancel safety
/// As [`forget`].
pub async fn forget_in(
    conn: &mut AsyncPgConnection,
    schema: &str,
    age: Duration,
    at_most: u32,
) -> Result<usize> {
    Ok(Forget::new(name_in(schema), age, at_most).execute(conn).await?)
}

/// The row of one transaction, and the table that it is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Marker {
    id: Uuid,
    table: String,
}

impl Marker {
    /// A new one, in this table, as SQL names it.
    pub(crate) fn new(table: String) -> Self {
        Marker { id: new_id(), table }
    }

    /// The statement that marks the transaction that it runs in; it fails in one that cannot commit.
    pub(crate) fn insert(&self) -> String {
        format!("INSERT INTO {} (id) VALUES ('{}')", self.table, self.id)
    }

    /// Asks whether the transaction with this marker has committed, and sees to it that it never will where
    /// it has not.
    pub(crate) async fn fence(&self, conn: &mut AsyncPgConnection) -> Result<bool> {
        Ok(Fence::new(&self.table, self.id).get_result::<bool>(conn).await?)
    }

    /// Asks whether the transaction with this marker has committed, and changes nothing: its absence proves
    /// nothing.
    pub(crate) async fn is_there(&self, conn: &mut AsyncPgConnection) -> Result<bool> {
        Ok(Look::new(&self.table, self.id).get_result::<bool>(conn).await?)
    }
}

/// A new marker's id: a version 7 UUID.
fn new_id() -> Uuid {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let millis = u64::try_from(now.as_millis()).unwrap_or_default();
    uuid::Builder::from_unix_timestamp_millis(millis, &rand::random()).into_uuid()
}
