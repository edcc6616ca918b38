//! A query whose rows are read as one type, as batches and streams send it.

use diesel::deserialize::FromSqlRow;
use diesel::pg::{Pg, PgMetadataLookup, PgQueryBuilder, PgTypeMetadata};
use diesel::query_builder::bind_collector::RawBytesBindCollector;
use diesel::query_builder::{AsQuery, QueryBuilder, QueryFragment, QueryId};
use diesel::query_dsl::CompatibleType;
use diesel::result::{Error as DieselError, QueryResult};
use diesel_async::{AsyncConnectionCore, AsyncPgConnection};
use futures_util::TryStreamExt;
use futures_util::future::BoxFuture;

/// A row as diesel-async has it.
type Row<'r, 's> = <AsyncPgConnection as AsyncConnectionCore>::Row<'r, 's>;

/// A statement of diesel's whose rows are read as `U`: whatever `load` of diesel-async would take.
pub trait Returns<U>: AsQuery<Query: QueryFragment<Pg> + QueryId + Send> + Send {
    /// Reads one row.
    #[doc(hidden)]
    fn read(row: &Row<'_, '_>) -> QueryResult<U>;
}

impl<Q, U, ST> Returns<U> for Q
where
    Q: AsQuery<Query: QueryFragment<Pg> + QueryId + Send> + Send,
    Q::SqlType: CompatibleType<U, Pg, SqlType = ST>,
    U: FromSqlRow<ST, Pg>,
{
    fn read(row: &Row<'_, '_>) -> QueryResult<U> {
        U::build_from_row(row).map_err(DieselError::DeserializationError)
    }
}

/// Whether a statement reads or writes rows and does nothing else: some commands refuse a transaction, and
/// others commit inside.
///
/// ```
/// assert!(db_query::is_of_rows(&diesel::sql_query("DELETE FROM todos")));
/// assert!(!db_query::is_of_rows(&diesel::sql_query("VACUUM todos")));
/// ```
pub fn is_of_rows(statement: &impl QueryFragment<Pg>) -> bool {
    let mut sql = PgQueryBuilder::default();
    // What cannot be built is refused when it is sent.
    statement.to_sql(&mut sql, &Pg).is_ok() && begins_with_rows(&sql.finish())
}

const OF_ROWS: [&str; 8] = ["select", "insert", "update", "delete", "merge", "with", "values", "table"];

fn begins_with_rows(sql: &str) -> bool {
    // Behind a comment nobody looks: it runs in a transaction.
    let sql = sql.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == '(');
    let word = sql.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap_or_default();
    OF_ROWS.iter().any(|known| word.eq_ignore_ascii_case(known))
}

/// Whether a statement binds a value of a type that the database itself defines: a connection looks such a
/// type up when it first meets it, before it sends the statement.
pub(crate) fn binds_own_type(statement: &impl QueryFragment<Pg>) -> bool {
    let mut types = OwnTypes(false);
    let mut binds = RawBytesBindCollector::<Pg>::new();
    // What cannot be bound is refused when it is sent.
    let _ = statement.collect_binds(&mut binds, &mut types, &Pg);
    types.0
}

/// Whether a type was asked for.
struct OwnTypes(bool);

impl PgMetadataLookup for OwnTypes {
    fn lookup_type(&mut self, _: &str, _: Option<&str>) -> PgTypeMetadata {
        self.0 = true;
        PgTypeMetadata::new(0, 0)
    }
}

/// Sends a query and reads its rows as those of `Q`; what is sent must return the same columns.
///
/// It is sent when the future is first polled, where the connection has it prepared.
pub(crate) fn rows<'c, Q, U, S>(conn: &'c AsyncPgConnection, query: S) -> BoxFuture<'c, QueryResult<Vec<U>>>
where
    Q: Returns<U>,
    U: Send + 'c,
    S: AsQuery<Query: QueryFragment<Pg> + QueryId>,
{
    let mut conn = conn;
    let answer = AsyncConnectionCore::load(&mut conn, query);
    Box::pin(async move {
        let mut answer = answer.await?;
        let (mut rows, mut unreadable) = (Vec::new(), None);
        // To the end also where a row cannot be read: what the server says there would be lost else.
        while let Some(row) = answer.try_next().await? {
            match Q::read(&row) {
                Ok(row) => rows.push(row),
                Err(error) => unreadable = unreadable.or(Some(error)),
            }
        }
        unreadable.map_or(Ok(rows), Err)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_reads_or_writes_rows_is_a_transaction_of_its_own() {
        for sql in ["SELECT 1", "  insert into t", "(VALUES (1))", "with w AS (SELECT 1) SELECT 1", "TABLE t"]
        {
            assert!(begins_with_rows(sql), "{sql}");
        }
        for sql in [
            "",
            "CALL p()",
            "DO $$$$",
            "VACUUM",
            "BEGIN",
            "COMMIT",
            "inserted",
            "-- c\nSELECT 1",
            "tablé",
            "CREATE TABLE t ()",
        ] {
            assert!(!begins_with_rows(sql), "{sql}");
        }
    }
}
