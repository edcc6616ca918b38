//! Asks the server for plans: of whole statements, and of how many rows a condition leaves. Nothing is run.

use std::collections::HashMap;

use db_core::Error;
use diesel::QueryableByName;
use diesel::sql_types::{Json, Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use serde_json::Value;

use super::AdviceError;
use super::catalog::Table;
use super::plan::{Reading, number};
use super::spec::Spec;
use super::workload::Query;

/// The statement that is looked at, as the session calls it.
const PREPARED: &str = "db_insight_advice";

#[derive(QueryableByName)]
struct Answer {
    #[diesel(sql_type = Json, column_name = "QUERY PLAN")]
    plan: Value,
}

#[derive(QueryableByName)]
struct Types {
    #[diesel(sql_type = Text)]
    types: String,
}

pub(crate) struct Session<'a> {
    pub(crate) conn: &'a mut AsyncPgConnection,
    rows: HashMap<String, Option<f64>>,
    /// Whether a transaction is open that holds copies.
    pub(crate) in_transaction: bool,
    has_prepared: bool,
}

/// A statement that the server understands.
pub(crate) struct Prepared {
    execute: String,
    generic: bool,
}

impl<'a> Session<'a> {
    /// Reads only, with plans that do not depend on how many workers are free.
    pub(crate) async fn begin(conn: &'a mut AsyncPgConnection) -> Result<Self, AdviceError> {
        conn.batch_execute(
            "SET default_transaction_read_only = on; SET max_parallel_workers_per_gather = 0; SET jit = off",
        )
        .await
        .map_err(Error::from)?;
        Ok(Session { conn, rows: HashMap::new(), in_transaction: false, has_prepared: false })
    }

    pub(crate) async fn end(self) -> Result<(), AdviceError> {
        let reset = "RESET default_transaction_read_only; RESET max_parallel_workers_per_gather; RESET jit; \
            RESET plan_cache_mode";
        self.conn.batch_execute(reset).await.map_err(Error::from)?;
        if self.has_prepared {
            // The next advice on this connection takes the same name.
            let deallocate = format!("DEALLOCATE {PREPARED}");
            self.conn.batch_execute(&deallocate).await.map_err(Error::from)?;
        }
        Ok(())
    }

    /// Lets the server look at a statement.
    ///
    /// # Errors
    ///
    /// What the server says against it.
    pub(crate) async fn prepare(&mut self, query: &Query) -> Result<Prepared, String> {
        self.mark().await;
        let prepared = self.prepare_unmarked(query).await;
        self.back_if(prepared.is_err()).await;
        prepared
    }

    /// Where copies hold a transaction open, a mistake must not end it.
    async fn mark(&mut self) {
        if self.in_transaction {
            let _ = self.conn.batch_execute("SAVEPOINT db_insight_ask").await;
        }
    }

    async fn back_if(&mut self, failed: bool) {
        if !self.in_transaction {
            return;
        }
        // Savepoints that stay would nest as deep as there are questions.
        let end = if failed {
            "ROLLBACK TO SAVEPOINT db_insight_ask; RELEASE SAVEPOINT db_insight_ask"
        } else {
            "RELEASE SAVEPOINT db_insight_ask"
        };
        let _ = self.conn.batch_execute(end).await;
    }

    async fn prepare_unmarked(&mut self, query: &Query) -> Result<Prepared, String> {
        if std::mem::take(&mut self.has_prepared) {
            let deallocate = format!("DEALLOCATE {PREPARED}");
            self.conn.batch_execute(&deallocate).await.map_err(|error| error.to_string())?;
        }
        let sql = query.sql.trim().trim_end_matches(';');
        // The extended protocol takes one statement only, so that nothing behind a semicolon is run.
        let prepare = format!("PREPARE {PREPARED} AS {sql}");
        diesel::sql_query(prepare).execute(&mut *self.conn).await.map_err(|error| error.to_string())?;
        self.has_prepared = true;
        let types: Types = diesel::sql_query(format!(
            "SELECT coalesce(array_length(parameter_types, 1), 0)::text AS types FROM pg_prepared_statements \
             WHERE name = '{PREPARED}'"
        ))
        .get_result(&mut *self.conn)
        .await
        .map_err(|error| error.to_string())?;
        let wanted: usize = types.types.parse().unwrap_or(0);
        let given = query.params.len();
        if given != wanted && given != 0 {
            return Err(format!("it has {wanted} parameters, and {given} were given"));
        }
        let generic = given == 0 && wanted > 0;
        let values: Vec<String> =
            if generic { vec!["NULL".to_owned(); wanted] } else { query.params.clone() };
        let list = if values.is_empty() { String::new() } else { format!("({})", values.join(", ")) };
        Ok(Prepared { execute: format!("EXECUTE {PREPARED}{list}"), generic })
    }

