//! The SQL of a page of each parent's children.

use std::marker::PhantomData;

use diesel::expression::{AppearsOnTable, Expression, SelectableExpression, ValidGrouping, is_aggregate};
use diesel::pg::Pg;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::result::QueryResult;
use diesel::serialize::ToSql;
use diesel::sql_types::{Array, BigInt, Bool, HasSqlType};

use crate::page::Order;
use crate::sort_key::SortKey;

/// Where each page begins.
pub(crate) enum Starts<A, O: SortKey<A>> {
    First,
    After(O::Columns),
    Offset(Vec<i64>),
}

/// `parent = db_loader_parents.parent`, and for a page after a sort key `ROW(a, b) < ROW(…)`: a condition
/// that [`Children`](crate::Children) adds to its query.
#[derive(Debug, Clone)]
pub struct Within<C, O, A> {
    parent: C,
    sort_key: O,
    /// Only what comes after the key, in this order.
    after: Option<Order>,
    keys: PhantomData<fn() -> A>,
}

impl<C, O, A> Within<C, O, A> {
    pub(crate) fn new(parent: C, sort_key: O, after: Option<Order>) -> Self {
        Within { parent, sort_key, after, keys: PhantomData }
    }
}

impl<C: Expression, O, A> Expression for Within<C, O, A> {
    type SqlType = Bool;
}

impl<C, O, A, T> AppearsOnTable<T> for Within<C, O, A>
where
    C: AppearsOnTable<T>,
    O: AppearsOnTable<T>,
{
}

impl<C, O, A, T> SelectableExpression<T> for Within<C, O, A>
where
    C: AppearsOnTable<T>,
    O: AppearsOnTable<T>,
{
}

impl<C, O, A> ValidGrouping<()> for Within<C, O, A> {
    type IsAggregate = is_aggregate::No;
}

impl<C, O, A> QueryId for Within<C, O, A> {
    type QueryId = ();
    // The text depends on the order.
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<C: QueryFragment<Pg>, O: SortKey<A>, A> QueryFragment<Pg> for Within<C, O, A> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        self.parent.walk_ast(out.reborrow())?;
        out.push_sql(" = db_loader_parents.parent");
        if let Some(order) = self.after {
            out.push_sql(" AND ");
            self.sort_key.comes_after(order, out.reborrow())?;
        }
        Ok(())
    }
}

/// `SELECT number, children.* FROM unnest(parents, …) CROSS JOIN LATERAL (select ORDER BY … LIMIT …)`
pub(crate) struct Lateral<S, C, O: SortKey<A>, P, A> {
    select: S,
    sort_key: O,
    order: Order,
    parents: Vec<P>,
    counts: Vec<i64>,
    starts: Starts<A, O>,
    parent: PhantomData<fn() -> C>,
}

impl<S, C, O: SortKey<A>, P, A> Lateral<S, C, O, P, A> {
    pub(crate) fn new(
        select: S,
        sort_key: O,
        order: Order,
        parents: Vec<P>,
        counts: Vec<i64>,
        starts: Starts<A, O>,
    ) -> Self {
        Lateral { select, sort_key, order, parents, counts, starts, parent: PhantomData }
    }
}

impl<S: Query, C, O: SortKey<A>, P, A> Query for Lateral<S, C, O, P, A> {
    type SqlType = (BigInt, S::SqlType);
}

impl<S, C, O: SortKey<A>, P, A> QueryId for Lateral<S, C, O, P, A> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<S, C, O, P, A> QueryFragment<Pg> for Lateral<S, C, O, P, A>
where
    S: QueryFragment<Pg>,
    C: Expression<SqlType: 'static>,
    O: SortKey<A>,
    Pg: HasSqlType<Array<C::SqlType>>,
    Vec<P>: ToSql<Array<C::SqlType>, Pg>,
{
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("SELECT db_loader_parents.number, db_loader_children.* FROM unnest(");
        out.push_bind_param::<Array<C::SqlType>, _>(&self.parents)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<BigInt>, _>(&self.counts)?;
        match &self.starts {
            Starts::First => {}
            Starts::After(keys) => O::bind(keys, out.reborrow())?,
            Starts::Offset(skipped) => {
                out.push_sql(", ");
                out.push_bind_param::<Array<BigInt>, _>(skipped)?;
            }
        }
        out.push_sql(") WITH ORDINALITY AS db_loader_parents (parent, count");
        match &self.starts {
            Starts::First => {}
            Starts::After(_) => O::name(out.reborrow()),
            Starts::Offset(_) => out.push_sql(", skipped"),
        }
        out.push_sql(", number) CROSS JOIN LATERAL (");
        self.select.walk_ast(out.reborrow())?;
        out.push_sql(" ORDER BY ");
        self.sort_key.order(self.order, out.reborrow())?;
        out.push_sql(" LIMIT db_loader_parents.count");
        if matches!(self.starts, Starts::Offset(_)) {
            out.push_sql(" OFFSET db_loader_parents.skipped");
        }
        out.push_sql(") AS db_loader_children");
        Ok(())
    }
}
