//! Runs a backfill batch by batch, beside probes of the application's kind.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use db_core::{Class, Classify, Error};
use db_throttle::{OTHERS_EVERY, OTHERS_SQL, Pause, Reason, STANDBYS_SQL, Throttle};
use diesel::sql_types::{BigInt, Bool, Integer, Nullable};
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};

use super::batch::{Batch, Page};
use super::definition::{Backfill, BackfillConfig};
use super::error::BackfillError;
use super::ledger::{BackfillStatus, Progress, Tables};
use super::report::{BackfillOutcome, BackfillPlan, BackfillProgress};
use super::sql::Sql;
use super::table::Table;
use crate::direct::backend;
use crate::session::Session;

/// Probes before the first batch: what they take is the measure for those beside it.
const BASELINE_PROBES: u32 = 64;

/// How long the table's lock is waited for while the statement is checked: nobody queues behind so weak a
/// lock.
const CHECK_PATIENCE: Duration = Duration::from_secs(5);

#[derive(QueryableByName)]
struct Standbys {
    #[diesel(sql_type = BigInt)]
    written: i64,
    #[diesel(sql_type = Nullable<BigInt>)]
    replayed: Option<i64>,
    #[diesel(sql_type = BigInt)]
    hidden: i64,
}

#[derive(QueryableByName)]
struct Others {
    #[diesel(sql_type = Bool)]
    others: bool,
}

impl Backfill {
    /// What [`Backfill::run`] would do. Reads only.
    ///
    /// # Errors
    /// What forbids it: [`BackfillError::NoTable`], [`BackfillError::Refused`], [`BackfillError::Column`],
    /// [`BackfillError::Statement`], [`BackfillError::Changed`].
    pub async fn plan(
        &self,
        conn: &mut AsyncPgConnection,
        config: &BackfillConfig,
    ) -> Result<BackfillPlan, BackfillError> {
        let table = Table::find(conn, self).await?;
        let tables = Tables::find(conn, config.ledger_schema.as_deref()).await?;
        let sql = Sql::of(self, &table, &tables);
        check(conn, &sql).await?;
        let before = tables.read(conn, &self.name()).await?.filter(|before| !before.finished);
        self.same(before.as_ref())?;
        Ok(BackfillPlan {
            name: self.name(),
            key: table.key.clone(),
            rows: table.rows,
            bytes: table.bytes,
            triggers: table.triggers,
            table: table.name,
            seen_before: before.map(|before| before.rows_seen),
            statement: sql.fill[1].clone(),
        })
    }

    /// Fills the columns, from where an earlier run was cut off if one was; `on_progress` is called after
    /// each batch. When `stop` ends, the batch under way is finished, and the run ends as not finished.
    ///
    /// `probes` is a second connection to the same server, on which reads of the application's kind are
    /// timed; without one, their latency does not slow the backfill. The session of `conn` is as after its
    /// start-up when it returns.
    ///
    /// # Errors
    /// As [`Backfill::plan`], and [`BackfillError::Running`], [`BackfillError::TooManyFailed`],
    /// [`BackfillError::LagHidden`], [`BackfillError::Database`]. Whatever was committed stays, and the next
    /// run goes on behind it.
    ///
    /// # Cancel safety
    /// Dropping the future rolls the batch under way back as soon as the connection is closed. The
    /// connection holds the backfill's lock until then: do not put it back into a pool.
    pub async fn run(
        &self,
        conn: &mut AsyncPgConnection,
        mut probes: Option<AsyncPgConnection>,
        config: &BackfillConfig,
        stop: impl Future<Output = ()> + Send,
        on_progress: impl FnMut(&BackfillProgress) + Send,
    ) -> Result<BackfillOutcome, BackfillError> {
        let table = Table::find(conn, self).await?;
        let mut tables = Tables::find(conn, config.ledger_schema.as_deref()).await?;
        let sql = Sql::of(self, &table, &tables);
        check(conn, &sql).await?;
        tables.create(conn).await?;
        let session = Session::open(conn).await.map_err(BackfillError::from)?;
        let name = self.name();
        tables.lock(conn, &name).await?;
        let run = Run {
            backfill: self,
            config,
            table,
            tables,
            sql,
            session,
            name,
            throttle: Mutex::new(Throttle::new(config.throttle.clone())),
            started: Instant::now(),
        };
        let result = run.all(conn, probes.as_mut(), stop, on_progress).await;
        // A statement that failed may have left a transaction open; a lost connection has forgotten
        // everything.
        let _ = conn.batch_execute("ROLLBACK").await;
        let _ = run.session.clean(conn).await;
        run.tables.unlock(conn, &run.name).await;
        result
    }

