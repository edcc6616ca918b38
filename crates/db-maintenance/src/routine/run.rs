//! Does what is due: one task after another, each as the owner of what it is about.

use std::collections::VecDeque;
use std::future::pending;
use std::time::Duration;

use db_core::{Class, Classify as _};
use tokio::time::Instant;
use tokio_postgres::Client;

use super::look;
use super::note::{self, FAILED, REFRESHED};
use super::{Held, Routine, RoutineReport, Task, TaskKind, baseline};
use crate::compact::{Compact, CompactConfig};
use crate::error::{MaintenanceError, Result};
use crate::lock::Leader;
use crate::name::TableName;
use crate::session::{Session, is_conflict};

/// So often a task is tried for which somebody is in the way.
const ATTEMPTS: u32 = 3;

/// Between two attempts.
const PAUSE: Duration = Duration::from_secs(1);

/// How long dropping what a REINDEX left waits.
const LEFT_WAITS: Duration = Duration::from_secs(5);

/// What became of a task that did not fail.
enum Ended {
    Done,
    /// It was begun, or not begun, and another run goes on; and why.
    Left(String),
    /// Somebody else is at it.
    Held(String),
}

pub(super) async fn apply(
    routine: &Routine,
    session: &mut Session<'_>,
    probes: Option<&Client>,
) -> Result<RoutineReport> {
    let Some(leader) = Leader::try_become(session.client()).await? else {
        return Ok(RoutineReport::default());
    };
    let done = lead(routine, session, probes).await;
    leader.resign(session.client()).await;
    done
}

async fn lead(
    routine: &Routine,
    session: &mut Session<'_>,
    probes: Option<&Client>,
) -> Result<RoutineReport> {
    let began = Instant::now();
    let plan = look::plan(routine, session).await?;
    let mut report = RoutineReport { is_led: true, held: plan.held, ..RoutineReport::default() };
    let mut tasks = VecDeque::from(plan.tasks);
    let mut built = Vec::new();
    while let Some(task) = tasks.pop_front() {
        let left = routine.budget.saturating_sub(began.elapsed());
        if left.is_zero() {
            report.left.push(task.to_string());
            continue;
        }
        let before = match task.kind {
            TaskKind::Compact => indexes(session, task.oid).await?,
            _ => Vec::new(),
        };
        let limit = format!("SET statement_timeout = {}", left.as_millis().clamp(1, 86_400_000));
        session.client().batch_execute(&limit).await?;
        let ended = one(routine, session, &task, left, probes).await;
        if !session.client().is_closed() {
            session.client().batch_execute("SET statement_timeout = 0").await?;
        }
        match ended {
            Ok(Ended::Done) => report.done.push(task.to_string()),
            Ok(Ended::Left(why)) => report.left.push(format!("{}: {why}", task.what())),
            Ok(Ended::Held(why)) => report.held.push(Held { name: task.name.clone(), why }),
            Err(error) if error.is_disconnected() => return Err(error),
            Err(error) => {
                tracing::warn!(task = task.what(), %error, "a task of upkeep failed");
                remember(session, &task, &error).await?;
                report.failed.push(format!("{}: {error}", task.what()));
            }
        }
        match task.kind {
            TaskKind::Compact => tasks.extend(grown(session, &task, &before).await?),
            TaskKind::Reindex => built.push(task.name),
            _ => {}
        }
    }
    baseline::note(routine, session, &built).await?;
    Ok(report)
}

async fn one(
    routine: &Routine,
    session: &mut Session<'_>,
    task: &Task,
    left: Duration,
    probes: Option<&Client>,
) -> Result<Ended> {
    let (what, owner) = (task.what(), Some(task.owner.as_str()));
    session.verify(&what, &look::still_is(task)).await?;
    // It was not so when the plan was made, or it would be held there.
    if let Some(table) = task.about_table()
        && let Some(why) = look::given_way(session.client(), table).await?
    {
        return Ok(Ended::Held(why));
    }
    let Some(sql) = task.sql() else {
        let config = CompactConfig {
            budget: Some(left),
            trusted_owners: routine.trusted_owners.clone(),
            ..routine.compact.clone()
        };
        let compact = Compact::new(task.name.clone(), config);
        return match compact.run(session.client(), probes, pending(), |_| ()).await {
            Ok(compacted) => Ok(compacted.stopped.map_or(Ended::Done, Ended::Left)),
            // It was not so when the plan was made.
            Err(MaintenanceError::Refused { why, .. }) => Ok(Ended::Held(why)),
            Err(error @ MaintenanceError::Busy { .. }) => Ok(Ended::Left(error.to_string())),
            Err(error) => Err(error),
        };
    };
    let mut attempt = 1;
    loop {
        match session.alone(&what, owner, &sql, routine.lock_waits).await {
            Ok(()) => break,
            Err(error) if error.is_disk_full() => {
                leave_nothing(session, task).await?;
                return Ok(Ended::Left(
                    "the disk is full: nothing is lost, and it goes on when there is room".to_owned(),
                ));
            }
            Err(error) if !is_conflict(&error) => return Err(error),
            Err(error) if attempt == ATTEMPTS => {
                let why = format!("{error}, {ATTEMPTS} times: the next run tries again");
                leave_nothing(session, task).await?;
                return Ok(Ended::Left(why));
            }
            Err(error) => tracing::debug!(what, attempt, %error, "somebody is in the way"),
        }
        leave_nothing(session, task).await?;
        attempt += 1;
        tokio::time::sleep(PAUSE).await;
    }
    if let Some(mark) = &task.mark {
        note::write(session, &task.name, &task.owner, REFRESHED, Some(mark)).await?;
    }
    if task.kind != TaskKind::Drop {
        note::write(session, &task.name, &task.owner, FAILED, None).await?;
    }
    Ok(Ended::Done)
}

