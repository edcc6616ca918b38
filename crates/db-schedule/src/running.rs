//! One run: takes the lease, does the work within its time, and contains what goes wrong in either.

use std::any::Any;
use std::future::pending;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::FutureExt;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::late;
use crate::scheduler::{Entry, Shared};
use crate::{BoxError, Claim, Event, Hold, Job, Outcome, Run};

/// Giving a lease back may take this long; after that it ends by itself.
const RELEASE: Duration = Duration::from_secs(5);

/// Runs a job once for `due`, and answers the due time that was attended to.
pub(crate) async fn run(shared: &Shared, entry: &Entry, due: DateTime<Utc>) -> DateTime<Utc> {
    let started = Instant::now();
    let (due, hold) = match lease(shared, entry, due).await {
        Leased::Held(due, hold) => (due, Some(hold)),
        Leased::NotNeeded => (due, None),
        Leased::Nothing(due) => return due,
        Leased::Failed(due, why) => {
            finish(shared, entry, due, started.elapsed(), Outcome::Failed(why));
            return due;
        }
    };
    let began = Instant::now();
    entry.board.lock().running_since = Some(shared.now());
    shared.tell(&Event::Started { job: &entry.job.name, due });
    let outcome = work(shared, &entry.job, due, hold).await;
    finish(shared, entry, due, began.elapsed(), outcome);
    let passed = late::passed_meanwhile(&entry.job.cron, due, shared.now());
    shared.missed(entry, passed, "it was still running");
    due
}

/// What came of asking for the lease.
enum Leased {
    Held(DateTime<Utc>, Box<dyn Hold>),
    NotNeeded,
    /// Another host did it, or the scheduler stops.
    Nothing(DateTime<Utc>),
    Failed(DateTime<Utc>, String),
}

/// Asks until the lease is ours, the due time is attended to, or the scheduler stops.
///
/// While it waits, a later due time takes the place of the one that it waits for.
async fn lease(shared: &Shared, entry: &Entry, mut due: DateTime<Utc>) -> Leased {
    let Some(lease) = &entry.job.lease else { return Leased::NotNeeded };
    let name = &entry.job.name;
    loop {
        // The call is inside, so that a panic before the first await is caught as well.
        let answer = AssertUnwindSafe(async { lease.try_take(name, due).await }).catch_unwind().await;
        let why = match answer {
            Ok(Ok(Claim::Held(hold))) => {
                entry.board.lock().waiting = None;
                return Leased::Held(due, hold);
            }
            Ok(Ok(Claim::Busy { why })) => why,
            Ok(Ok(Claim::Done { why })) => {
                let mut board = entry.board.lock();
                board.waiting = None;
                board.skipped = board.skipped.saturating_add(1);
                // The work was done, though not here: nothing is overdue.
                (board.last_success, board.is_overdue) = (Some(shared.now()), false);
                drop(board);
                shared.tell(&Event::Skipped { job: name, due, why: &why });
                return Leased::Nothing(due);
            }
            Ok(Err(error)) => return Leased::Failed(due, format!("no lease: {}", chain(&error))),
            Err(panic) => return Leased::Failed(due, format!("no lease: it panicked: {}", words(&*panic))),
        };
        let is_new = entry.board.lock().waiting.replace(why.clone()).as_ref() != Some(&why);
        if is_new {
            shared.tell(&Event::Waiting { job: name, due, why: &why });
        }
        tokio::select! {
            () = shared.stopping.cancelled() => {
                entry.board.lock().waiting = None;
                return Leased::Nothing(due);
            }
            () = sleep(entry.job.lease_poll) => {}
        }
        let passed = late::passed_meanwhile(&entry.job.cron, due, shared.now());
        if passed > 0 {
            shared.missed(entry, passed, "another host had the lease");
            due = entry.job.cron.last_until(shared.now()).unwrap_or(due);
        }
    }
}