    /// All backfills that were begun in this database, by name.
    ///
    /// # Errors
    /// [`BackfillError::Database`], and where the ledger of migrations cannot be found.
    pub async fn statuses(
        conn: &mut AsyncPgConnection,
        config: &BackfillConfig,
    ) -> Result<Vec<BackfillStatus>, BackfillError> {
        Tables::find(conn, config.ledger_schema.as_deref()).await?.status(conn).await
    }

    /// Forgets how far a backfill came: the next run of its name begins at the first row.
    ///
    /// # Errors
    /// [`BackfillError::NoSuchBackfill`], [`BackfillError::Running`], [`BackfillError::Database`].
    pub async fn forget(
        conn: &mut AsyncPgConnection,
        config: &BackfillConfig,
        name: &str,
    ) -> Result<(), BackfillError> {
        let tables = Tables::find(conn, config.ledger_schema.as_deref()).await?;
        tables.lock(conn, name).await?;
        let forgotten = tables.forget(conn, name).await;
        tables.unlock(conn, name).await;
        forgotten
    }

    fn same(&self, before: Option<&Progress>) -> Result<(), BackfillError> {
        match before {
            Some(before) if before.definition != self.hash() => {
                Err(BackfillError::Changed { name: self.name() })
            }
            _ => Ok(()),
        }
    }
}

async fn check(conn: &mut AsyncPgConnection, sql: &Sql) -> Result<(), BackfillError> {
    // It waits for a table's lock as the statement itself does.
    conn.batch_execute(&format!("BEGIN; SET LOCAL lock_timeout = {}", CHECK_PATIENCE.as_millis())).await?;
    let checked = sql_query(&sql.check).execute(conn).await.map_err(Error::from);
    if !matches!(checked, Err(Error::ConnectionLost { .. })) {
        conn.batch_execute("ROLLBACK").await?;
    }
    match checked {
        Ok(_) => Ok(()),
        Err(error) if error.class() == Class::Conflict => Err(BackfillError::Database(error)),
        Err(error @ Error::ConnectionLost { .. }) => Err(BackfillError::Database(error)),
        Err(error) => Err(BackfillError::Statement { source: Box::new(error) }),
    }
}

/// One run of a backfill that has its lock.
pub(crate) struct Run<'a> {
    pub(crate) backfill: &'a Backfill,
    pub(crate) config: &'a BackfillConfig,
    pub(crate) table: Table,
    pub(crate) tables: Tables,
    pub(crate) sql: Sql,
    session: Session,
    pub(crate) name: String,
    throttle: Mutex<Throttle>,
    pub(crate) started: Instant,
}

