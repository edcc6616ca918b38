//! One connection of a pool, idle or in use, and what is known of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use db_core::awake;
use diesel::connection::CacheSize;
use diesel_async::{
    AnsiTransactionManager, AsyncConnection, AsyncPgConnection, SimpleAsyncConnection, TransactionManager,
};

use crate::closing::Closing;
use crate::confirm;
use crate::connector::Opened;
use crate::gate::Gate;
use crate::inner::Inner;
use crate::watch::Seen;
use crate::wire::{BackendKey, Foreign, Lease, Stale, Wire};

/// How long a sign of life may take, besides round trips, and with them.
const SIGN_OF_LIFE: Duration = Duration::from_secs(1);
const LONGEST_SIGN: Duration = Duration::from_secs(5);

/// One connection in the pool, and what is known of it.
pub(crate) struct Slot {
    pub(crate) conn: AsyncPgConnection,
    pub(crate) wire: Arc<Wire>,
    seen: Arc<Seen>,
    generation: u64,
    /// Up to which change of the database its prepared statements are fresh.
    statements: u64,
    /// Of so many doubts it is known that it is as new.
    confirmed: u64,
    /// None is never.
    expires: Option<Instant>,
    /// Since when nobody uses it.
    pub(crate) idle_since: Instant,
    /// When the server last answered.
    alive_at: Instant,
    /// Whether what runs on it when it is closed is cancelled: not a COMMIT, which may wait for a synchronous
    /// standby.
    pub(crate) may_be_cancelled: bool,
}

impl Slot {
    pub(crate) fn new(opened: Opened, inner: &Inner) -> Self {
        let now = Instant::now();
        let less = |lifetime: Duration| lifetime - lifetime.mul_f64(rand::random_range(0.0..=0.05));
        Slot {
            conn: opened.conn,
            wire: opened.wire,
            seen: opened.seen,
            generation: inner.generation.load(Ordering::Acquire),
            statements: inner.statements.load(Ordering::Acquire),
            confirmed: opened.confirmed,
            expires: inner.config.max_lifetime.and_then(|lifetime| now.checked_add(less(lifetime))),
            idle_since: now,
            alive_at: now,
            may_be_cancelled: true,
        }
    }

    /// Whether it must not be used again: lost, evicted or too old.
    pub(crate) fn is_spent(&self, inner: &Inner, now: Instant) -> bool {
        self.spent(inner, now).is_some()
    }

    /// Why it must not be used again, if so.
    pub(crate) fn spent(&self, inner: &Inner, now: Instant) -> Option<Closing> {
        if self.wire.is_lost() {
            Some(Closing::Lost)
        } else if self.generation < inner.generation.load(Ordering::Acquire) {
            Some(Closing::Evicted)
        } else {
            self.expires.filter(|expires| now >= *expires).map(|_| Closing::Expired)
        }
    }

    /// From now on it belongs to whoever has the lease.
    pub(crate) fn check_out(&self, lease: Lease) {
        self.wire.session().check_out(lease);
    }

    /// Closes it when it comes back.
    pub(crate) fn expire(&mut self) {
        self.expires = Some(Instant::now());
    }