async fn work(shared: &Shared, job: &Job, due: DateTime<Utc>, mut hold: Option<Box<dyn Hold>>) -> Outcome {
    let cancelled = shared.cancelling.child_token();
    let run = Run { due, cancelled: cancelled.clone() };
    let make = job.work.clone();
    let work = AssertUnwindSafe(async move { make(run).await }).catch_unwind();
    let mut work = std::pin::pin!(work);
    let outcome = tokio::select! {
        biased;
        done = &mut work => match outcome(done) {
            // The work has heard of the end before we have.
            Outcome::Failed(_) if cancelled.is_cancelled() => Outcome::Cancelled,
            outcome => outcome,
        },
        () = shared.cancelling.cancelled() => ended(&mut work, job, &cancelled, Outcome::Cancelled).await,
        why = lost(&mut hold) => ended(&mut work, job, &cancelled, Outcome::LeaseLost(why)).await,
        limit = limit(job.timeout) => ended(&mut work, job, &cancelled, Outcome::TimedOut(limit)).await,
    };
    if let Some(hold) = hold {
        release(&job.name, hold).await;
    }
    outcome
}

type Done = Result<Result<String, BoxError>, Box<dyn Any + Send>>;

fn outcome(done: Done) -> Outcome {
    match done {
        Ok(Ok(what)) => Outcome::Succeeded(what),
        Ok(Err(error)) => Outcome::Failed(chain(&error)),
        Err(panic) => Outcome::Panicked(words(&*panic)),
    }
}

/// Tells the work to end, and waits for it a little: what it has done by then counts.
async fn ended(
    work: impl Future<Output = Done>,
    job: &Job,
    cancelled: &CancellationToken,
    otherwise: Outcome,
) -> Outcome {
    cancelled.cancel();
    match timeout(job.cancel_grace, work).await.map(outcome) {
        Ok(Outcome::Succeeded(what)) => Outcome::Succeeded(what),
        Ok(Outcome::Panicked(why)) => Outcome::Panicked(why),
        _ => otherwise,
    }
}

async fn limit(limit: Option<Duration>) -> Duration {
    match limit {
        Some(limit) => {
            sleep(limit).await;
            limit
        }
        None => pending().await,
    }
}

async fn lost(hold: &mut Option<Box<dyn Hold>>) -> String {
    match hold {
        Some(hold) => match AssertUnwindSafe(async { hold.lost().await }).catch_unwind().await {
            Ok(why) => why,
            Err(panic) => format!("watching it panicked: {}", words(&*panic)),
        },
        None => pending().await,
    }
}

async fn release(job: &str, hold: Box<dyn Hold>) {
    let released = AssertUnwindSafe(async move { hold.release().await }).catch_unwind();
    match timeout(RELEASE, released).await {
        Ok(Ok(())) => {}
        Ok(Err(_)) => tracing::warn!(job, "giving the lease back panicked: it ends by itself"),
        Err(_) => tracing::warn!(job, "giving the lease back takes too long: it ends by itself"),
    }
}

fn finish(shared: &Shared, entry: &Entry, due: DateTime<Utc>, elapsed: Duration, outcome: Outcome) {
    let now = shared.now();
    {
        let mut board = entry.board.lock();
        (board.running_since, board.waiting) = (None, None);
        if outcome.is_success() {
            (board.last_success, board.is_overdue) = (Some(now), false);
            board.successes = board.successes.saturating_add(1);
        } else {
            board.failures = board.failures.saturating_add(1);
        }
        board.last = Some((now, elapsed, outcome.clone()));
    }
    shared.tell(&Event::Finished { job: &entry.job.name, due, elapsed, outcome: &outcome });
}

/// An error and what it was caused by, in one line.
fn chain(error: &BoxError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        // Many errors repeat their cause in their own text.
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = error.source();
    }
    text
}

/// The message of a panic.
pub(crate) fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("it left no message").to_owned()
}
