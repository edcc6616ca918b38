//! What begins a transaction, before it is sent: it may travel with the first request of the transaction.

use std::borrow::Cow;

/// What begins a transaction: its BEGIN, what is set for it, and a question that is asked along with it.
///
/// ```
/// use db_core::Opening;
///
/// let opening = Opening::new("BEGIN READ ONLY").then("SET LOCAL search_path TO \"tenant_7\"");
/// assert_eq!(opening.statements().len(), 2);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opening {
    statements: Vec<Cow<'static, str>>,
    question: Option<Cow<'static, str>>,
    batch: Option<usize>,
}

impl Opening {
    /// Of a statement that begins a transaction and does nothing else.
    pub fn new(begin: impl Into<Cow<'static, str>>) -> Self {
        Opening { statements: vec![begin.into()], question: None, batch: None }
    }

    /// With one more statement behind it, which has no rows.
    #[must_use]
    pub fn then(mut self, statement: impl Into<Cow<'static, str>>) -> Self {
        self.statements.push(statement.into());
        self
    }

    /// With a query behind all statements, of at most one row, which is then in
    /// [`Facts::opened`](crate::Facts::opened).
    #[must_use]
    pub fn asking(mut self, query: impl Into<Cow<'static, str>>) -> Self {
        self.question = Some(query.into());
        self
    }

    /// For a transaction of exactly so many statements, all of which are sent without waiting for an answer:
    /// where the connection has all of them prepared, they go out as one request, which is a transaction
    /// without BEGIN and COMMIT. [`Opened`] tells which it was.
    ///
    /// Source: the PostgreSQL manual, "Pipelining": what is between two Syncs is one transaction.
    #[must_use]
    pub fn batch(mut self, statements: usize) -> Self {
        self.batch = Some(statements);
        self
    }

    /// The statements that may go out as one request, if they are known.
    pub fn batched(&self) -> Option<usize> {
        self.batch
    }

    /// A statement has to be prepared first, or is none that may go with others: BEGIN goes before the first.
    pub fn sent_apart(&mut self) {
        self.batch = None;
    }

    /// The statements, BEGIN first.
    pub fn statements(&self) -> &[Cow<'static, str>] {
        &self.statements
    }

    /// The query behind them.
    pub fn question(&self) -> Option<&str> {
        self.question.as_deref()
    }

    /// All of it as one message for the simple protocol, without the question.
    pub fn sql(&self) -> String {
        self.statements.join("; ")
    }
}

/// What became of an [`Opening`] that was to travel with the first request of its transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Opened {
    /// There is none: whoever began a transaction sent its BEGIN himself.
    #[default]
    Apart,
    /// No request has gone out since, so the server has heard of no transaction.
    Unsent,
    /// It was sent, and BEGIN is not answered: nothing behind the first request has gone out.
    Unanswered,
    /// The server has begun the transaction.
    Begun,
    /// The server has refused BEGIN: what follows is refused as in a failed transaction, until a ROLLBACK.
    Refused,
    /// The statements of a [batch](Opening::batch) were sent as one request, which is not answered.
    AsOne,
    /// They have committed.
    Committed,
    /// They were rolled back, all of them.
    RolledBack,
}
