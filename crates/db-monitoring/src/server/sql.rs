//! A statement of ours whose rows become records: prepared once on each connection, then sent in one flush
//! with others.

use diesel::deserialize::{self, QueryableByName};
use diesel::pg::Pg;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::result::QueryResult;
use diesel::row::{Field as _, NamedRow, Row};
use diesel::sql_types::Untyped;
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use crate::server::record::Cells;
use crate::server::{Record, Skipped};

/// A statement without parameters, which is prepared under its text where it comes again.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sql<'a> {
    pub(crate) text: &'a str,
    pub(crate) comes_again: bool,
}

impl Query for Sql<'_> {
    type SqlType = Untyped;
}

impl QueryId for Sql<'_> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl QueryFragment<Pg> for Sql<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(self.text);
        if !self.comes_again {
            out.unsafe_to_cache_prepared();
        }
        Ok(())
    }
}

/// A row that became a record.
struct Decoded<R>(R);

impl<R: Record> QueryableByName<Pg> for Decoded<R> {
    fn build<'a>(row: &impl NamedRow<'a, Pg>) -> deserialize::Result<Self> {
        let mut place = 0;
        let mut cells =
            |decode: &mut dyn FnMut(Option<diesel::pg::PgValue<'_>>) -> deserialize::Result<()>| {
                let field = Row::get(row, place).ok_or("the answer has too few columns")?;
                place += 1;
                decode(field.value())
            };
        R::read(&mut Cells(&mut cells)).map(Decoded)
    }
}

/// Runs a statement; several of them on the same connection go in one flush if they are polled together.
pub(crate) async fn rows<R: Record>(mut conn: &AsyncPgConnection, sql: Sql<'_>) -> Result<Vec<R>, Skipped> {
    let rows = sql.load::<Decoded<R>>(&mut conn).await;
    match rows {
        Ok(rows) => Ok(rows.into_iter().map(|Decoded(record)| record).collect()),
        Err(error) => Err(Skipped::from(db_core::Error::from(error))),
    }
}
