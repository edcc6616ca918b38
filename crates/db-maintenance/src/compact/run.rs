//! Moves rows off the end of the table, transaction by transaction, and has VACUUM cut the end off.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use db_throttle::{OTHERS_EVERY, OTHERS_SQL, Pause, Reason, STANDBYS_SQL, Throttle};
use tokio_postgres::Client;

use super::disk::room;
use super::preflight::Target;
use super::{Compact, repack};
use crate::error::{MaintenanceError, Result};
use crate::name::identifier;
use crate::session::{Patience, Session, is_conflict, millis};

/// Probes before the first row moves.
const BASELINE_PROBES: u32 = 64;

/// A row goes to its own page as long as that has room: so often it is asked to leave it at least, and at
/// most, where a page has room for many rows.
const ROUNDS: (i64, i64) = (60, 150);

/// A VACUUM waits so long for its lock: less than `deadlock_timeout`, after which it would cancel an
/// autovacuum.
const VACUUM_WAITS: Duration = Duration::from_millis(500);

/// It is tried so often, and so is cutting the end off while the table is busy.
const VACUUM_ATTEMPTS: u32 = 20;

/// Between two of these attempts, and while somebody else maintains the table.
const VACUUM_PAUSE: Duration = Duration::from_secs(1);

/// Between two looks at standbys and at who else maintains the table.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// The most pages of one transaction.
const MOST_PAGES: i64 = 1_024;

/// A pass behind which the table is larger than this share of what it was has not shrunk it.
const SHRUNK: f64 = 0.99;

/// Where its front is full, a table of at most this many times its live size is done.
const FULL: f64 = 1.15;

/// Where the table's front is full, its end is cut off as far as it can be in so many attempts.
const ATTEMPTS_WHEN_FULL: u32 = 3;

/// How far compaction is.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct CompactProgress {
    /// The pages of the end that were emptied in this pass.
    pub pages_done: i64,
    /// The pages to empty in this pass.
    pub pages: i64,
    /// Rows that moved so far, some of them several times.
    pub rows_moved: u64,
    /// Which pass it is.
    pub pass: u32,
    /// Why it pauses just now.
    pub pause: Reason,
}

/// What compaction did.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Compacted {
    /// The table's size before, without indexes and TOAST.
    pub bytes_before: i64,
    /// Its size now.
    pub bytes_after: i64,
    /// About what it needs.
    pub live_bytes: i64,
    /// Rows that moved, some of them several times.
    pub rows_moved: u64,
    /// How long it took.
    pub elapsed: Duration,
    /// Why it ended before the table was small; none where it is.
    pub stopped: Option<String>,
}

impl Compact {
    /// Makes the table small. When `stop` ends, the transaction under way is finished, VACUUM comes once
    /// more, and the run ends; `on_progress` is called after each transaction.
    ///
    /// `probes` is a second connection to the same server, on which reads of the table are timed; without
    /// one, their latency does not slow the run. The session of `client` is pinned afterwards: close it.
    ///
    /// # Errors
    /// [`MaintenanceError::Refused`] with everything that forbids it, [`MaintenanceError::Busy`] where
    /// VACUUM never gets its lock, and what the server says. Rows that have moved stay where they are, and
    /// another run goes on.
    ///
    /// # Cancel safety
    /// Dropping the future may leave a transaction open: close the connection. The table is whole.
    pub async fn run(
        &self,
        client: &mut Client,
        probes: Option<&Client>,
        stop: impl Future<Output = ()> + Send,
        on_progress: impl FnMut(&CompactProgress) + Send,
    ) -> Result<Compacted> {
        let mut session = Session::pin(client, Patience::default()).await?;
        let target = self.look(&mut session).await?;
        if !target.plan.refusals.is_empty() {
            let why = target.plan.refusals.join("; ");
            return Err(MaintenanceError::refused(format!("compacting {}", self.table), why));
        }
        if target.plan.repacks {
            return repack::run(self, &mut session, &target, probes, stop).await;
        }
        let run = Run {
            compact: self,
            name: target.name.clone(),
            throttle: Mutex::new(Throttle::new(self.config.throttle.clone())),
            started: Instant::now(),
        };
        let Some(probes) = probes.filter(|_| self.config.throttle.max_slowdown.is_some()) else {
            return run.all(&mut session, target, stop, on_progress).await;
        };
        for _ in 0..BASELINE_PROBES {
            run.probe(probes).await?;
        }
        run.throttled(Throttle::begin);
        let works = session.client().query_one("SELECT pg_catalog.pg_backend_pid()", &[]).await?;
        let works: i32 = works.try_get(0)?;
        let probing = async {
            loop {
                if let Err(error) = run.probe_beside(probes, works).await {
                    break error;
                }
            }
        };
        tokio::select! {
            compacted = run.all(&mut session, target, stop, on_progress) => compacted,
            error = probing => Err(error),
        }
    }
}

