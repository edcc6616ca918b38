//! Plays one file of a migration on a database of the check's own, and traces each statement.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use db_core::{Class, Classify, Error};
use diesel_async::{AsyncPgConnection, SimpleAsyncConnection};

use super::alterations;
use super::error::CheckError;
use super::gates::{Gates, pid_of};
use super::snapshot::Snapshot;
use super::statement_text;
use super::trace::{Lock, StatementTrace, head};
use crate::segments::{How, Segment, segments};
use crate::split::Statement;
use crate::statement::Words;

/// A statement that the server refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) line: usize,
    pub(crate) message: String,
}

/// What was played of a file.
#[derive(Debug, Default)]
pub(crate) struct Played {
    pub(crate) traces: Vec<StatementTrace>,
    pub(crate) failure: Option<Failure>,
    /// What there was at its end, where it was traced and nothing failed.
    pub(crate) end: Option<Snapshot>,
}

/// Cuts a file into what commits together.
pub(crate) fn cut(sql: &str, in_transaction: bool) -> Result<Vec<Segment<'_>>, Failure> {
    segments(sql, in_transaction, true).map_err(|refusal| Failure {
        line: refusal.statement.line,
        message: format!("{}: {}", head(refusal.statement.text), refusal.why),
    })
}

/// The statements of a file that is one transaction.
pub(crate) fn one_transaction<'a>(segments: &[Segment<'a>]) -> Option<Vec<Statement<'a>>> {
    match segments {
        [] => Some(Vec::new()),
        [Segment { statements, how: How::Together(begin), .. }] if begin == "BEGIN" => {
            Some(statements.clone())
        }
        _ => None,
    }
}

