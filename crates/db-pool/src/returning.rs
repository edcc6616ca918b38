//! What becomes of a connection that comes back.
//!
//! A clean one goes straight back. One that was left in the middle of something is salvaged in a task of its
//! own, on nobody's time: what runs is cancelled, what is open is rolled back, what was left behind is reset,
//! and only when the server has confirmed all of it does the connection go back. Where that does not succeed
//! it is closed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use db_core::{Result, TransactionStatus};
use deadpool::unmanaged::Object;
use diesel_async::SimpleAsyncConnection;
use futures_util::FutureExt;

use crate::adaptive::Question;
use crate::closing::Closing;
use crate::config::Reset;
use crate::inner::Inner;
use crate::slot::Slot;
use crate::wire::{BackendKey, Foreign, Lease, Leftover, Wire};

/// How long it takes, besides a round trip, until it is clear whether a request that was queued is slow; the
/// same lies between two cancels. It is never more than [`LONGEST_BEFORE_CANCEL`].
const BEFORE_CANCEL: Duration = Duration::from_millis(5);
const LONGEST_BEFORE_CANCEL: Duration = Duration::from_secs(1);
/// What cleaning costs in round trips: a cancel with encryption, an answer, the reset. `salvage_timeout`
/// comes on top.
const TRIPS: u32 = 8;
const LONGEST_TRIPS: Duration = Duration::from_secs(10);

/// What takes everything away that outlives a transaction, except prepared statements.
///
/// `DISCARD ALL` would take these too, and with them the client library's statement cache.
const RESET: &str = "CLOSE ALL; RESET SESSION AUTHORIZATION; RESET ROLE; RESET ALL; UNLISTEN *; \
                     SELECT pg_catalog.pg_advisory_unlock_all(); DISCARD TEMP; DISCARD SEQUENCES;";

/// Fails where a function has prepared a statement, which only the text of an EXECUTE inside it shows.
const NONE_PREPARED: &str = "SELECT 1 / (pg_catalog.count(*) = 0)::pg_catalog.int4 \
                             FROM pg_catalog.pg_prepared_statements WHERE from_sql;";

/// Where a connection goes that came back.
enum Way {
    Back,
    Salvage { orphans: Vec<Box<str>>, unanswered: bool },
    Close(Closing),
}

/// Takes a connection back that its user has dropped.
pub(crate) fn take_back(inner: &Arc<Inner>, mut slot: Object<Box<Slot>>) {
    let now = Instant::now();
    let (way, lease) = judge(inner, &mut slot, now);
    if let Some(lease) = lease {
        let held = now.duration_since(lease.since);
        inner.counters.held(held);
        if inner.config.adaptive.is_some() {
            inner.returns.note(lease.caller.site, held);
        }
        if lease.reported {
            lease.say_returned(&inner.endpoint, now);
        }
    }
    match way {
        Way::Back => put_back(inner, slot, now),
        Way::Close(why) => close(inner, slot, why),
        Way::Salvage { orphans, unanswered } => {
            inner.counters.salvaging(1);
            let inner = Arc::clone(inner);
            inner.runtime.clone().spawn(salvage(inner, slot, orphans, unanswered));
        }
    }
}

fn judge(inner: &Inner, slot: &mut Slot, now: Instant) -> (Way, Option<Lease>) {
    let in_the_middle = slot.is_in_the_middle();
    let mut session = slot.wire.session();
    if let Some(stale) = session.staleness.found() {
        drop(session);
        slot.tell_stale(inner, stale);
        session = slot.wire.session();
    }
    let gone = slot.spent(inner, now).or_else(|| inner.wants_to_close());
    let lease = session.lease.take();
    let unanswered = session.unanswered() > 0;
    let is_bloated = inner.config.max_buffer.is_some_and(|most| session.largest() > most.get());
    let lasting = session.is_broken() || session.leftover().lasting;
    let gone = gone.or(lasting.then_some(Closing::Unclean)).or(is_bloated.then_some(Closing::TooLarge));
    let way = if let Some(why) = gone {
        Way::Close(why)
    } else if !slot.wire.is_tapped() {
        // Without the tap nobody knows what to clean.
        if in_the_middle { Way::Close(Closing::Unclean) } else { Way::Back }
    } else if !in_the_middle
        && session.is_clean()
        && (inner.config.reset == Reset::WhenSeen || !session.has_run())
    {
        Way::Back
    } else {
        Way::Salvage { orphans: session.being_prepared(), unanswered }
    };
    if matches!(way, Way::Back) {
        session.caller = None;
    }
    if matches!(way, Way::Close(_)) && (in_the_middle || unanswered) {
        inner.counters.abandoned();
    }
    (way, lease)
}

