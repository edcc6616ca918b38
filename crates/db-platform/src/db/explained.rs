//! The plans of queries, asked for through [`Db`].

use db_insight::indexes::{Advice, AdviceConfig, AdviceError, Query, advise, statements_of_server};
use db_insight::introspect::{IntrospectError, Introspection, introspect};
use db_insight::{ExplainError, Plan};
use diesel::pg::Pg;
use diesel::query_builder::QueryFragment;

use super::Db;

/// The text of a query as it goes over the wire, without its parameters.
#[cfg(feature = "monitoring")]
fn text_of(query: &impl QueryFragment<Pg>) -> Option<String> {
    use diesel::query_builder::QueryBuilder as _;

    let mut text = diesel::pg::PgQueryBuilder::default();
    query.to_sql(&mut text, &Pg).ok()?;
    Some(text.finish())
}

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
    /// If the query is among [`Db::slow_queries`], the tips are kept there.
    ///
    /// # Errors
    /// What the server says of the query; [`Error`](crate::Error) if no connection is to be had.
    pub async fn explain<Q>(&self, query: Q) -> Result<Plan, ExplainError>
    where
        Q: QueryFragment<Pg> + Send,
    {
        #[cfg(feature = "monitoring")]
        let text = text_of(&query);
        let mut conn = self.primary().await?;
        let plan = db_insight::explain(&mut conn, query).await?;
        #[cfg(feature = "monitoring")]
        if let Some(text) = text {
            let tips = db_insight::tips(&plan);
            self.monitor.note_tips(db_statement::fingerprint(&text), tips.iter().map(ToString::to_string));
        }
        Ok(plan)
    }

    /// What the database holds: tables, columns, indexes, constraints, relations and sizes, by the primary's
    /// catalogue.
    ///
    /// ```no_run
    /// # async fn show(db: db_platform::Db) -> Result<(), db_platform::insight::introspect::IntrospectError>
    /// {
    /// for relation in db.introspect().await?.relations {
    ///     println!("{} refers to {}", relation.table, relation.referenced_table);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`IntrospectError`] if the primary does not answer.
    pub async fn introspect(&self) -> Result<Introspection, IntrospectError> {
        introspect(&mut *self.primary().await?).await
    }

    /// Advice on indexes for what this database is really asked: the statements that `pg_stat_statements`
    /// has as the dearest, and where it is not there those that this process runs. Only EXPLAIN is run, on
    /// the primary.
    ///
    /// ```no_run
    /// # async fn show(db: db_platform::Db) -> Result<(), db_platform::insight::indexes::AdviceError> {
    /// for one in db.analyze().await?.suggestions {
    ///     println!("{}; saves {:.0} %", one.create, one.gain * 100.0);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`AdviceError`] if the primary does not answer. A statement that it does not plan is a note of the
    /// advice.
    pub async fn analyze(&self) -> Result<Advice, AdviceError> {
        let mut conn = self.primary().await?;
        let workload = match statements_of_server(&mut conn, MOST_STATEMENTS).await? {
            Some(workload) => workload,
            None => self.own_statements(),
        };
        advise(&mut conn, &workload, &AdviceConfig::default()).await
    }

    /// What this process found by looking at plans once an hour and at indexes once a week: statements that
    /// are run another way and got slower, and the latest advice. Only the leader of the collectors looks.
    ///
    /// ```no_run
    /// # fn show(db: db_platform::Db) {
    /// for flip in db.insights().flips() {
    ///     println!("{}", flip.side_by_side(60));
    /// }
    /// # }
    /// ```
    #[cfg(feature = "collector")]
    pub fn insights(&self) -> &db_insight::Insights {
        &self.insights
    }

    /// The dearest statements of this process, with numbered parameters in place of `?`.
    #[cfg(feature = "monitoring")]
    fn own_statements(&self) -> Vec<Query> {
        let mut all = self.monitor().statements();
        all.sort_by_key(|one| std::cmp::Reverse(one.durations.total()));
        let query = |one: db_monitoring::StatementStats| Query {
            id: one.fingerprint.to_string().into(),
            sql: numbered(&one.text),
            ..Query::default()
        };
        all.into_iter().take(MOST_STATEMENTS as usize).map(query).collect()
    }

    #[cfg(not(feature = "monitoring"))]
    fn own_statements(&self) -> Vec<Query> {
        Vec::new()
    }
}

/// How many statements are planned: each takes a round trip or some.
const MOST_STATEMENTS: u32 = 200;

/// `$1`, `$2`, … in place of each `?` outside names in quotes.
#[cfg(feature = "monitoring")]
fn numbered(text: &str) -> String {
    let (mut out, mut number, mut in_name) = (String::with_capacity(text.len() + 16), 0, false);
    for one in text.chars() {
        in_name ^= one == '"';
        if one == '?' && !in_name {
            number += 1;
            out += &format!("${number}");
        } else {
            out.push(one);
        }
    }
    out
}

#[cfg(all(test, feature = "monitoring"))]
mod tests {
    #[test]
    fn values_become_parameters_and_names_stay() {
        assert_eq!(
            super::numbered(r#"select "a?" from t where b = ? and c > ?"#),
            r#"select "a?" from t where b = $1 and c > $2"#
        );
    }
}
