//! Keeps the history of plans in the database, in the schema `dbp`, so that it outlives a process.
//!
//! One row a statement: only what was looked at since the last time is written and read.

use db_core::{Error, Result};
use diesel::QueryableByName;
use diesel::sql_types::{Array, Double, Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};

use super::{Insights, lock};

/// A row of a statement that nobody looked at for so long is forgotten.
const KEPT_FOR: &str = "30 days";

/// Each is one statement, so that a role that may not create anything is told of the first that it lacks.
const MAKE: [&str; 2] = [
    "CREATE SCHEMA IF NOT EXISTS dbp",
    "CREATE TABLE IF NOT EXISTS dbp.plan_history (statement text PRIMARY KEY, kept text NOT NULL, \
     at timestamptz NOT NULL)",
];

const WRITE: &str = "INSERT INTO dbp.plan_history (statement, kept, at) \
    SELECT u.statement, u.kept, pg_catalog.now() \
    FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) u (statement, kept) \
    ON CONFLICT (statement) DO UPDATE SET kept = excluded.kept, at = excluded.at";

const READ: &str = "SELECT h.statement, h.kept, extract(epoch FROM h.at)::float8 AS at \
    FROM dbp.plan_history h WHERE h.at > pg_catalog.to_timestamp($1)";

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = Text)]
    statement: String,
    #[diesel(sql_type = Text)]
    kept: String,
    #[diesel(sql_type = Double)]
    at: f64,
}

#[derive(QueryableByName)]
struct IsThere {
    #[diesel(sql_type = diesel::sql_types::Bool)]
    it: bool,
}

impl Insights {
    /// Takes in what this process or another one [stored](Insights::store), as far as it is newer than
    /// what is known; how many statements that were. Nothing where nobody stored anything.
    ///
    /// # Errors
    ///
    /// What the database says. Rows that are not understood are passed over.
    pub async fn restore(&self, conn: &mut AsyncPgConnection) -> Result<usize> {
        if !is_there(conn).await? {
            return Ok(0);
        }
        let since = *lock(&self.kept.read_until);
        let rows: Vec<Row> =
            diesel::sql_query(READ).bind::<Double, _>(since).get_results(conn).await.map_err(Error::from)?;
        let mut history = lock(&self.kept.history);
        let mut taken = 0;
        for row in rows {
            let mut until = lock(&self.kept.read_until);
            *until = until.max(row.at);
            taken += usize::from(history.take_in(row.statement, &row.kept));
        }
        Ok(taken)
    }

    /// Stores what was looked at since the last time in the table `dbp.plan_history`, which is made where
    /// it is not there.
    ///
    /// # Errors
    ///
    /// What the database says: a role that may not create the schema `dbp` is told so.
    pub async fn store(&self, conn: &mut AsyncPgConnection) -> Result<()> {
        let changed: Vec<String> = lock(&self.kept.changed).iter().cloned().collect();
        let (mut statements, mut kept) = (Vec::new(), Vec::new());
        {
            let history = lock(&self.kept.history);
            for statement in changed {
                if let Some(text) = history.kept(&statement) {
                    statements.push(statement);
                    kept.push(text);
                }
            }
        }
        if statements.is_empty() {
            return Ok(());
        }
        if !is_there(conn).await? {
            for make in MAKE {
                conn.batch_execute(make).await.map_err(Error::from)?;
            }
        }
        diesel::sql_query(WRITE)
            .bind::<Array<Text>, _>(&statements)
            .bind::<Array<Text>, _>(&kept)
            .execute(conn)
            .await
            .map_err(Error::from)?;
        let forget =
            format!("DELETE FROM dbp.plan_history WHERE at < pg_catalog.now() - interval '{KEPT_FOR}'");
        conn.batch_execute(&forget).await.map_err(Error::from)?;
        let mut changed = lock(&self.kept.changed);
        for statement in &statements {
            changed.remove(statement);
        }
        Ok(())
    }
}

/// Whether the table is there: a role that may write to it need not be one that may create it.
async fn is_there(conn: &mut AsyncPgConnection) -> Result<bool> {
    let there = "SELECT pg_catalog.to_regclass('dbp.plan_history') IS NOT NULL AS it";
    let there: IsThere = diesel::sql_query(there).get_result(conn).await.map_err(Error::from)?;
    Ok(there.it)
}