/// Puts a clean connection back where the next caller finds it, or where the adaptive limit wants it.
pub(crate) fn put_back(inner: &Arc<Inner>, mut slot: Object<Box<Slot>>, now: Instant) {
    if slot.kept_statements() > inner.connector.config().max_prepared_statements.get() {
        slot.drop_statements(inner);
    }
    slot.lie_idle(now);
    if inner.config.adaptive.is_some() {
        let kept = Question::offer(inner, slot).and_then(|slot| inner.parked.take_in(inner, slot));
        let Some(free) = kept else { return };
        slot = free;
    }
    drop(slot);
    inner.came_back();
}

/// Closes a connection; what still runs on it is cancelled first, so that its locks go at once. A COMMIT is
/// left alone.
pub(crate) fn close(inner: &Arc<Inner>, mut slot: Object<Box<Slot>>, why: Closing) {
    why.log(&inner.endpoint);
    if slot.wire.has_opening() {
        // A batch of which not all has come is held: behind the empty request it goes out, and the link can
        // end.
        drop(slot.conn.batch_execute("").now_or_never());
    }
    let is_busy = slot.is_in_the_middle() || slot.to_cancel().is_some();
    let may_be_cancelled = is_busy && slot.may_be_cancelled && slot.wire.is_tapped() && !slot.wire.is_lost();
    let slot = Object::take(slot);
    inner.counters.destroyed();
    if may_be_cancelled {
        let inner = Arc::clone(inner);
        inner.runtime.clone().spawn(async move {
            if slot.to_cancel().is_none() {
                // What was queued is written by then, and answered unless it is slow.
                tokio::time::sleep(before_cancel(&inner)).await;
            }
            if let Some(key) = slot.to_cancel() {
                // Best effort: the server ends the statement anyway once it notices that the client is gone.
                let _ = cancel(&inner, &slot.wire, key).await;
            }
            drop(slot);
        });
    }
    inner.went();
}

/// Cancels what runs on the other connection, and returns once the server has dealt with the request.
async fn cancel(inner: &Inner, wire: &Wire, key: BackendKey) -> Result<()> {
    let is_wanted = || wire.session().foreign() == Foreign::Something;
    let asked = inner.connector.cancel_by_key(&inner.endpoint, key, is_wanted);
    tokio::time::timeout(patience(inner), asked).await.unwrap_or(Ok(()))
}

fn before_cancel(inner: &Inner) -> Duration {
    inner.round_trip.patience(BEFORE_CANCEL, 1, LONGEST_BEFORE_CANCEL)
}

/// How long cleaning may take.
fn patience(inner: &Inner) -> Duration {
    let least = inner.config.salvage_timeout;
    inner.round_trip.patience(least, TRIPS, least.saturating_add(LONGEST_TRIPS))
}

async fn salvage(inner: Arc<Inner>, mut slot: Object<Box<Slot>>, orphans: Vec<Box<str>>, unanswered: bool) {
    let cleaned = clean(&inner, &mut slot, &orphans, unanswered);
    let cleaned = tokio::time::timeout(patience(&inner), cleaned).await;
    if cleaned.is_err() {
        inner.left_unanswered();
    }
    inner.counters.salvaging(-1);
    let now = Instant::now();
    let gone = slot.spent(&inner, now).or_else(|| inner.wants_to_close());
    match cleaned {
        Ok(Ok(())) if gone.is_none() => {
            slot.start_afresh();
            inner.counters.salvaged();
            put_back(&inner, slot, now);
        }
        result => {
            if gone.is_none() {
                tracing::debug!(endpoint = %inner.endpoint, ?result, "an abandoned connection could not be salvaged");
            }
            inner.counters.abandoned();
            close(&inner, slot, gone.unwrap_or(Closing::Unclean));
        }
    }
}

