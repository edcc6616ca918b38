//! The end of a backfill: rows that were locked come once more, and what is not filled is counted.

use std::time::{Duration, Instant};

use db_core::{Class, Classify, Error};
use diesel::sql_types::{Array, BigInt, Bool, Nullable, Text};
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};

use super::batch::{Counts, Page};
use super::error::BackfillError;
use super::ledger::Progress;
use super::report::{BackfillOutcome, Unfilled};
use super::run::{Run, stopped};

/// Rows that are counted at once at the end.
const ROWS_COUNTED: i64 = 50_000;

/// Between two attempts at rows that are locked.
const LOCKED_PAUSE: Duration = Duration::from_millis(250);

#[derive(QueryableByName)]
struct Holder {
    #[diesel(sql_type = BigInt)]
    pid: i64,
}

#[derive(QueryableByName)]
struct Failures {
    #[diesel(sql_type = Text)]
    reason: String,
    #[diesel(sql_type = BigInt)]
    rows: i64,
}

impl Run<'_> {
    /// Rows that were locked when their batch came are tried again, for a while.
    pub(crate) async fn locked_rows(
        &self,
        conn: &mut AsyncPgConnection,
        progress: &mut Progress,
        stop: &mut (impl Future<Output = ()> + Send + Unpin),
    ) -> Result<(), BackfillError> {
        let until = Instant::now().checked_add(self.config.locked_patience);
        loop {
            sql_query(&self.sql.clear_noted).bind::<Text, _>(&self.name).execute(conn).await?;
            if self.noted(conn, true).await? == 0 {
                return Ok(());
            }
            conn.batch_execute("BEGIN").await?;
            let filled: Result<Counts, _> =
                sql_query(&self.sql.fill_noted).bind::<Text, _>(&self.name).get_result(conn).await;
            let counts = match filled {
                Ok(counts) => counts,
                Err(error) => {
                    let error = Error::from(error);
                    conn.batch_execute("ROLLBACK").await?;
                    if error.class() != Class::Conflict {
                        return Err(BackfillError::Database(error));
                    }
                    Counts { changed: 0, stayed: 0, passed: 0 }
                }
            };
            if counts.changed > 0 {
                let next = Progress {
                    rows_filled: progress.rows_filled + counts.changed,
                    stayed_null: progress.stayed_null + counts.stayed,
                    ..progress.clone()
                };
                self.move_on(conn, progress, &next).await?;
                *progress = next;
                continue;
            }
            conn.batch_execute("ROLLBACK").await?;
            if until.is_some_and(|until| Instant::now() >= until) || stopped(stop, LOCKED_PAUSE).await {
                return Ok(());
            }
        }
    }

    async fn noted(&self, conn: &mut AsyncPgConnection, locked: bool) -> Result<i64, BackfillError> {
        let sql = format!(
            "SELECT count(*) AS changed, 0::bigint AS stayed, 0::bigint AS passed FROM {} \
             WHERE backfill = $1 AND (reason = 'locked') = $2",
            self.tables.skipped
        );
        let query = sql_query(sql).bind::<Text, _>(&self.name).bind::<Bool, _>(locked);
        Ok(query.get_result::<Counts>(conn).await?.changed)
    }

    pub(crate) async fn outcome(
        &self,
        conn: &mut AsyncPgConnection,
        progress: Progress,
        finished: bool,
    ) -> Result<BackfillOutcome, BackfillError> {
        let locked = self.noted(conn, true).await?;
        let failed = self.noted(conn, false).await?;
        let mut unfilled = Unfilled { stayed_null: progress.stayed_null, locked, failed, left: None };
        let mut holders = Vec::new();
        if finished {
            let done = Progress { finished: true, ..progress.clone() };
            conn.batch_execute("BEGIN").await?;
            self.move_on(conn, &progress, &done).await?;
            if self.backfill.condition.is_none() {
                unfilled.left = Some(self.left(conn).await?);
            }
            if locked > 0 {
                holders = self.holders(conn).await?;
            }
        }
        let sql = format!(
            "SELECT reason, count(*) AS rows FROM {} WHERE backfill = $1 AND reason <> 'locked' \
             GROUP BY reason ORDER BY 2 DESC, 1",
            self.tables.skipped
        );
        let failures: Vec<Failures> = sql_query(sql).bind::<Text, _>(&self.name).get_results(conn).await?;
        Ok(BackfillOutcome {
            finished,
            rows_seen: progress.rows_seen,
            rows_filled: progress.rows_filled,
            unfilled,
            elapsed: self.started.elapsed(),
            holders,
            failures: failures.into_iter().map(|one| (one.reason, one.rows)).collect(),
        })
    }

    /// Counts what still needs filling, page by page, up to the greatest key of this moment.
    async fn left(&self, conn: &mut AsyncPgConnection) -> Result<i64, BackfillError> {
        let end: Vec<Page> = sql_query(&self.sql.end).get_results(conn).await?;
        let Some(end) = end.into_iter().next().map(|end| end.key) else { return Ok(0) };
        let (mut from, mut left) = (None::<Vec<String>>, 0);
        loop {
            let place = usize::from(from.is_some());
            let page: Vec<Page> = sql_query(&self.sql.page[place])
                .bind::<Nullable<Array<Text>>, _>(from.as_deref())
                .bind::<Array<Text>, _>(&end)
                .bind::<BigInt, _>(ROWS_COUNTED)
                .get_results(conn)
                .await?;
            let Some(Page { key, .. }) = page.into_iter().next() else { return Ok(left) };
            let counted: Counts = sql_query(&self.sql.left[place])
                .bind::<Nullable<Array<Text>>, _>(from.as_deref())
                .bind::<Array<Text>, _>(&key)
                .get_result(conn)
                .await?;
            left += counted.changed;
            from = Some(key);
        }
    }

    /// Who has an open transaction that has written to the table, or locked rows of it.
    async fn holders(&self, conn: &mut AsyncPgConnection) -> Result<Vec<i64>, BackfillError> {
        let sql = "SELECT DISTINCT pid::bigint AS pid FROM pg_catalog.pg_locks WHERE granted AND pid <> \
            pg_backend_pid() \
                   AND locktype = 'relation' AND mode IN ('RowExclusiveLock', 'RowShareLock') \
                   AND database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = \
                   current_database()) \
                   AND relation IN (SELECT to_regclass($1)::oid UNION SELECT relid::oid \
                   FROM pg_catalog.pg_partition_tree(to_regclass($1))) ORDER BY 1";
        let rows: Vec<Holder> = sql_query(sql).bind::<Text, _>(&self.table.name).get_results(conn).await?;
        Ok(rows.into_iter().map(|row| row.pid).collect())
    }
}
