//! Fills one batch of rows, and notes how far it came in the same transaction.

use std::time::Duration;

use db_core::{Class, Classify, Error, SqlState};
use db_throttle::Throttle;
use diesel::sql_types::{Array, BigInt, Nullable, Text};
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};

use super::error::BackfillError;
use super::ledger::Progress;
use super::run::Run;

/// A batch is tried so often that ran into others' locks or transactions.
const CONFLICTS: u32 = 20;

/// Where somebody has a row locked, so many rows at most go with the statement that passes over it.
const ROWS_AMONG_LOCKS: u32 = 500;

#[derive(QueryableByName)]
pub(crate) struct Page {
    #[diesel(sql_type = Array<Text>)]
    pub(crate) key: Vec<String>,
    #[diesel(sql_type = BigInt)]
    seen: i64,
}

#[derive(QueryableByName)]
pub(crate) struct Counts {
    #[diesel(sql_type = BigInt)]
    pub(crate) changed: i64,
    #[diesel(sql_type = BigInt)]
    pub(crate) stayed: i64,
    #[diesel(sql_type = BigInt)]
    pub(crate) passed: i64,
}

/// What became of a batch.
pub(crate) enum Batch {
    Done(Progress, u32),
    /// There are no more rows.
    End,
}

impl Run<'_> {
    /// The next batch, until it commits.
    pub(crate) async fn batch(
        &self,
        conn: &mut AsyncPgConnection,
        from: &Progress,
    ) -> Result<Batch, BackfillError> {
        let Some(end) = &from.ends_at else { return Ok(Batch::End) };
        let mut rows = self.throttled(|throttle| throttle.rows());
        let (mut among_locks, mut conflicts) = (false, 0);
        loop {
            let error = match self.attempt(conn, from, end, rows, among_locks).await {
                Ok(batch) => return Ok(batch),
                Err(diesel::result::Error::RollbackTransaction) => {
                    return Err(BackfillError::Running { name: self.name.clone() });
                }
                Err(error) => Error::from(error),
            };
            if matches!(error, Error::ConnectionLost { .. }) {
                return Err(BackfillError::Database(error));
            }
            conn.batch_execute("ROLLBACK").await?;
            conflicts += 1;
            match error.class() {
                Class::Conflict if conflicts < CONFLICTS => {
                    among_locks = error.sqlstate() == Some(SqlState::LOCK_NOT_AVAILABLE);
                    rows = rows.min(ROWS_AMONG_LOCKS);
                    tokio::time::sleep(self.config.lock_timeout.min(Duration::from_secs(1))).await;
                }
                Class::Permanent if rows > 1 => {
                    rows /= 2;
                    conflicts = 0;
                }
                Class::Permanent => return self.note_failed(conn, from, end, error).await,
                _ => return Err(BackfillError::Database(error)),
            }
            self.throttled(Throttle::smaller);
        }
    }

    async fn attempt(
        &self,
        conn: &mut AsyncPgConnection,
        from: &Progress,
        end: &[String],
        rows: u32,
        among_locks: bool,
    ) -> Result<Batch, diesel::result::Error> {
        let place = usize::from(from.came_to.is_some());
        conn.batch_execute("BEGIN").await?;
        let page: Vec<Page> = sql_query(&self.sql.page[place])
            .bind::<Nullable<Array<Text>>, _>(from.came_to.as_deref())
            .bind::<Array<Text>, _>(end)
            .bind::<BigInt, _>(i64::from(rows))
            .get_results(conn)
            .await?;
        let Some(Page { key, seen }) = page.into_iter().next() else {
            conn.batch_execute("COMMIT").await?;
            return Ok(Batch::End);
        };
        let statement = if among_locks { &self.sql.fill_unlocked } else { &self.sql.fill };
        let counts: Counts = if among_locks {
            let query =
                sql_query(&statement[place]).bind::<Nullable<Array<Text>>, _>(from.came_to.as_deref());
            query.bind::<Array<Text>, _>(&key).bind::<Text, _>(&self.name).get_result(conn).await?
        } else {
            let query =
                sql_query(&statement[place]).bind::<Nullable<Array<Text>>, _>(from.came_to.as_deref());
            query.bind::<Array<Text>, _>(&key).get_result(conn).await?
        };
        if counts.passed > 0 {
            tracing::debug!(rows = counts.passed, "rows are locked, and are tried again at the end");
        }
        let next = Progress {
            came_to: Some(key),
            rows_seen: from.rows_seen + seen,
            rows_filled: from.rows_filled + counts.changed,
            stayed_null: from.stayed_null + counts.stayed,
            ..from.clone()
        };
        self.move_on(conn, from, &next).await?;
        Ok(Batch::Done(next, u32::try_from(seen).unwrap_or(u32::MAX)))
    }

    /// Notes how far it came, and commits.
    pub(crate) async fn move_on(
        &self,
        conn: &mut AsyncPgConnection,
        from: &Progress,
        next: &Progress,
    ) -> Result<(), diesel::result::Error> {
        if !self.tables.came(conn, &self.name, from.came_to.as_deref(), next).await? {
            // Somebody forgot it, or took it over behind a pooler: what this batch wrote is rolled back.
            return Err(diesel::result::Error::RollbackTransaction);
        }
        conn.batch_execute("COMMIT").await
    }

    /// One row that the server refuses to write: it is noted, and passed over.
    async fn note_failed(
        &self,
        conn: &mut AsyncPgConnection,
        from: &Progress,
        end: &[String],
        error: Error,
    ) -> Result<Batch, BackfillError> {
        if from.failed >= i64::from(self.config.max_failed) {
            let failed = u64::try_from(from.failed).unwrap_or_default().saturating_add(1);
            return Err(BackfillError::TooManyFailed { failed, source: Box::new(error) });
        }
        let place = usize::from(from.came_to.is_some());
        conn.batch_execute("BEGIN").await?;
        let page: Vec<Page> = sql_query(&self.sql.page[place])
            .bind::<Nullable<Array<Text>>, _>(from.came_to.as_deref())
            .bind::<Array<Text>, _>(end)
            .bind::<BigInt, _>(1)
            .get_results(conn)
            .await?;
        let Some(Page { key, seen }) = page.into_iter().next() else {
            conn.batch_execute("COMMIT").await?;
            return Ok(Batch::End);
        };
        sql_query(&self.sql.note_failed[place])
            .bind::<Nullable<Array<Text>>, _>(from.came_to.as_deref())
            .bind::<Array<Text>, _>(&key)
            .bind::<Text, _>(&self.name)
            .bind::<Text, _>(reason(&error))
            .execute(conn)
            .await?;
        let next = Progress {
            came_to: Some(key),
            rows_seen: from.rows_seen + seen,
            failed: from.failed + 1,
            ..from.clone()
        };
        self.move_on(conn, from, &next).await?;
        Ok(Batch::Done(next, 0))
    }
}

/// Why a row could not be written, without its values.
fn reason(error: &Error) -> String {
    if let Some(constraint) = error.constraint() {
        return format!("constraint {constraint}");
    }
    match error.sqlstate() {
        Some(code) => format!("SQLSTATE {code}"),
        None => "the server refused it".to_owned(),
    }
}
