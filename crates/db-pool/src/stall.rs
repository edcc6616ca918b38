//! Notices a server that has stopped: it neither answers what it was asked, nor whoever knocks.
//!
//! A statement that takes long is no sign: the server may be at work. So when nothing has been heard from the
//! server for a while although someone waits, it is asked on a connection of its own whether it is there. A
//! process that is stopped, or cut off, does not answer; one that is busy does, and then its slow statements
//! are left alone for longer and longer.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use db_core::{LinkEvent, Observe};
use tokio::task::JoinSet;

use crate::inner::Inner;

/// How often it looks.
pub(crate) const INTERVAL: Duration = Duration::from_millis(100);
/// How long nothing must have been heard although someone waits; and at least so long lies between two
/// knocks.
const QUIET: Duration = Duration::from_millis(250);
/// How long whoever knocks waits for an answer, besides round trips.
const KNOCK: Duration = Duration::from_millis(400);
/// The same where nothing has been measured yet, round trips included.
const FIRST_KNOCK: Duration = Duration::from_millis(550);
/// The most that either becomes on a slow network.
const LONGEST: Duration = Duration::from_secs(5);
/// How long a statement is left alone after a knock was answered while it ran, doubled with each further
/// answer.
const BOUGHT: Duration = Duration::from_secs(2);
const MOST_BOUGHT: Duration = Duration::from_secs(60);

#[derive(Default)]
pub(crate) struct StallWatch {
    knocks: JoinSet<Knock>,
    /// When the last knock began.
    last: Option<Instant>,
    /// When the last knock began that was answered, and how many were since anything else was heard.
    answered: Option<(Instant, u32)>,
}

/// The end of a knock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Knock {
    began: Instant,
    answered: bool,
}

/// What there is to see of a server that may have stopped.
struct Sight {
    /// When anything was heard last.
    heard: Option<Instant>,
    /// Since when each waits who waits for it.
    waits: Vec<Instant>,
}

impl StallWatch {
    /// Knocks where there is reason to; `opening_since` is since when connections have been being opened.
    pub(crate) fn look(&mut self, pool: &Arc<Inner>, opening_since: Option<Instant>) {
        let now = Instant::now();
        if !self.knocks.is_empty() || !(self.must_know(pool) || self.is_quiet(pool, opening_since, now)) {
            return;
        }
        self.last = Some(now);
        let pool = Arc::clone(pool);
        self.knocks.spawn(async move {
            // A refusal is an answer, too: the server is down, and those who connect learn it themselves.
            let is_known = !pool.round_trip.get().is_zero();
            let least = if is_known { pool.round_trip.patience(KNOCK, 3, LONGEST) } else { FIRST_KNOCK };
            let way = pool.connector.knock(&pool.endpoint, least).await;
            if let Some(way) = way {
                pool.round_trip.note(way);
            }
            Knock { began: now, answered: way.is_some() }
        });
    }

    /// Whether it is asked until it answers, whether or not anyone still waits: it was silent before.
    fn must_know(&self, pool: &Inner) -> bool {
        pool.is_stalled() || pool.unanswered.load(Ordering::Acquire)
    }

    /// Whether someone waits for the server, nobody has heard of it, and no answer to a knock explains that.
    fn is_quiet(&mut self, pool: &Inner, opening_since: Option<Instant>, now: Instant) -> bool {
        let quiet = pool.round_trip.patience(QUIET, 1, LONGEST);
        let sight = Sight::of(pool, opening_since);
        if sight.heard.is_some_and(|heard| now.saturating_duration_since(heard) <= quiet) {
            self.answered = None;
            return false;
        }
        knocks(&sight.waits, self.last, self.answered, quiet, now)
    }

    /// Waits for the end of a knock, where one is under way.
    pub(crate) async fn answered(&mut self) -> Knock {
        match self.knocks.join_next().await {
            Some(Ok(knock)) => {
                let so_far = self.answered.map_or(0, |(_, so_far)| so_far);
                self.answered = knock.answered.then(|| (knock.began, so_far.saturating_add(1)));
                knock
            }
            Some(Err(_)) => Knock { began: Instant::now(), answered: true },
            None => std::future::pending().await,
        }
    }
}