    pub(crate) fn silent_for(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.alive_at)
    }

    pub(crate) fn has_been_idle_for(&self, limit: Option<Duration>, now: Instant) -> bool {
        limit.is_some_and(|limit| now.saturating_duration_since(self.idle_since) > limit)
    }

    /// Asks the server for a sign of life.
    pub(crate) async fn answers(&mut self, inner: &Inner) -> bool {
        let (asked, patience) = (Instant::now(), inner.round_trip.patience(SIGN_OF_LIFE, 2, LONGEST_SIGN));
        let asking = awake::within(patience, tokio::time::sleep, self.conn.batch_execute(""));
        let sign = tokio::select! {
            sign = asking => sign,
            // A shutdown waits for no sign.
            _ = inner.gate.wait_for(&[Gate::Closed]) => return false,
        };
        self.alive_at = Instant::now();
        match sign {
            Some(Ok(())) => inner.round_trip.note(asked.elapsed()),
            Some(Err(_)) => {}
            None => inner.left_unanswered(),
        }
        matches!(sign, Some(Ok(())))
    }

    /// Whether an error has raised the doubt whether it is as new, and nobody has asked since.
    pub(crate) fn is_doubted(&self, inner: &Inner) -> bool {
        self.confirmed < inner.connector.doubts.raised()
    }

    /// Asks the server for a sign of life, and where it is doubted, whether it is as new.
    pub(crate) async fn is_as_new(&mut self, inner: &Inner) -> bool {
        if !self.is_doubted(inner) {
            return self.answers(inner).await;
        }
        let doubts = inner.connector.doubts.raised();
        let patience = inner.round_trip.patience(SIGN_OF_LIFE, 8, LONGEST_SIGN);
        let types = self.wire.session().staleness.types();
        let asking = confirm::is_as_new(&mut self.conn, &types);
        let Some(answer) = awake::within(patience, tokio::time::sleep, asking).await else {
            inner.left_unanswered();
            return false;
        };
        self.wire.settled().await;
        (self.alive_at, self.confirmed) = (Instant::now(), doubts);
        self.wire.session().staleness.confirm(doubts);
        if let Ok(false) = answer {
            self.tell_stale(inner, Stale::Types);
        }
        // A role that may not ask learns nothing, and goes on with what it has.
        answer.unwrap_or(true) && !self.wire.is_lost()
    }

    /// Whether the client library has a call under way or believes to be in a transaction.
    pub(crate) fn is_in_the_middle(&mut self) -> bool {
        type Manager = <AsyncPgConnection as AsyncConnection>::TransactionManager;
        self.seen.statement_under_way()
            || <Manager as TransactionManager<AsyncPgConnection>>::is_broken_transaction_manager(
                &mut self.conn,
            )
    }

    /// The key with which what its user left running is cancelled, where something is and may be.
    pub(crate) fn to_cancel(&self) -> Option<BackendKey> {
        let session = self.wire.session();
        session.key().filter(|_| session.foreign() == Foreign::Something)
    }

    /// The client library forgets the call and the transaction that it was in: the server has none.
    pub(crate) fn start_afresh(&mut self) {
        self.seen.forget();
        *self.conn.transaction_state() = AnsiTransactionManager::default();
    }

    /// The client library forgets its prepared statements, and closes them on the server.
    pub(crate) fn drop_statements(&mut self, inner: &Inner) {
        self.conn.set_prepared_statement_cache_size(CacheSize::Disabled);
        if inner.connector.config().prepared_statements {
            self.conn.set_prepared_statement_cache_size(CacheSize::Unbounded);
        }
        self.seen.forget_cached();
    }

    /// Says what proved stale on it, for all connections of the pool: those that are just as old are renewed
    /// before their next use.
    pub(crate) fn tell_stale(&self, inner: &Inner, stale: Stale) {
        // Of connections that hit the same change only the first has something new to say.
        let news = |told: &AtomicU64, known: u64| {
            told.compare_exchange(known, known + 1, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        };
        let first = match stale {
            Stale::Doubt => {
                self.wire.session().staleness.raise_doubt();
                false
            }
            Stale::Statements => news(&inner.statements, self.statements),
            // The client library forgets a type with the connection only.
            Stale::Types => news(&inner.generation, self.generation),
        };
        if first {
            tracing::info!(endpoint = %inner.endpoint, ?stale, "the database has changed: connections learn it anew");
        }
    }

    /// Drops its prepared statements where those of the pool have proved stale since they were prepared.
    pub(crate) fn renew(&mut self, inner: &Inner) {
        let now = inner.statements.load(Ordering::Acquire);
        if std::mem::replace(&mut self.statements, now) != now {
            self.drop_statements(inner);
        }
    }

    pub(crate) fn kept_statements(&self) -> usize {
        self.seen.cached()
    }

    /// From now on nobody uses it.
    pub(crate) fn lie_idle(&mut self, now: Instant) {
        self.idle_since = now;
        self.alive_at = now;
    }
}
