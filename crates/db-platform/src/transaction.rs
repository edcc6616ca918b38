//! A transaction that differs from the default: isolation, read-only, a name for logs.

use db_core::{AroundCommit, Classify, Error, Once, Work};
use db_replica_routing::Session;
use db_retry::{Begin, Isolation};
use tracing::Instrument;

use crate::db::Db;

/// A transaction that is about to run; made by [`Db::build_transaction`].
#[derive(Debug, Clone)]
#[must_use = "nothing runs until run or run_once"]
pub struct TransactionBuilder<'a> {
    db: &'a Db,
    begin: Begin,
    name: Option<&'static str>,
    session: Option<Session>,
}

impl<'a> TransactionBuilder<'a> {
    pub(crate) fn new(db: &'a Db) -> Self {
        TransactionBuilder { db, begin: Begin::default(), name: None, session: None }
    }

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

    /// A name for the tracing span around all of its attempts.
    pub fn named(mut self, name: &'static str) -> Self {
        self.name = Some(name);
        self
    }

    /// In a session, whose later reads see what it commits.
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
    pub async fn run<T, E>(self, work: impl Work<T, E>) -> Result<T, E>
    where
        T: Send,
        E: From<Error> + Classify + Send,
    {
        let (retry, writer, span) = (self.db.retry(), self.db.writer(), self.span());
        let around = self.around();
        retry.transaction(&writer, self.begin, around, work).instrument(span).await
    }

    /// Runs `work` once, whatever happens; it need not be cloneable.
    ///
    /// # Errors
    /// As [`Db::transaction`].
    ///
    /// # Cancel safety
    /// As [`Db::transaction`].
    pub async fn run_once<T, E>(self, work: impl Once<T, E>) -> Result<T, E>
    where
        T: Send,
        E: From<Error> + Classify + Send,
    {
        let (retry, writer, span) = (self.db.retry(), self.db.writer(), self.span());
        let around = self.around();
        retry.transaction_once(&writer, self.begin, around, work).instrument(span).await
    }

    fn around(&self) -> &dyn AroundCommit {
        self.session.as_ref().map_or(&(), |session| session)
    }

    fn span(&self) -> tracing::Span {
        match self.name {
            Some(name) => tracing::info_span!("transaction", name),
            None => tracing::Span::none(),
        }
    }
}
