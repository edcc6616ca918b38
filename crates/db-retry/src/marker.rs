//! The table of marker rows: proof that a transaction committed, which goes wherever its data goes.
//!
//! A transaction with [`Resolve::ByMarker`](crate::Resolve::ByMarker) inserts one row in the message that carries its
//! COMMIT. Whoever lost the answer inserts the same row itself, marked as a fence: where it is there already the
//! transaction has committed, and where it was not, the transaction never can, because its own insert would find the
//! fence. A transaction that is under way is waited for, since both insert the same key.

use std::time::Duration;

use db_core::Result;
use diesel::pg::Pg;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::result::QueryResult;
use diesel::sql_types::{BigInt, Bool, Double, Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use uuid::Uuid;

/// What creates the table: for a migration. The table is found through `search_path`.
///
/// Ids grow with time, so that the index takes them at its right edge.
pub const TABLE: &str = "\
CREATE TABLE IF NOT EXISTS db_platform_commits (
    id uuid PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT now(),
    fenced boolean NOT NULL DEFAULT false
)";

/// Creates the table where there is none.
///
/// # Errors
/// The server's, such as 42501 where the role may not create tables.
///
/// # Cancel safety
/// Dropping the future may leave it created or not.
pub async fn apply(conn: &mut AsyncPgConnection) -> Result<()> {
    Ok(conn.batch_execute(TABLE).await?)
}

/// Removes rows that are older than `age`, `at_most` in one statement; returns how many.
///
/// A row is needed for as long as somebody may ask for it, which is
/// [`resolve_timeout`](crate::RetryConfig::resolve_timeout): an hour is plenty. Call it again while it returns `at_most`.
///
/// # Errors
/// The server's.
///
/// # Cancel safety
/// Dropping the future may leave them removed or not.
pub async fn forget(conn: &mut AsyncPgConnection, age: Duration, at_most: u32) -> Result<usize> {
    Ok(Forget { seconds: age.as_secs_f64(), at_most: at_most.into() }.execute(conn).await?)
}

/// A new marker's id: a version 7 UUID.
pub(crate) fn new_id() -> Uuid {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let millis = u64::try_from(now.as_millis()).unwrap_or_default();
    uuid::Builder::from_unix_timestamp_millis(millis, &rand::random()).into_uuid()
}

/// The statement that marks the transaction that it runs in; it fails in one that cannot commit.
pub(crate) fn insert(id: Uuid) -> String {
    format!("INSERT INTO db_platform_commits (id) VALUES ('{id}')")
}

/// Asks whether the transaction with this marker has committed, and sees to it that it never will where it has not.
pub(crate) async fn fence(conn: &mut AsyncPgConnection, id: Uuid) -> Result<bool> {
    Ok(Fence(id.to_string()).get_result::<bool>(conn).await?)
}

/// Asks whether the transaction with this marker has committed, and changes nothing: its absence proves nothing.
pub(crate) async fn is_there(conn: &mut AsyncPgConnection, id: Uuid) -> Result<bool> {
    Ok(Look(id.to_string()).get_result::<bool>(conn).await?)
}

#[derive(Debug, Clone, QueryId)]
struct Look(String);

impl QueryFragment<Pg> for Look {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("SELECT EXISTS (SELECT FROM db_platform_commits WHERE NOT fenced AND id = CAST(");
        out.push_bind_param::<Text, _>(&self.0)?;
        out.push_sql(" AS uuid))");
        Ok(())
    }
}

impl Query for Look {
    type SqlType = Bool;
}

#[derive(Debug, Clone, QueryId)]
struct Fence(String);

impl QueryFragment<Pg> for Fence {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("INSERT INTO db_platform_commits AS marker (id, fenced) VALUES (CAST(");
        out.push_bind_param::<Text, _>(&self.0)?;
        // The update changes nothing: it makes the row come back, whoever inserted it.
        out.push_sql(
            " AS uuid), true) ON CONFLICT (id) DO UPDATE SET id = excluded.id RETURNING NOT marker.fenced",
        );
        Ok(())
    }
}

impl Query for Fence {
    type SqlType = Bool;
}

#[derive(Debug, Clone, QueryId)]
struct Forget {
    seconds: f64,
    at_most: i64,
}

impl QueryFragment<Pg> for Forget {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("DELETE FROM db_platform_commits WHERE id IN (SELECT id FROM db_platform_commits WHERE at < now() - make_interval(secs => ");
        out.push_bind_param::<Double, _>(&self.seconds)?;
        out.push_sql(") LIMIT ");
        out.push_bind_param::<BigInt, _>(&self.at_most)?;
        out.push_sql(" FOR UPDATE SKIP LOCKED)");
        Ok(())
    }
}

impl Query for Forget {
    type SqlType = ();
}
