//! A transaction that differs from the default: isolation, limits, how a lost COMMIT is dealt with, a name
//! for logs.

use std::borrow::Cow;
use std::panic::Location;
use std::pin::pin;
use std::time::Duration;

use db_core::{AroundCommit, Classify, Error, Once, Site, Work};
use db_replica_routing::{Session, SessionCommit};
use db_retry::{
    Begin, ByClass, CommitHooks, Committing, Condition, If, Isolation, Resolve, Retry, RetryConfig,
    within_until_commit,
};
use futures_util::future::BoxFuture;
use tracing::Instrument;

use crate::db::Db;

/// The most statements that go out as one request: all of them are kept until the last is there.
const MOST_AS_ONE: usize = 256;

/// A transaction that is about to run; made by [`Db::build_transaction`].
#[derive(Debug, Clone)]
#[must_use = "nothing runs until run or run_once"]
pub struct TransactionBuilder<'a, C = ByClass> {
    db: &'a Db,
    condition: C,
    begin: Begin,
    retry: Option<RetryConfig>,
    timeout: Option<Duration>,
    name: Option<&'static str>,
    session: Option<Session>,
}

impl<'a> TransactionBuilder<'a> {
    pub(crate) fn new(db: &'a Db) -> Self {
        TransactionBuilder {
            db,
            condition: ByClass,
            begin: db.begin(),
            retry: None,
            timeout: None,
            name: None,
            session: db.session_to_write_in(),
        }
    }
}

impl<'a, C> TransactionBuilder<'a, C> {
    /// As if transactions had run one after another; conflicts are run again.
    pub fn serializable(mut self) -> Self {
        self.begin.isolation = Some(Isolation::Serializable);
        self
    }

    /// With this isolation level.
    pub fn isolation(mut self, isolation: Isolation) -> Self {
        self.begin.isolation = Some(isolation);
        self
    }

    /// Refuse writes.
    pub fn read_only(mut self) -> Self {
        self.begin.read_only = true;
        self
    }

    /// With serializable and read-only: wait until it can run without any risk of failing.
    pub fn deferrable(mut self) -> Self {
        self.begin.deferrable = true;
        self
    }

    /// Write a row with it, so that it is known even after a failover whether it committed.
    ///
    /// The row goes out with COMMIT and costs no round trip. Its table is made by a migration
    /// (`dbctl migrate new commit_markers --commit-markers`, or [`db_retry::marker::TABLE`]). With
    /// `DB_COMMIT_MARKERS=true` every transaction is marked and old rows are removed by themselves; else
    /// [`db_retry::marker::forget`] removes them.
    pub fn marked(self) -> Self {
        self.resolve(Resolve::ByMarker)
    }

    /// It may be applied twice: where it cannot be found out whether it committed, it runs again.
    ///
    /// For work that leads to the same rows however often it runs, such as `INSERT … ON CONFLICT DO NOTHING`
    /// or an UPDATE that sets what the caller brings. [`Error::CommitUnknown`] is left where no attempt was
    /// answered.
    ///
    /// ```no_run
    /// # use db_platform::{Db, Result};
    /// # use diesel_async::SimpleAsyncConnection;
    /// # async fn close(db: Db) -> Result<()> {
    /// let close = "UPDATE orders SET state = 'closed' WHERE id = 7";
    /// db.build_transaction().idempotent().run(async |conn| Ok(conn.batch_execute(close).await?)).await
    /// # }
    /// ```
    pub fn idempotent(mut self) -> Self {
        self.begin.idempotent = true;
        self
    }

    /// How it is found out whether it committed, where the answer to COMMIT is lost; by its id if this is not
    /// called.
    pub fn resolve(mut self, resolve: Resolve) -> Self {
        self.begin.resolve = resolve;
        self
    }

    /// The longest that one attempt may take, from BEGIN to the answer to COMMIT; without it, for ever.
    ///
    /// Before COMMIT is sent it ends with [`Error::DeadlineExceeded`]; after that, it is found out what
    /// became of it.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// It consists of so many statements that wait for no answer: where nothing else is to happen in it they
    /// may go out as one request.
    pub(crate) fn batch(mut self, statements: Option<usize>) -> Self {
        let few = statements.filter(|statements| (1..=MOST_AS_ONE).contains(statements));
        self.begin.batch = few.filter(|_| self.db.needs_no_begin());
        self
    }

    /// Try again as `config` says, in place of what the [`Config`](crate::Config) says. The budget stays the
    /// common one.
    pub fn retry(mut self, config: RetryConfig) -> Self {
        self.retry = Some(config);
        self
    }

