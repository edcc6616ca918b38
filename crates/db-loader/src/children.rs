//! The first so many children of each of many parents, or a page of them, in one LATERAL statement.
//!
//! `WHERE parent_id = ANY($1)` reads all children of all parents; a window function over it reads them, too,
//! and throws them away. A LATERAL subquery with a LIMIT stops after so many children of each parent, on an
//! index that begins with the parent and goes on with the sort key. PostgreSQL runs such a subquery once for
//! each parent, in a nested loop, so the children of a parent come in its order.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::panic::Location;
use std::sync::Arc;

use db_core::Result;
use diesel::deserialize::FromSqlRow;
use diesel::expression::{Expression, QueryMetadata};
use diesel::pg::Pg;
use diesel::query_builder::{Query as Select, QueryFragment};
use diesel::query_dsl::CompatibleType;
use diesel::query_dsl::methods::FilterDsl;
use diesel::serialize::ToSql;
use diesel::sql_types::{Array, BigInt, HasSqlType, SingleValue};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use crate::ahead::Ahead;
use crate::any_fetch::{Answer, AnyFetch};
use crate::config::LoaderConfig;
use crate::connections::Connections;
use crate::counts::LoadCounts;
use crate::error::LoadError;
use crate::found::Found;
use crate::lateral::{Lateral, Starts, Within};
use crate::lend::Lent;
use crate::loader::Loader;
use crate::page::{From, Order, Page, PageOf};
use crate::query::Query;
use crate::scope::Scope;
use crate::sort_key::SortKey;

/// Children of a parent, sorted: what [`Top`] loads pages of. [`Children::on`] says where, and makes a loader
/// of it.
///
/// ```no_run
/// use db_core::Acquire;
/// use db_loader::{Children, LoadError, Order, Page};
/// use diesel::prelude::*;
///
/// diesel::table! { comments (id) { id -> BigInt, post_id -> BigInt, body -> Text, } }
///
/// async fn newest(pool: impl Acquire + Send + 'static) -> Result<(), LoadError> {
///     let bodies = comments::table.select((comments::id, comments::body));
///     let comments: Children<i64, (i64, String), (i64,)> =
///         Children::new("comments of a post", bodies, comments::post_id, (comments::id,));
///     let comments = comments.on(pool);
///
///     // However many posts ask at once: one statement, which reads ten comments of each.
///     let newest = comments.load_top(7, 10, Order::Descending).await?;
///     if let Some((id, _)) = newest.last() {
///         let older = comments.load_page(7, Page::first(10).after((*id,)), Order::Descending).await?;
///         println!("{older:?}");
///     }
///     Ok(())
/// }
/// ```
pub struct Children<P, V, A> {
    query: Query<PageOf<P, A>, Arc<[V]>>,
}

/// Loads the first so many children of a parent, or a page of them. Cheap to clone; clones are one loader.
///
/// What is asked for at the same time is one statement for each order and each way to begin a page.
pub struct Top<P, V, A> {
    loader: Loader<PageOf<P, A>, Arc<[V]>>,
}

