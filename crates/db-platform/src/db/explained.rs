//! The plans of queries, asked for through [`Db`].

use db_insight::{ExplainError, Plan};
use diesel::pg::Pg;
use diesel::query_builder::QueryFragment;

use super::Db;

impl Db {
    /// The plan of a diesel query, as the primary would run it now; nothing runs.
    ///
    /// ```no_run
    /// # use diesel::prelude::*;
    /// diesel::table! { orders (id) { id -> Integer, customer_id -> Integer, } }
    ///
    /// # async fn show(db: db_platform::Db) -> Result<(), db_platform::insight::ExplainError> {
    /// let plan = db.explain(orders::table.filter(orders::customer_id.eq(17))).await?;
    /// for tip in db_platform::insight::tips(&plan) {
    ///     println!("{} at {}: {}", tip.code, tip.node, tip.fix);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// What the server says of the query; [`Error`](crate::Error) if no connection is to be had.
    pub async fn explain<Q>(&self, query: Q) -> Result<Plan, ExplainError>
    where
        Q: QueryFragment<Pg> + Send,
    {
        let mut conn = self.primary().await?;
        db_insight::explain(&mut conn, query).await
    }
}
