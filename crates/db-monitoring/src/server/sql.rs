//! A statement of ours whose rows become records: prepared once on each connection, then sent in one flush with others.

use diesel::deserialize::{self, QueryableByName};
use diesel::pg::Pg;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::result::QueryResult;
use diesel::row::{Field as _, NamedRow, Row};
use diesel::sql_types::Untyped;
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use crate::server::record::Cells;
use crate::server::{Record, Skipped};

/// A statement without parameters, which is prepared under its text.
#[derive(Debug, Clone)]
pub(crate) struct Sql<'a>(pub(crate) &'a str);

impl Query for Sql<'_> {
    type SqlType = Untyped;
}

impl QueryId for Sql<'_> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl QueryFragment<Pg> for Sql<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(self.0);
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
pub(crate) async fn rows<R: Record>(mut conn: &AsyncPgConnection, text: &str) -> Result<Vec<R>, Skipped> {
    let rows = Sql(text).load::<Decoded<R>>(&mut conn).await;
    match rows {
        Ok(rows) => Ok(rows.into_iter().map(|Decoded(record)| record).collect()),
        Err(error) => Err(Skipped::from(db_core::Error::from(error))),
    }
}