/// Why a connection cannot go back.
#[derive(Debug)]
enum Unclean {
    /// It could not be asked, or did not do what it was told.
    Refused,
    /// The server says that it is still not as it should be.
    Dirty,
}

async fn clean(
    inner: &Inner,
    slot: &mut Slot,
    orphans: &[Box<str>],
    unanswered: bool,
) -> Result<(), Unclean> {
    answer_everything(inner, slot, unanswered).await?;
    slot.wire.forget_opening();
    let (orders, leftover) = orders(inner, slot, orphans);
    if leftover.prepared {
        slot.drop_statements(inner);
    }
    if !orders.is_empty() {
        slot.conn.batch_execute(&orders).await.map_err(|_| Unclean::Refused)?;
    }
    if leftover.state {
        slot.start_afresh();
        inner.connector.prepare(&mut slot.conn).await.map_err(|_| Unclean::Refused)?;
        slot.wire.settled().await;
    }
    let mut session = slot.wire.session();
    session.settle(orphans, leftover.prepared);
    if session.is_clean() { Ok(()) } else { Err(Unclean::Dirty) }
}

/// Cancels what runs until the server has answered every request, those included that were queued and not
/// written.
///
/// A request of our own goes behind all others: its answer means that theirs have come. It is empty, so that
/// a cancel which comes late can do no harm. Nothing is cancelled where only our own is unanswered, nor a
/// COMMIT: its answer is waited for.
async fn answer_everything(inner: &Inner, slot: &mut Slot, unanswered: bool) -> Result<(), Unclean> {
    let key = slot.wire.session().key().ok_or(Unclean::Refused)?;
    let mut last = std::pin::pin!(slot.conn.batch_execute(""));
    let before_cancel = before_cancel(inner);
    let mut patience = if unanswered { Duration::ZERO } else { before_cancel };
    loop {
        match tokio::time::timeout(patience, &mut last).await {
            Ok(Ok(())) => break,
            Ok(Err(_)) if slot.wire.is_lost() => return Err(Unclean::Refused),
            // The cancel came late and met our own request: that is an answer too.
            Ok(Err(_)) => break,
            Err(_) if slot.wire.session().foreign() == Foreign::Something => {
                cancel(inner, &slot.wire, key).await.map_err(|_| Unclean::Refused)?;
            }
            Err(_) => {}
        }
        patience = before_cancel;
    }
    slot.wire.settled().await;
    Ok(())
}

/// What must be said to the server to make the session as new, and what was found.
fn orders(inner: &Inner, slot: &Slot, orphans: &[Box<str>]) -> (String, Leftover) {
    let session = slot.wire.session();
    let mut leftover = session.leftover();
    leftover.state |= inner.config.reset == Reset::Always;
    let mut orders = String::new();
    if session.status != TransactionStatus::Idle {
        orders.push_str("ROLLBACK;");
    }
    if leftover.state {
        if let Some(function) = session.unknown_function() {
            inner.named.say(&inner.endpoint, function);
        }
        orders.push_str(RESET);
        // A new session's random numbers cannot be foretold either.
        let seed: f64 = rand::random_range(-1.0..=1.0);
        orders.push_str(&format!("SELECT pg_catalog.setseed({seed});"));
    }
    if leftover.prepared {
        orders.push_str("DEALLOCATE ALL;");
    } else {
        if leftover.state {
            orders.push_str(NONE_PREPARED);
        }
        for name in orphans.iter().filter(|name| session.has_prepared(name)) {
            orders.push_str(&format!("DEALLOCATE \"{}\";", name.replace('"', "\"\"")));
        }
    }
    (orders, leftover)
}