    /// Try again where `condition` says so of the work's error, in place of what its class says.
    ///
    /// It is not asked where another attempt could apply something twice. It should answer at once: it runs
    /// in the caller's task. One that panics is logged and says no.
    ///
    /// ```no_run
    /// # use db_platform::{Db, Error, Result};
    /// # use diesel_async::SimpleAsyncConnection;
    /// # async fn book(db: Db) -> Result<()> {
    /// db.build_transaction()
    ///     .retry_if(|error: &Error| error.constraint() == Some("bookings_number_key"))
    ///     .run(async |conn| Ok(conn.batch_execute("INSERT INTO bookings SELECT max(number) + 1 FROM bookings").await?))
    ///     .await
    /// # }
    /// ```
    pub fn retry_if<E, F>(self, condition: F) -> TransactionBuilder<'a, If<F>>
    where
        F: Fn(&E) -> bool + Send + Sync,
    {
        let TransactionBuilder { db, condition: _, begin, retry, timeout, name, session } = self;
        TransactionBuilder { db, condition: If(condition), begin, retry, timeout, name, session }
    }

    /// A name for the tracing span around all of its attempts.
    pub fn named(mut self, name: &'static str) -> Self {
        self.name = Some(name);
        self
    }

    /// In this session, whose later reads see what it commits, and in no other one.
    pub fn session(mut self, session: &Session) -> Self {
        self.session = Some(session.clone());
        self
    }

    /// Runs `work`, and the whole transaction again where that may help.
    ///
    /// # Errors
    /// As [`Db::transaction`].
    ///
    /// # Cancel safety
    /// As [`Db::transaction`].
    #[track_caller]
    pub fn run<T, E>(self, work: impl Work<T, E> + 'a) -> BoxFuture<'a, Result<T, E>>
    where
        C: Condition<E> + 'a,
        T: Send + 'a,
        E: From<Error> + Classify + Send + 'a,
    {
        let (site, span) = (Location::caller(), self.span());
        self.note_lost_writes(site);
        let running = async move {
            let _counted = (!self.begin.read_only).then(|| self.db.counts_write());
            let _told = self.db.tells_process(self.session.as_ref());
            let writer = self.db.writer();
            let (session, parts) =
                (self.session.as_ref().map(Session::commit), self.db.parts().commit_hooks());
            let committing = Committing::around(commit_hooks(session.as_ref(), &parts));
            let retries = self.retries().judged_by(self.condition);
            let running = pin!(retries.transaction_at(site, &writer, self.begin, &committing, work));
            within_until_commit(self.db.timeout(), &committing, running).await
        };
        Box::pin(in_scope(running).instrument(span))
    }

    /// Runs `work` once, whatever happens; it need not be cloneable.
    ///
    /// # Errors
    /// As [`Db::transaction`].
    ///
    /// # Cancel safety
    /// As [`Db::transaction`].
    #[track_caller]
    pub fn run_once<T, E>(self, work: impl Once<T, E> + 'a) -> BoxFuture<'a, Result<T, E>>
    where
        C: Send + Sync + 'a,
        T: Send + 'a,
        E: From<Error> + Classify + Send + 'a,
    {
        let (site, span) = (Location::caller(), self.span());
        self.note_lost_writes(site);
        let running = async move {
            let _counted = (!self.begin.read_only).then(|| self.db.counts_write());
            let _told = self.db.tells_process(self.session.as_ref());
            let writer = self.db.writer();
            let (session, parts) =
                (self.session.as_ref().map(Session::commit), self.db.parts().commit_hooks());
            let committing = Committing::around(commit_hooks(session.as_ref(), &parts));
            let retries = self.retries();
            let running = pin!(retries.transaction_once_at(site, &writer, self.begin, &committing, work));
            within_until_commit(self.db.timeout(), &committing, running).await
        };
        Box::pin(in_scope(running).instrument(span))
    }

    fn note_lost_writes(&self, site: Site) {
        if self.session.is_none() && !self.begin.read_only {
            self.db.note_lost_writes(site);
        }
    }

    /// The common retries, with what this transaction says of its own.
    fn retries(&self) -> Cow<'a, Retry> {
        let common = self.db.retry();
        if self.retry.is_none() && self.timeout.is_none() && self.db.timeout().is_none() {
            return Cow::Borrowed(common);
        }
        let said = self.retry.clone().unwrap_or_else(|| common.config().clone());
        let said = RetryConfig { transaction_timeout: self.timeout.or(said.transaction_timeout), ..said };
        Cow::Owned(common.saying(match self.db.timeout() {
            Some(whole) => said.for_calls_within(whole),
            None => said,
        }))
    }

    fn span(&self) -> tracing::Span {
        match self.name {
            Some(name) => tracing::info_span!("transaction", name),
            None => tracing::Span::none(),
        }
    }
}

/// Runs a transaction where what it writes is kept for a cache.
#[cfg(feature = "cache")]
fn in_scope<F: Future>(running: F) -> impl Future<Output = F::Output> {
    db_cache::AttachedCache::in_transaction(running)
}

#[cfg(not(feature = "cache"))]
fn in_scope<F: Future>(running: F) -> F {
    running
}

/// The hooks around one COMMIT: the session's, then those of the parts in their order.
fn commit_hooks<'h>(
    session: Option<&'h SessionCommit>,
    parts: &'h [(&'static str, Box<dyn AroundCommit>)],
) -> CommitHooks<'h> {
    let session = session.map(|session| ("session", session as &dyn AroundCommit));
    CommitHooks::new(session.into_iter().chain(parts.iter().map(|(name, hook)| (*name, &**hook))))
}