/// Drops what a REINDEX left that gave way. What cannot be dropped now is named by the next plan.
async fn leave_nothing(session: &mut Session<'_>, task: &Task) -> Result<()> {
    let (TaskKind::Reindex, Some(table)) = (task.kind, task.table) else { return Ok(()) };
    let sql = "SELECT n.nspname::text, x.relname::text FROM pg_index i JOIN pg_class x ON x.oid = \
      i.indexrelid \
        JOIN pg_namespace n ON n.oid = x.relnamespace WHERE i.indrelid = $1 AND NOT i.indisvalid \
        AND x.relname ~ '_cc(new|old)[0-9]*$'";
    for row in session.client().query(sql, &[&table]).await? {
        let left = TableName::new(row.try_get::<_, String>(0)?, row.try_get::<_, String>(1)?);
        let drop = format!("DROP INDEX CONCURRENTLY IF EXISTS {}", left.quoted());
        match session.alone(&format!("drop {left}"), Some(&task.owner), &drop, LEFT_WAITS).await {
            Err(error) if error.is_disconnected() => return Err(error),
            Err(error) => tracing::debug!(index = %left, %error, "it is left for the next run"),
            Ok(()) => {}
        }
    }
    Ok(())
}

/// What must fail for a lasting reason is not tried again each night: its comment says so.
async fn remember(session: &mut Session<'_>, task: &Task, error: &MaintenanceError) -> Result<()> {
    let is_lasting = error.class() == Class::Permanent && error.code().is_some();
    if task.kind == TaskKind::Drop || !is_lasting {
        return Ok(());
    }
    let words = format!("{}: {error}", task.kind);
    match note::write(session, &task.name, &task.owner, FAILED, Some(&words)).await {
        Err(error) if error.is_disconnected() => Err(error),
        // It is tried again next time, which is no worse than before.
        _ => Ok(()),
    }
}

/// The sizes of a table's indexes.
async fn indexes(session: &mut Session<'_>, table: u32) -> Result<Vec<(u32, TableName, i64)>> {
    let sql = "SELECT x.oid, n.nspname::text, x.relname::text, pg_relation_size(x.oid)::int8 \
        FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid JOIN pg_namespace n ON n.oid = \
        x.relnamespace \
        WHERE i.indrelid = $1 AND i.indisvalid ORDER BY x.oid";
    let rows = session.client().query(sql, &[&table]).await?;
    rows.iter()
        .map(|row| {
            let name = TableName::new(row.try_get::<_, String>(1)?, row.try_get::<_, String>(2)?);
            Ok((row.try_get(0)?, name, row.try_get(3)?))
        })
        .collect()
}

/// The indexes that grew while rows moved: they are built anew.
#[expect(clippy::cast_precision_loss, reason = "sizes, compared with shares of each other")]
async fn grown(
    session: &mut Session<'_>,
    compacted: &Task,
    before: &[(u32, TableName, i64)],
) -> Result<Vec<Task>> {
    let worth = |old: i64, now: i64| {
        now >= look::BLOATED_BYTES && (1.0 - old as f64 / now as f64) * 100.0 >= look::BLOATED_PERCENT
    };
    let now = indexes(session, compacted.oid).await?;
    let grown = now.into_iter().filter_map(|(oid, name, now)| {
        let (.., old) = before.iter().find(|(known, ..)| *known == oid)?;
        let why =
            format!("it grew from {} to {} MB while rows of {} moved", old >> 20, now >> 20, compacted.name);
        let owner = compacted.owner.clone();
        let table = Some(compacted.oid);
        worth(*old, now).then_some(Task { kind: TaskKind::Reindex, name, why, oid, owner, table, mark: None })
    });
    Ok(grown.collect())
}

impl Task {
    /// The table that maintainers must not work on at once.
    fn about_table(&self) -> Option<u32> {
        match self.kind {
            TaskKind::Drop | TaskKind::Reindex => self.table,
            TaskKind::Refresh => None,
            _ => Some(self.oid),
        }
    }
}