/// Plays statements in the transaction that is open.
pub(crate) async fn inside(
    conn: &mut AsyncPgConnection,
    statements: &[Statement<'_>],
) -> Result<Option<Failure>, CheckError> {
    for statement in statements {
        if let Err(error) = conn.batch_execute(statement.text).await {
            return Ok(Some(failure(statement, error)?));
        }
    }
    Ok(None)
}

/// Sends texts one behind the other without a wait between them, and then asks; the inner error is the first
/// that the server gave to a text.
pub(crate) async fn then<T>(
    conn: &AsyncPgConnection,
    texts: &[&str],
    asks: impl Future<Output = Result<T, CheckError>>,
) -> Result<diesel::QueryResult<T>, CheckError> {
    let texts = texts.iter().map(|text| Some(Box::pin(sent(conn, text)))).collect::<Vec<_>>();
    let (ran, told) = tokio::join!(in_order(texts), asks);
    match ran.into_iter().find_map(Result::err) {
        Some(refused) => Ok(Err(refused)),
        None => told.map(Ok),
    }
}

/// Runs a text on a connection that others ask meanwhile.
pub(crate) async fn sent(mut conn: &AsyncPgConnection, sql: &str) -> diesel::QueryResult<()> {
    conn.batch_execute(sql).await
}

/// Waits for all of them; each is begun before the next one.
async fn in_order<T>(mut futures: Vec<Option<Pin<Box<impl Future<Output = T>>>>>) -> Vec<T> {
    let mut done: Vec<Option<T>> = futures.iter().map(|_| None).collect();
    poll_fn(|context| {
        let mut waits = false;
        for (future, done) in futures.iter_mut().zip(&mut done) {
            match future.as_mut().map(|future| future.as_mut().poll(context)) {
                Some(Poll::Ready(value)) => (*future, *done) = (None, Some(value)),
                Some(Poll::Pending) => waits = true,
                None => {}
            }
        }
        if waits { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
    done.into_iter().flatten().collect()
}

/// Runs a statement, and says how long it took.
async fn timed(mut conn: &AsyncPgConnection, sql: &str) -> (diesel::QueryResult<()>, Duration) {
    let started = Instant::now();
    let ran = conn.batch_execute(sql).await;
    (ran, started.elapsed())
}

/// The same, and traces each: `before` is what there is now, `origin` what there was at first.
pub(crate) async fn traced(
    conn: &mut AsyncPgConnection,
    statements: &[Statement<'_>],
    mut before: Snapshot,
    origin: &Snapshot,
) -> Result<Played, CheckError> {
    let mut played = Played::default();
    for statement in statements {
        let while_holding = before.strong_locks(origin);
        // What it locked is asked in the same breath.
        let asked = &*conn;
        let ((ran, elapsed), touched) = tokio::join!(timed(asked, statement.text), Snapshot::touched(asked));
        if let Err(error) = ran {
            played.failure = Some(failure(statement, error)?);
            break;
        }
        let after = before.next(touched?);
        let effects = before.effects(&after, origin, false);
        played.traces.push(filled(effects, statement, elapsed, Some(while_holding)));
        before = after;
    }
    alterations::keep_lasting(&mut played.traces, &before);
    hold_to_the_end(&mut played.traces);
    played.end = played.failure.is_none().then_some(before);
    Ok(played)
}

/// Plays a file as a deployment would: each of its segments commits.
pub(crate) async fn committed(
    conn: &mut AsyncPgConnection,
    segments: &[Segment<'_>],
    trace: Option<(&Snapshot, &mut Gates)>,
) -> Result<Played, CheckError> {
    let mut all = Played::default();
    let (origin, mut gates) = match trace {
        Some((origin, gates)) => (Some(origin), Some(gates)),
        None => (None, None),
    };
    for segment in segments {
        let played = match (&segment.how, origin, &mut gates) {
            (How::Together(begin), ..) => together(conn, begin, segment, origin).await?,
            (How::Alone(_), Some(origin), Some(gates)) => alone(conn, segment, origin, gates).await?,
            (How::Alone(_), ..) => {
                Played { failure: inside(conn, &segment.statements).await?, ..Played::default() }
            }
        };
        all.traces.extend(played.traces);
        if played.failure.is_some() {
            all.failure = played.failure;
            let _ = conn.batch_execute("ROLLBACK").await;
            break;
        }
    }
    Ok(all)
}

async fn together(
    conn: &mut AsyncPgConnection,
    begin: &str,
    segment: &Segment<'_>,
    origin: Option<&Snapshot>,
) -> Result<Played, CheckError> {
    conn.batch_execute(begin).await?;
    let mut played = match origin {
        Some(origin) => {
            let before = Snapshot::take(conn).await?;
            traced(conn, &segment.statements, before, origin).await?
        }
        None => Played { failure: inside(conn, &segment.statements).await?, ..Played::default() },
    };
    if let (None, Some(last)) = (&played.failure, segment.statements.last())
        && let Err(error) = conn.batch_execute("COMMIT").await
    {
        let refused = failure(last, error)?;
        played.failure = Some(Failure { message: format!("at COMMIT: {}", refused.message), ..refused });
    }
    Ok(played)
}

/// A segment outside a transaction: settings, and at last the statement that cannot run in one.
async fn alone(
    conn: &mut AsyncPgConnection,
    segment: &Segment<'_>,
    origin: &Snapshot,
    gates: &mut Gates,
) -> Result<Played, CheckError> {
    let mut played = Played::default();
    let Some((statement, settings)) = segment.statements.split_last() else { return Ok(played) };
    for setting in settings {
        if let Err(error) = conn.batch_execute(setting.text).await {
            played.failure = Some(failure(setting, error)?);
            return Ok(played);
        }
    }
    let before = Snapshot::take(conn).await?;
    let pid = pid_of(conn).await?;
    let started = Instant::now();
    let (seen, result) = gates.watch(conn, pid, statement.text, &before).await?;
    let elapsed = started.elapsed().saturating_sub(seen.waited);
    if let Err(error) = result {
        played.failure = Some(failure(statement, error)?);
        return Ok(played);
    }
    let mut after = Snapshot::take(conn).await?;
    after.add_locks(&before, &seen.modes);
    let mut trace = filled(before.effects(&after, origin, true), statement, elapsed, None);
    trace.held_ms = trace.ms;
    played.traces.push(trace);
    Ok(played)
}

fn filled(
    mut effects: StatementTrace,
    statement: &Statement<'_>,
    elapsed: Duration,
    while_holding: Option<Vec<Lock>>,
) -> StatementTrace {
    // An emptied table gets new files, for which the server reads it: no row is written.
    if Words::of(statement.text).take("truncate") {
        let emptied = std::mem::take(&mut effects.rewrites);
        effects.blocking_index_build.clear();
        effects.scans.retain(|scan| !emptied.contains(&scan.relation));
        effects.alterations.extend(emptied.iter().map(|name| alterations::truncated(0, name)));
    }
    StatementTrace {
        sql_head: head(statement.text),
        line: statement.line,
        in_transaction: while_holding.is_some(),
        while_holding: while_holding.unwrap_or_default(),
        told: statement_text::told(statement.text),
        ms: elapsed.as_secs_f64() * 1_000.0,
        ..effects
    }
}

/// A lock is held until the transaction ends.
fn hold_to_the_end(traces: &mut [StatementTrace]) {
    let mut held = 0.0;
    for trace in traces.iter_mut().rev() {
        held += trace.ms;
        trace.held_ms = held;
    }
}

/// What the server said of a statement; a lost connection is no finding.
pub(crate) fn failure(
    statement: &Statement<'_>,
    error: diesel::result::Error,
) -> Result<Failure, CheckError> {
    let error = Error::from(error);
    if error.class() == Class::Unavailable {
        return Err(error.into());
    }
    let mut hint = error.report().and_then(|report| report.hint.clone());
    if error.sqlstate().is_some_and(|code| code.as_str() == "42704") && hint.is_none() {
        hint = Some(
            "what the migrations do not make themselves, such as roles, is made by --before FILE".to_owned(),
        );
    }
    let hint = hint.map(|hint| format!(" (hint: {hint})")).unwrap_or_default();
    Ok(Failure { line: statement.line, message: format!("{}: {error}{hint}", head(statement.text)) })
}
