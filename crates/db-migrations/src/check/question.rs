//! Questions to the catalogs that a session keeps prepared, so that each takes one round trip.

use std::marker::PhantomData;

use diesel::pg::Pg;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::result::QueryResult;
use diesel::sql_types::{Array, BigInt, Untyped};

/// Stands in a question's SQL where a list goes.
const LIST: &str = "$list";

/// A question that is asked again and again.
pub(crate) trait Question: Sized + 'static {
    /// Its SQL, with `$list` for each list of numbers.
    fn sql() -> &'static str;

    /// The question about these lists.
    fn about(lists: &[Vec<i64>]) -> Asked<'_, Self> {
        Asked { lists, question: PhantomData }
    }
}

/// A question about something.
pub(crate) struct Asked<'a, Q> {
    lists: &'a [Vec<i64>],
    question: PhantomData<fn() -> Q>,
}

impl<Q: Question> QueryFragment<Pg> for Asked<'_, Q> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        let mut parts = Q::sql().split(LIST);
        out.push_sql(parts.next().unwrap_or_default());
        for (list, part) in self.lists.iter().zip(parts) {
            out.push_bind_param::<Array<BigInt>, _>(list)?;
            out.push_sql(part);
        }
        Ok(())
    }
}

impl<Q: Question> QueryId for Asked<'_, Q> {
    type QueryId = Asked<'static, Q>;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl<Q> Query for Asked<'_, Q> {
    type SqlType = Untyped;
}