/// Whether there is reason to knock: those wait in quiet whom the last answer says nothing of, or for whom it
/// is too long ago.
fn knocks(
    waits: &[Instant],
    last: Option<Instant>,
    answered: Option<(Instant, u32)>,
    quiet: Duration,
    now: Instant,
) -> bool {
    let ago = |at: Instant| now.saturating_duration_since(at);
    if last.is_some_and(|last| ago(last) <= quiet) {
        return false;
    }
    waits.iter().any(|since| match answered {
        Some((began, times)) if *since <= began => {
            let doubled = 2_u32.saturating_pow(times.saturating_sub(1));
            ago(began) > BOUGHT.saturating_mul(doubled).min(MOST_BOUGHT)
        }
        _ => ago(*since) > quiet,
    })
}

impl Sight {
    fn of(pool: &Inner, opening_since: Option<Instant>) -> Self {
        let mut sight = Sight { heard: None, waits: opening_since.into_iter().collect() };
        for wire in pool.leases.alive() {
            let session = wire.session();
            sight.heard = sight.heard.max(session.last_heard());
            sight.waits.extend(session.waiting_since());
        }
        sight
    }
}

/// Takes note of whether anyone answered.
pub(crate) fn note(pool: &Arc<Inner>, knock: Knock) {
    // What was heard meanwhile on another connection, one that is being opened included, is an answer as
    // well.
    let answered = knock.answered || Sight::of(pool, None).heard.is_some_and(|heard| heard >= knock.began);
    if answered {
        pool.unanswered.store(false, Ordering::Release);
    }
    if pool.stalled.swap(!answered, Ordering::AcqRel) != answered {
        return;
    }
    if answered {
        tracing::info!(endpoint = %pool.endpoint, "the server answers again");
        return;
    }
    tracing::warn!(
        endpoint = %pool.endpoint,
        "the server does not answer: its connections are not handed out until it does"
    );
    let (observers, endpoint) = (pool.connector.observers().clone(), pool.endpoint.clone());
    let event = move |observer: &dyn Observe| observer.on_link(&LinkEvent::Stalled { endpoint: &endpoint });
    tokio::spawn(async move { observers.tell_apart(event).await });
    // What is idle goes; what is in use goes when it comes back.
    pool.generation.fetch_add(1, Ordering::AcqRel);
    drop(pool.retire_idle());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks every 100 ms for a minute while one statement runs, each knock answered at once; returns when it
    /// knocked.
    fn knocks_during(statement: Duration) -> Vec<u128> {
        let begun = Instant::now();
        let (mut last, mut answered, mut all) = (None, None, Vec::new());
        for tick in 0.. {
            let now = begun + INTERVAL * tick;
            if now > begun + statement {
                return all;
            }
            if knocks(&[begun], last, answered, QUIET, now) {
                last = Some(now);
                answered = Some((now, answered.map_or(0, |(_, times)| times) + 1));
                all.push((now - begun).as_millis());
            }
        }
        all
    }

    #[test]
    fn a_statement_of_a_minute_costs_a_handful_of_knocks() {
        assert_eq!(knocks_during(Duration::from_secs(6)), [300, 2_400]);
        assert_eq!(knocks_during(Duration::from_secs(60)), [300, 2_400, 6_500, 14_600, 30_700]);
    }

    #[test]
    fn an_answer_says_nothing_of_those_who_asked_later() {
        let (begun, ms) = (Instant::now(), Duration::from_millis);
        let answered = Some((begun + ms(400), 5));
        let waits = [begun, begun + ms(450)];
        let at = |millis| knocks(&waits, Some(begun + ms(400)), answered, QUIET, begun + ms(millis));
        assert!(!at(650) && at(750));
        assert!(!knocks(&waits[..1], Some(begun + ms(400)), answered, QUIET, begun + ms(20_000)));
    }
}