impl<P, V, A> Children<P, V, A>
where
    P: Eq + Hash + Clone + Send + Sync + 'static,
    V: Send + Sync + 'static,
    A: Eq + Hash + Clone + Send + Sync + 'static,
{
    /// Children that `select` finds, without their order and limit: it may join and filter. `parent` is the
    /// column that names a child's parent, and `sort_key` those that they are sorted by.
    #[track_caller]
    pub fn new<S, C, O, ST>(name: &'static str, select: S, parent: C, sort_key: O) -> Self
    where
        S: FilterDsl<Within<C, O, A>> + Clone + Send + Sync + 'static,
        S::Output: Select + QueryFragment<Pg> + Send + Sync + 'static,
        C: Expression<SqlType: SingleValue> + QueryFragment<Pg> + Clone + Send + Sync + 'static,
        O: SortKey<A>,
        Pg: HasSqlType<Array<C::SqlType>> + QueryMetadata<(BigInt, <S::Output as Select>::SqlType)>,
        Vec<P>: ToSql<Array<C::SqlType>, Pg>,
        (BigInt, <S::Output as Select>::SqlType): CompatibleType<(i64, V), Pg, SqlType = ST>,
        (i64, V): FromSqlRow<ST, Pg>,
        ST: 'static,
    {
        Children { query: Query::of(name, Location::caller(), Pages { select, parent, sort_key }) }
    }

    /// The same children, loaded as `config` says.
    #[must_use]
    pub fn with(self, config: LoaderConfig) -> Self {
        Children { query: self.query.with(config) }
    }

    /// A loader whose batches run there; see [`Query::on`].
    pub fn on(&self, connections: impl Connections) -> Top<P, V, A> {
        Top { loader: self.query.on(connections) }
    }

    /// A loader whose batches `cache` answers; see [`Query::behind`]. Its keys are pages: the first ten and
    /// the first twenty children of a parent are two entries.
    pub fn behind(&self, cache: impl Ahead<PageOf<P, A>, Arc<[V]>>) -> Top<P, V, A> {
        Top { loader: self.query.behind(cache) }
    }

    /// A loader whose batches run in a transaction; see [`Query::within`].
    pub fn within(&self, lent: &Lent) -> Top<P, V, A> {
        Top { loader: self.query.within(lent) }
    }

    /// What all of its loaders have done so far.
    pub fn counts(&self) -> LoadCounts {
        self.query.counts()
    }
}

impl<P, V, A> Top<P, V, A>
where
    P: Eq + Hash + Clone + Send + Sync + 'static,
    V: Send + Sync + 'static,
    A: Eq + Hash + Clone + Send + Sync + 'static,
{
    /// The first `n` children of a parent in this order; fewer where it has fewer, none where it does not
    /// exist.
    ///
    /// # Errors
    /// As [`Loader::get`].
    ///
    /// # Panics
    /// As [`Loader::get`].
    ///
    /// # Cancel safety
    /// As [`Loader::get`].
    pub async fn load_top(&self, parent: P, n: u32, order: Order) -> Result<Arc<[V]>, LoadError> {
        self.load_page(parent, Page::first(n), order).await
    }

    /// A page of a parent's children in this order.
    ///
    /// # Errors
    /// As [`Loader::get`].
    ///
    /// # Panics
    /// As [`Loader::get`].
    ///
    /// # Cancel safety
    /// As [`Loader::get`].
    pub async fn load_page(&self, parent: P, page: Page<A>, order: Order) -> Result<Arc<[V]>, LoadError> {
        let children = self.loader.get(PageOf { parent, page, order }).await?;
        Ok(children.unwrap_or_else(|| Arc::new([])))
    }

    /// A loader for one request, which remembers; see [`Loader::scope`].
    pub fn scope(&self) -> Self {
        Top { loader: self.loader.scope() }
    }

    /// As [`Top::scope`], and forgets by itself; see [`Loader::scope_while`].
    pub fn scope_while(&self, version: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Top { loader: self.loader.scope_while(version) }
    }

    /// This loader in a request's scope, where it remembers; see [`Scope::of`].
    pub fn of(&self, scope: &Scope) -> Self {
        Top { loader: scope.of(&self.loader) }
    }

    /// What this loader and all of its scopes have done so far.
    pub fn counts(&self) -> LoadCounts {
        self.loader.counts()
    }
}

impl<P, V, A> Clone for Children<P, V, A>
where
    Query<PageOf<P, A>, Arc<[V]>>: Clone,
{
    fn clone(&self) -> Self {
        Children { query: self.query.clone() }
    }
}

impl<P, V, A> Clone for Top<P, V, A> {
    fn clone(&self) -> Self {
        Top { loader: self.loader.clone() }
    }
}

impl<P, V, A> fmt::Debug for Children<P, V, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Children").finish_non_exhaustive()
    }
}

impl<P, V, A> fmt::Debug for Top<P, V, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Top").field(&self.loader).finish()
    }
}

/// The statements of [`Children`].
struct Pages<S, C, O> {
    select: S,
    parent: C,
    sort_key: O,
}