impl Run<'_> {
    async fn all(
        &self,
        conn: &mut AsyncPgConnection,
        probes: Option<&mut AsyncPgConnection>,
        stop: impl Future<Output = ()> + Send,
        on_progress: impl FnMut(&BackfillProgress) + Send,
    ) -> Result<BackfillOutcome, BackfillError> {
        let before = self.tables.read(conn, &self.name).await?.filter(|before| !before.finished);
        self.backfill.same(before.as_ref())?;
        self.session.begin(conn, self.config.lock_timeout).await?;
        conn.batch_execute("SET standard_conforming_strings = on").await?;
        let progress = match before {
            Some(before) => before,
            None => {
                let end: Vec<Page> = sql_query(&self.sql.end).get_results(conn).await?;
                let end = end.into_iter().next().map(|end| end.key);
                let definition = self.backfill.hash();
                self.tables.begin(conn, &self.name, &definition, end.as_deref()).await?;
                let begun = self.tables.read(conn, &self.name).await?;
                begun.ok_or_else(|| BackfillError::NoSuchBackfill { name: self.name.clone() })?
            }
        };
        let probe = match (&self.config.probe, &progress.ends_at) {
            (Some(probe), _) => Some(probe.clone()),
            (None, Some(end)) => Some(self.sql.probe_of(&self.table, end)),
            (None, None) => None,
        };
        match probes.zip(probe).filter(|_| self.config.throttle.max_slowdown.is_some()) {
            None => self.batches(conn, progress, stop, on_progress).await,
            Some((probes, probe)) => {
                for _ in 0..BASELINE_PROBES {
                    self.probe(probes, &probe).await?;
                }
                self.throttled(Throttle::begin);
                let works = backend(conn).await.map_err(BackfillError::from)?;
                let probing = async {
                    loop {
                        if let Err(error) = self.probe_beside(probes, &probe, works).await {
                            break error;
                        }
                    }
                };
                let batches = self.batches(conn, progress, stop, on_progress);
                tokio::select! {
                    outcome = batches => outcome,
                    error = probing => Err(error),
                }
            }
        }
    }

    async fn probe(&self, probes: &mut AsyncPgConnection, probe: &str) -> Result<(), BackfillError> {
        tokio::time::sleep(self.config.probe_interval).await;
        let started = Instant::now();
        probes.batch_execute(probe).await?;
        self.throttled(|throttle| throttle.probed(started.elapsed(), Instant::now()));
        Ok(())
    }

    /// Some probes, and then whether they matter to anybody but the backend that works.
    async fn probe_beside(
        &self,
        probes: &mut AsyncPgConnection,
        probe: &str,
        works: i32,
    ) -> Result<(), BackfillError> {
        let asked = sql_query(OTHERS_SQL).bind::<Integer, _>(works).get_result(probes).await;
        let Others { others } = asked?;
        self.throttled(|throttle| throttle.others(others));
        for _ in 0..OTHERS_EVERY {
            self.probe(probes, probe).await?;
        }
        Ok(())
    }

    pub(crate) fn throttled<T>(&self, with: impl FnOnce(&mut Throttle) -> T) -> T {
        with(&mut self.throttle.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    async fn batches(
        &self,
        conn: &mut AsyncPgConnection,
        mut progress: Progress,
        stop: impl Future<Output = ()> + Send,
        mut on_progress: impl FnMut(&BackfillProgress) + Send,
    ) -> Result<BackfillOutcome, BackfillError> {
        let mut stop = std::pin::pin!(stop);
        let seen_before = progress.rows_seen;
        loop {
            loop {
                let pause = self.standbys(conn).await?;
                if pause.length.is_zero() {
                    break;
                }
                on_progress(&self.progress(&progress, seen_before, pause.reason));
                if stopped(&mut stop, pause.length).await {
                    return self.outcome(conn, progress, false).await;
                }
            }
            let started = Instant::now();
            let (next, rows) = match self.batch(conn, &progress).await? {
                Batch::Done(next, rows) => (next, rows),
                Batch::End => break,
            };
            progress = next;
            let pause = self.throttled(|throttle| throttle.batch(rows, started.elapsed(), Instant::now()));
            on_progress(&self.progress(&progress, seen_before, pause.reason));
            if stopped(&mut stop, pause.length).await {
                return self.outcome(conn, progress, false).await;
            }
        }
        self.locked_rows(conn, &mut progress, &mut stop).await?;
        self.outcome(conn, progress, true).await
    }

    async fn standbys(&self, conn: &mut AsyncPgConnection) -> Result<Pause, BackfillError> {
        if self.config.throttle.max_lag.is_none() {
            return Ok(Pause { length: Duration::ZERO, reason: Reason::None });
        }
        let Standbys { written, replayed, hidden } = sql_query(STANDBYS_SQL).get_result(conn).await?;
        if hidden > 0 {
            return Err(BackfillError::LagHidden);
        }
        Ok(self.throttled(|throttle| throttle.standbys(written, replayed, hidden, Instant::now())))
    }

    fn progress(&self, now: &Progress, seen_before: i64, pause: Reason) -> BackfillProgress {
        let seconds = self.started.elapsed().as_secs_f64().max(1e-3);
        let rate = (now.rows_seen - seen_before) as f64 / seconds;
        let left = self.table.rows.map(|rows| (rows - now.rows_seen).max(0) as f64);
        let eta = left.filter(|_| rate > 0.0).and_then(|left| Duration::try_from_secs_f64(left / rate).ok());
        BackfillProgress {
            rows_seen: now.rows_seen,
            rows_filled: now.rows_filled,
            rows: self.table.rows,
            rows_per_second: rate,
            eta,
            pause,
        }
    }
}

/// Waits, unless it is told to stop before.
pub(crate) async fn stopped(stop: &mut (impl Future<Output = ()> + Send + Unpin), wait: Duration) -> bool {
    tokio::select! {
        biased;
        () = stop => true,
        () = tokio::time::sleep(wait) => false,
    }
}