    /// The plan of the statement that was prepared last.
    pub(crate) async fn plan(&mut self, prepared: &Prepared) -> Result<Reading, String> {
        self.mark().await;
        let planned = self.plan_unmarked(prepared).await;
        self.back_if(planned.is_err()).await;
        planned
    }

    async fn plan_unmarked(&mut self, prepared: &Prepared) -> Result<Reading, String> {
        let mode = if prepared.generic { "force_generic_plan" } else { "force_custom_plan" };
        let set = format!("SET plan_cache_mode = {mode}");
        self.conn.batch_execute(&set).await.map_err(|error| error.to_string())?;
        let explain = format!("EXPLAIN (VERBOSE, FORMAT JSON) {}", prepared.execute);
        let answer: Answer = diesel::sql_query(explain)
            .get_result(&mut *self.conn)
            .await
            .map_err(|error| error.to_string())?;
        Reading::of(&answer.plan).ok_or_else(|| "its plan has a form that is not known".to_owned())
    }

    /// Whether the server would make an index: tried on an empty temporary table, which is rolled back.
    ///
    /// Where that cannot be tried, on a standby or without the right, the answer is no.
    pub(crate) async fn can_be_made(&mut self, table: &Table, spec: &Spec) -> bool {
        let name = "db_insight_try";
        let sql = format!(
            "SAVEPOINT db_insight_try; CREATE TEMP TABLE {name} (LIKE {}) ON COMMIT DROP; CREATE INDEX ON {}",
            table.shown,
            spec.definition(&format!("pg_temp.{name}"))
        );
        // Inside the transaction of copies, or in one of its own.
        let inside = self.in_transaction;
        if !inside && self.conn.batch_execute("BEGIN READ WRITE").await.is_err() {
            return false;
        }
        let made = self.conn.batch_execute(&sql).await.is_ok();
        let end = if inside {
            "ROLLBACK TO SAVEPOINT db_insight_try; RELEASE SAVEPOINT db_insight_try"
        } else {
            "ROLLBACK"
        };
        let _ = self.conn.batch_execute(end).await;
        made
    }

    /// The answer of a query that only reads; none where the server refuses it.
    pub(crate) async fn asked<A>(&mut self, sql: &str) -> Option<A>
    where
        A: QueryableByName<diesel::pg::Pg> + Send + 'static,
    {
        self.mark().await;
        let answer: Result<A, _> = diesel::sql_query(sql).get_result(&mut *self.conn).await;
        self.back_if(answer.is_err()).await;
        answer.ok()
    }

    /// How many rows of a table the planner expects where a condition holds; none where it cannot say.
    pub(crate) async fn rows(&mut self, from: &str, condition: &str) -> Option<f64> {
        let sql = format!("EXPLAIN (FORMAT JSON) SELECT 1 FROM {from} WHERE {condition}");
        if let Some(known) = self.rows.get(&sql) {
            return *known;
        }
        self.mark().await;
        let answer: Result<Answer, _> = diesel::sql_query(&sql).get_result(&mut *self.conn).await;
        self.back_if(answer.is_err()).await;
        let plan = answer.ok().and_then(|answer| answer.plan.get(0).and_then(|one| one.get("Plan")).cloned());
        let rows = plan.map(|plan| number(&plan, "Plan Rows"));
        self.rows.insert(sql, rows);
        rows
    }
}