impl<P, V, A, S, C, O, ST> AnyFetch<PageOf<P, A>, Arc<[V]>> for Pages<S, C, O>
where
    P: Eq + Hash + Clone + Send + Sync + 'static,
    V: Send + Sync + 'static,
    A: Eq + Hash + Clone + Send + Sync + 'static,
    S: FilterDsl<Within<C, O, A>> + Clone + Send + Sync + 'static,
    S::Output: Select + QueryFragment<Pg> + Send + Sync + 'static,
    C: Expression<SqlType: SingleValue> + QueryFragment<Pg> + Clone + Send + Sync + 'static,
    O: SortKey<A>,
    Pg: HasSqlType<Array<C::SqlType>> + QueryMetadata<(BigInt, <S::Output as Select>::SqlType)>,
    Vec<P>: ToSql<Array<C::SqlType>, Pg>,
    (BigInt, <S::Output as Select>::SqlType): CompatibleType<(i64, V), Pg, SqlType = ST>,
    (i64, V): FromSqlRow<ST, Pg>,
    ST: 'static,
{
    fn fetch<'c>(
        &'c self,
        conn: &'c mut AsyncPgConnection,
        wanted: Vec<PageOf<P, A>>,
    ) -> Answer<'c, Result<Found<PageOf<P, A>, Arc<[V]>>>> {
        Box::pin(async move {
            let mut found = Found::new();
            for (shape, wanted) in by_shape(wanted) {
                let statement = self.statement(shape, &wanted);
                let rows: Vec<(i64, V)> = statement.load(conn).await?;
                let mut pages: Vec<Vec<V>> = wanted.iter().map(|_| Vec::new()).collect();
                for (number, child) in rows {
                    // The server numbers from 1.
                    let page = usize::try_from(number - 1).ok().and_then(|at| pages.get_mut(at));
                    if let Some(page) = page {
                        page.push(child);
                    }
                }
                for (wanted, page) in wanted.into_iter().zip(pages) {
                    found.insert(wanted, page.into());
                }
            }
            Ok(found)
        })
    }
}

impl<S: Clone, C: Clone, O: Clone> Pages<S, C, O> {
    fn statement<P, A>(
        &self,
        (order, start): Shape,
        wanted: &[PageOf<P, A>],
    ) -> Lateral<S::Output, C, O, P, A>
    where
        S: FilterDsl<Within<C, O, A>>,
        P: Clone,
        A: Clone,
        O: SortKey<A>,
    {
        let starts = match start {
            Start::First => Starts::First,
            Start::After => {
                let keys = wanted.iter().filter_map(|wanted| match &wanted.page.from {
                    From::After(key) => Some(key.clone()),
                    _ => None,
                });
                Starts::After(O::by_column(keys.collect()))
            }
            Start::Offset => {
                let skipped = wanted.iter().map(|wanted| match wanted.page.from {
                    From::Offset(skipped) => i64::from(skipped),
                    _ => 0,
                });
                Starts::Offset(skipped.collect())
            }
        };
        let sort_key = self.sort_key.clone();
        let after = matches!(starts, Starts::After(_)).then_some(order);
        Lateral::new(
            self.select.clone().filter(Within::new(self.parent.clone(), sort_key.clone(), after)),
            sort_key,
            order,
            wanted.iter().map(|wanted| wanted.parent.clone()).collect(),
            wanted.iter().map(|wanted| i64::from(wanted.page.count)).collect(),
            starts,
        )
    }
}

/// What makes another statement.
type Shape = (Order, Start);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Start {
    First,
    After,
    Offset,
}

fn by_shape<P, A>(wanted: Vec<PageOf<P, A>>) -> HashMap<Shape, Vec<PageOf<P, A>>> {
    let mut shapes: HashMap<Shape, Vec<_>> = HashMap::new();
    for wanted in wanted {
        let start = match wanted.page.from {
            From::Start => Start::First,
            From::After(_) => Start::After,
            From::Offset(_) => Start::Offset,
        };
        shapes.entry((wanted.order, start)).or_default().push(wanted);
    }
    shapes
}