struct Run<'a> {
    compact: &'a Compact,
    name: String,
    throttle: Mutex<Throttle>,
    started: Instant,
}

/// What one transaction did.
struct Moved {
    rows: u64,
    /// Rows went to pages behind these: no free room is left before them. Then nothing was done.
    full: bool,
}

/// Why a pass ended.
#[derive(Debug, PartialEq, Eq)]
enum Ended {
    Through,
    /// No free room is left before the end.
    Full,
    Stopped,
}

impl Run<'_> {
    async fn probe(&self, probes: &Client) -> Result<()> {
        tokio::time::sleep(self.compact.config.probe_interval).await;
        let started = Instant::now();
        let sql = format!("SELECT FROM ONLY {} WHERE ctid OPERATOR(pg_catalog.=) '(0,1)'", self.name);
        probes.batch_execute(&sql).await?;
        self.throttled(|throttle| throttle.probed(started.elapsed(), Instant::now()));
        Ok(())
    }

    /// Some probes, and then whether they matter to anybody but the backend that works.
    async fn probe_beside(&self, probes: &Client, works: i32) -> Result<()> {
        let others = probes.query_one(OTHERS_SQL, &[&works]).await?.try_get(0)?;
        self.throttled(|throttle| throttle.others(others));
        for _ in 0..OTHERS_EVERY {
            self.probe(probes).await?;
        }
        Ok(())
    }

    fn throttled<T>(&self, with: impl FnOnce(&mut Throttle) -> T) -> T {
        with(&mut self.throttle.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    fn out_of_time(&self) -> bool {
        self.compact.config.budget.is_some_and(|budget| self.started.elapsed() >= budget)
    }

    async fn all(
        &self,
        session: &mut Session<'_>,
        target: Target,
        stop: impl Future<Output = ()> + Send,
        mut on_progress: impl FnMut(&CompactProgress) + Send,
    ) -> Result<Compacted> {
        let mut stop = std::pin::pin!(stop);
        let bytes_before = target.plan.bytes;
        self.vacuum(session, &target).await?;
        let mut target = self.compact.look(session).await?;
        let (mut rows_moved, mut stopped, mut pass) = (0, None, 0);
        while target.is_worth_it() {
            if pass == self.compact.config.passes {
                stopped = Some(
                    "rows of its end were locked or came meanwhile, or somebody has had a snapshot or the \
                     table's lock all the time: another run goes on"
                        .to_owned(),
                );
                break;
            }
            pass += 1;
            let size = target.plan.bytes;
            let ended =
                self.pass(session, &target, pass, &mut rows_moved, &mut stop, &mut on_progress).await?;
            self.cut(session, &mut target, &ended).await?;
            if ended == Ended::Stopped {
                stopped = Some("it was told to stop, or its time was over: another run goes on".to_owned());
                break;
            }
            // Where its front is full, it is as small as its rows let it be. Else rows that were updated
            // meanwhile went to the end that was emptied: another pass takes them.
            let is_small = target.plan.bytes as f64 <= target.plan.live_bytes as f64 * FULL;
            if ended == Ended::Full && is_small && target.plan.bytes as f64 > size as f64 * SHRUNK {
                break;
            }
        }
        if !target.is_worth_it() {
            stopped = None;
        }
        Ok(Compacted {
            bytes_before,
            bytes_after: target.plan.bytes,
            live_bytes: target.plan.live_bytes,
            rows_moved,
            elapsed: self.started.elapsed(),
            stopped,
        })
    }

    /// Empties the pages behind the table's live size, from the last one on.
    async fn pass(
        &self,
        session: &mut Session<'_>,
        target: &Target,
        pass: u32,
        rows_moved: &mut u64,
        stop: &mut (impl Future<Output = ()> + Send + Unpin),
        on_progress: &mut (impl FnMut(&CompactProgress) + Send),
    ) -> Result<Ended> {
        let first = target.plan.live_bytes / target.page_bytes;
        let pages = target.plan.bytes / target.page_bytes;
        let rows_a_page = (target.plan.rows / pages.max(1)).max(1);
        let (mut end, mut looked, mut most) = (pages, None::<Instant>, MOST_PAGES);
        let progress = |end: i64, rows_moved: u64, pause: Reason| CompactProgress {
            pages_done: pages - end,
            pages: pages - first,
            rows_moved,
            pass,
            pause,
        };
        while end > first {
            if self.out_of_time() {
                return Ok(Ended::Stopped);
            }
            if looked.is_none_or(|looked| looked.elapsed() >= LOOK_EVERY) {
                let pause = self.look_around(session, target).await?;
                if !pause.length.is_zero() {
                    on_progress(&progress(end, *rows_moved, pause.reason));
                    if stopped(stop, pause.length).await {
                        return Ok(Ended::Stopped);
                    }
                    continue;
                }
                looked = Some(Instant::now());
            }
            let rows = i64::from(self.throttled(|throttle| throttle.rows()));
            let begin = (end - (rows / rows_a_page).clamp(1, most)).max(first);
            let started = Instant::now();
            let moved = self.transaction(session, target, begin, end).await?;
            *rows_moved += moved.rows;
            // The rows that moved once more within their pages were work, too.
            let worked = u32::try_from(rows).unwrap_or(u32::MAX);
            let pause = self.throttled(|throttle| throttle.batch(worked, started.elapsed(), Instant::now()));
            if moved.full && end - begin == 1 {
                return Ok(Ended::Full);
            }
            // What is free may be enough for the rows of fewer pages.
            most = if moved.full { (end - begin) / 2 } else { most };
            end = if moved.full { end } else { begin };
            on_progress(&progress(end, *rows_moved, pause.reason));
            if stopped(stop, pause.length).await {
                return Ok(Ended::Stopped);
            }
        }
        Ok(Ended::Through)
    }

    /// Moves the rows of these pages before them. Rows that somebody has locked stay for the next pass.
    async fn transaction(
        &self,
        session: &mut Session<'_>,
        target: &Target,
        begin: i64,
        end: i64,
    ) -> Result<Moved> {
        let what = format!("moving rows of {}", self.compact.table);
        let opened = format!(
            "BEGIN; SET LOCAL lock_timeout = {}; SET LOCAL ROLE {}",
            millis(session.patience().lock_timeout),
            identifier(&target.owner)
        );
        for _ in 0..session.patience().attempts.max(1) {
            let attempt = async {
                let client = session.client();
                client.batch_execute(&opened).await.map_err(MaintenanceError::step(&what))?;
                let moved =
                    rounds(client, target, begin, end).await.map_err(MaintenanceError::step(&what))?;
                // A row behind the end would keep all of it from being cut off.
                let close = if moved.full { "ROLLBACK" } else { "COMMIT" };
                client.batch_execute(close).await.map_err(MaintenanceError::step(&what))?;
                Ok::<Moved, MaintenanceError>(moved)
            };
            match attempt.await {
                Ok(moved) => return Ok(moved),
                Err(error) if error.is_disconnected() => return Err(error),
                Err(error) => {
                    session.client().batch_execute("ROLLBACK").await?;
                    if !is_conflict(&error) {
                        return Err(room(error, &what));
                    }
                }
            }
            self.throttled(Throttle::smaller);
            tokio::time::sleep(session.patience().pause).await;
        }
        let Patience { lock_timeout, attempts, .. } = session.patience();
        Err(MaintenanceError::Busy { what, waited: lock_timeout, attempts })
    }

    /// Whether to pause: for a standby, or for somebody else who maintains the table.
    async fn look_around(&self, session: &mut Session<'_>, target: &Target) -> Result<Pause> {
        let others = session
            .client()
            .query_one(
                "SELECT count(*) FROM pg_catalog.pg_locks WHERE locktype = 'relation' AND relation = $1 \
                 AND database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database()) \
                 AND pid <> pg_backend_pid() AND mode IN ('ShareUpdateExclusiveLock', \
                 'ShareRowExclusiveLock', \
                 'ExclusiveLock', 'AccessExclusiveLock')",
                &[&target.oid],
            )
            .await?;
        if others.try_get::<_, i64>(0)? > 0 {
            return Ok(Pause { length: VACUUM_PAUSE, reason: Reason::Lag });
        }
        if self.compact.config.throttle.max_lag.is_none() {
            return Ok(Pause { length: Duration::ZERO, reason: Reason::None });
        }
        let row = session.client().query_one(STANDBYS_SQL, &[]).await?;
        let (written, replayed, hidden) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        if hidden > 0 {
            let why = "this role may not see how far behind standbys are: GRANT pg_monitor to it, or say \
                       --max-lag never";
            return Err(MaintenanceError::refused(format!("compacting {}", self.compact.table), why));
        }
        Ok(self.throttled(|throttle| throttle.standbys(written, replayed, hidden, Instant::now())))
    }

    /// Has VACUUM find the free room, and cut empty pages off the end.
    async fn vacuum(&self, session: &mut Session<'_>, target: &Target) -> Result<()> {
        let what = format!("VACUUM of {}", self.compact.table);
        let sql = format!("VACUUM (ANALYZE, INDEX_CLEANUP on, TRUNCATE on) {}", self.name);
        if session.version >= 150_000 {
            // What was counted of the rows that moved, and is not written yet, would be written after it.
            session.client().batch_execute("SELECT pg_catalog.pg_stat_force_next_flush()").await?;
        }
        for _ in 0..VACUUM_ATTEMPTS {
            match session.alone(&what, Some(&target.owner), &sql, VACUUM_WAITS).await {
                Err(error) if is_conflict(&error) => tokio::time::sleep(VACUUM_PAUSE).await,
                ended => return ended,
            }
        }
        Err(MaintenanceError::Busy { what, waited: VACUUM_WAITS, attempts: VACUUM_ATTEMPTS })
    }

    /// Repeats VACUUM until the end is cut off, or is not to be cut off.
    async fn cut(&self, session: &mut Session<'_>, target: &mut Target, ended: &Ended) -> Result<()> {
        let before = target.plan.bytes;
        let attempts = if *ended == Ended::Full { ATTEMPTS_WHEN_FULL } else { VACUUM_ATTEMPTS };
        for attempt in 0..attempts {
            self.vacuum(session, target).await?;
            *target = self.compact.look(session).await?;
            if target.plan.bytes < before || self.out_of_time() {
                return Ok(());
            }
            tracing::debug!(
                attempt,
                "the end could not be cut off: a reader had its lock, or an old snapshot its rows"
            );
            tokio::time::sleep(VACUUM_PAUSE).await;
        }
        Ok(())
    }
}

/// Asks the rows of these pages to leave until they have, or cannot.
async fn rounds(
    client: &Client,
    target: &Target,
    begin: i64,
    end: i64,
) -> Result<Moved, tokio_postgres::Error> {
    let Target { name, column, .. } = target;
    let mut moved = Moved { rows: 0, full: false };
    let mut stay = None::<Vec<String>>;
    let row_bytes = (target.plan.live_bytes / target.plan.rows.max(1)).max(1);
    for _ in 0..(target.page_bytes / row_bytes + 10).clamp(ROUNDS.0, ROUNDS.1) {
        let which = match &stay {
            None => format!(
                "WITH locked AS MATERIALIZED (SELECT ctid AS place FROM ONLY {name} WHERE ctid >= \
                    '({begin},0)' \
                 AND ctid < '({end},0)' FOR NO KEY UPDATE SKIP LOCKED), "
            ),
            Some(stay) => format!(
                "WITH locked AS MATERIALIZED (SELECT '{{{}}}'::text[]::tid[] AS places), ",
                stay.iter().map(|place| format!("\"{place}\"")).collect::<Vec<_>>().join(",")
            ),
        };
        let places = if stay.is_none() {
            "ARRAY(SELECT place FROM locked)"
        } else {
            "(SELECT places FROM locked)::tid[]"
        };
        let sql = format!(
            "{which} moved AS (UPDATE ONLY {name} SET {column} = {column} WHERE ctid = ANY ({places}) \
             RETURNING ctid::text AS place, split_part(trim(ctid::text, '('), ',', 1)::int8 AS page) \
             SELECT count(*) FILTER (WHERE page < $1), coalesce(array_agg(place) FILTER (WHERE page >= $1), \
             '{{}}'), \
             coalesce(max(page), 0) FROM moved"
        );
        let row = client.query_one(&sql, &[&begin]).await?;
        let (away, places, furthest): (i64, Vec<String>, i64) =
            (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        moved.rows += u64::try_from(away).unwrap_or_default();
        if furthest >= end {
            break;
        }
        if places.is_empty() {
            return Ok(moved);
        }
        stay = Some(places);
    }
    Ok(Moved { rows: 0, full: true })
}

/// Waits, unless it is told to stop before.
async fn stopped(stop: &mut (impl Future<Output = ()> + Send + Unpin), wait: Duration) -> bool {
    tokio::select! {
        biased;
        () = stop => true,
        () = tokio::time::sleep(wait) => false,
    }
}
