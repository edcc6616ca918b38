//! Several statements on one connection in one round trip.
//!
//! They are sent one behind the other without waiting for answers, and the server runs them in that order.
//! Each is a statement of its own: outside a transaction, one that fails does not keep those behind it from
//! running, and each sees what others committed before it began.
//!
//! A connection prepares a statement when it first meets it, which takes a round trip of its own, every time
//! for [`sql_query`](diesel::sql_query). And it looks up a type that the database itself defines, such as an
//! enum, when it first binds a value of that: so that those behind do not overtake it, they wait for the
//! answer of such a statement.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use db_core::{Class, Classify, Error, SqlState};
use diesel::pg::Pg;
use diesel::query_builder::{QueryFragment, QueryId};
use diesel::result::{Error as DieselError, OptionalExtension, QueryResult};
use diesel_async::{AsyncPgConnection, SimpleAsyncConnection};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all};
use tokio::sync::watch;

use crate::kept::Kept;
use crate::query::Returns;

/// A statement of a batch: made by [`rows`], [`row`], [`maybe_row`] and [`affected`].
pub trait Statement: Clone + Send {
    /// What it answers.
    type Output: Send;

    /// Whether those behind it wait for its answer: it binds a value of a type that the database itself
    /// defines.
    fn holds_up(&self) -> bool;

    /// Makes it ready to be sent.
    fn send(self, conn: &AsyncPgConnection) -> Sending<'_, Self::Output>;
}

/// A statement that is sent when its answer is first asked for.
pub struct Sending<'c, T> {
    answer: BoxFuture<'c, QueryResult<T>>,
    /// Whether those behind it wait for its answer.
    holds_up: bool,
}

impl<'c, T: Send + 'c> Sending<'c, T> {
    fn map<U>(self, change: impl FnOnce(QueryResult<T>) -> QueryResult<U> + Send + 'c) -> Sending<'c, U> {
        Sending { answer: self.answer.map(change).boxed(), holds_up: self.holds_up }
    }
}

/// Statements that are sent together: a tuple of up to eight, or an array or vector of one kind.
pub trait Batch: Clone + Send {
    /// What they answer, in their order.
    type Output: Send;

    /// How many there are, where all of them are sent at once; none where one waits for the answer of
    /// another.
    fn sent_at_once(&self) -> Option<usize>;

    /// Sends them all and waits for all answers.
    ///
    /// Inside a transaction, all or none of them will have happened.
    ///
    /// # Errors
    /// The first statement's that failed; in a transaction those behind it fail with it.
    ///
    /// # Cancel safety
    /// Dropping the future abandons the statements; those that were sent may have run.
    fn run(self, conn: &AsyncPgConnection) -> impl Future<Output = Result<Self::Output, BatchError>> + Send;
}

/// All rows of a query.
pub fn rows<U: Send + 'static>(query: impl Returns<U>) -> impl Statement<Output = Vec<U>> {
    Rows::new(query)
}

/// The only row of a query that finds one; [`Error::NotFound`] where it finds none.
pub fn row<U: Send + 'static>(query: impl Returns<U>) -> impl Statement<Output = U> {
    Row(Rows::new(query))
}

/// The only row of a query, where it finds one.
pub fn maybe_row<U: Send + 'static>(query: impl Returns<U>) -> impl Statement<Output = Option<U>> {
    MaybeRow(Row(Rows::new(query)))
}

/// How many rows an INSERT, UPDATE or DELETE affected.
pub fn affected(statement: impl QueryFragment<Pg> + QueryId + Send) -> impl Statement<Output = usize> {
    Affected(Arc::new(Kept::new(statement)))
}

struct Rows<Q: Returns<U>, U> {
    query: Arc<Kept<Q::Query>>,
    read_as: PhantomData<fn() -> (Q, U)>,
}

impl<Q: Returns<U>, U> Rows<Q, U> {
    fn new(query: Q) -> Self {
        Rows { query: Arc::new(Kept::new(query.as_query())), read_as: PhantomData }
    }
}

#[derive(Clone)]
struct Row<R>(R);

#[derive(Clone)]
struct MaybeRow<R>(R);

struct Affected<S>(Arc<Kept<S>>);

impl<Q: Returns<U>, U> Clone for Rows<Q, U> {
    fn clone(&self) -> Self {
        Rows { query: Arc::clone(&self.query), read_as: PhantomData }
    }
}

impl<S> Clone for Affected<S> {
    fn clone(&self) -> Self {
        Affected(Arc::clone(&self.0))
    }
}

impl<Q: Returns<U>, U: Send + 'static> Statement for Rows<Q, U> {
    type Output = Vec<U>;

    fn holds_up(&self) -> bool {
        self.query.binds_own_type()
    }

    fn send(self, conn: &AsyncPgConnection) -> Sending<'_, Vec<U>> {
        Sending { answer: self.query.rows::<Q, U>(conn), holds_up: self.holds_up() }
    }
}

impl<U: Send + 'static, R: Statement<Output = Vec<U>>> Statement for Row<R> {
    type Output = U;

    fn holds_up(&self) -> bool {
        self.0.holds_up()
    }

    fn send(self, conn: &AsyncPgConnection) -> Sending<'_, U> {
        self.0.send(conn).map(|rows| rows?.into_iter().next().ok_or(DieselError::NotFound))
    }
}

impl<U: Send + 'static, R: Statement<Output = U>> Statement for MaybeRow<R> {
    type Output = Option<U>;

    fn holds_up(&self) -> bool {
        self.0.holds_up()
    }

    fn send(self, conn: &AsyncPgConnection) -> Sending<'_, Option<U>> {
        self.0.send(conn).map(OptionalExtension::optional)
    }
}

impl<S: QueryFragment<Pg> + QueryId + Send> Statement for Affected<S> {
    type Output = usize;

    fn holds_up(&self) -> bool {
        self.0.binds_own_type()
    }

    fn send(self, conn: &AsyncPgConnection) -> Sending<'_, usize> {
        Sending { answer: self.0.affected(conn), holds_up: self.holds_up() }
    }
}

impl<S: Statement> Batch for Vec<S> {
    type Output = Vec<S::Output>;

    fn sent_at_once(&self) -> Option<usize> {
        at_once(self.iter().map(Statement::holds_up))
    }

    async fn run(self, conn: &AsyncPgConnection) -> Result<Self::Output, BatchError> {
        let mut line = Line::default();
        let sending = self.into_iter().map(|statement| line.join(conn, statement.send(conn)));
        let (answers, mut failures) = (join_all(sending).await, Failures::default());
        let answers: Vec<_> = answers
            .into_iter()
            .enumerate()
            .filter_map(|(number, answer)| failures.of(number, answer))
            .collect();
        failures.none(Some(answers))
    }
}

impl<S: Statement, const N: usize> Batch for [S; N] {
    type Output = Vec<S::Output>;

    fn sent_at_once(&self) -> Option<usize> {
        at_once(self.iter().map(Statement::holds_up))
    }

    fn run(self, conn: &AsyncPgConnection) -> impl Future<Output = Result<Self::Output, BatchError>> + Send {
        Vec::from(self).run(conn)
    }
}

macro_rules! tuples {
    ($(($($statement:ident $number:tt),+))+) => {$(
        impl<$($statement: Statement),+> Batch for ($($statement,)+) {
            type Output = ($($statement::Output,)+);

            fn sent_at_once(&self) -> Option<usize> {
                at_once([$(self.$number.holds_up()),+].into_iter())
            }

            async fn run(self, conn: &AsyncPgConnection) -> Result<Self::Output, BatchError> {
                let mut line = Line::default();
                let statements = ($(line.join(conn, self.$number.send(conn)),)+);
                // In their order: the first poll of each sends it.
                let answers = tokio::join!(biased; $(statements.$number),+);
                let mut failures = Failures::default();
                let answers = ($(failures.of($number, answers.$number),)+);
                failures.none((|| Some(($(answers.$number?,)+)))())
            }
        }
    )+};
}

tuples! {
    (A 0)
    (A 0, B 1)
    (A 0, B 1, C 2)
    (A 0, B 1, C 2, D 3)
    (A 0, B 1, C 2, D 3, E 4)
    (A 0, B 1, C 2, D 3, E 4, F 5)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7)
}

/// Statements that are sent in the order in which they joined.
#[derive(Default)]
struct Line {
    /// Those so far that hold up whoever is behind.
    holding_up: usize,
    /// How many of these have been answered.
    answered: Arc<watch::Sender<usize>>,
}

impl Line {
    fn join<'c, T: Send + 'c>(
        &mut self,
        conn: &'c AsyncPgConnection,
        statement: Sending<'c, T>,
    ) -> BoxFuture<'c, QueryResult<T>> {
        let Sending { answer, holds_up } = statement;
        let answer = Box::pin(async move {
            let answer = answer.await;
            if answer.as_ref().is_err_and(|error| About::of(error) == About::Sending) {
                // It was not sent, and a connection that sends a batch as one would wait for it.
                let _ = (&mut &*conn).batch_execute("").await;
            }
            answer
        });
        let before = self.holding_up;
        self.holding_up += usize::from(holds_up);
        if self.holding_up == 0 {
            return answer;
        }
        let answered = Arc::clone(&self.answered);
        Box::pin(async move {
            // The sender lives as long as this does.
            let _ = answered.subscribe().wait_for(|answered| *answered >= before).await;
            let answer = answer.await;
            answered.send_modify(|answered| *answered += usize::from(holds_up));
            answer
        })
    }
}

/// How many statements there are, where only the last may hold others up.
fn at_once(mut hold_up: impl ExactSizeIterator<Item = bool> + DoubleEndedIterator) -> Option<usize> {
    let count = hold_up.len();
    hold_up.next_back();
    (!hold_up.any(|holds_up| holds_up)).then_some(count)
}

/// What an error is about, the graver first.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum About {
    /// The server has refused the statement, or is gone.
    Server,
    /// The client could not send it.
    Sending,
    /// Its answer came and could not be read.
    Reading,
}

impl About {
    fn of(error: &DieselError) -> Self {
        match error {
            DieselError::DatabaseError(..) | DieselError::BrokenTransactionManager => About::Server,
            DieselError::DeserializationError(_) | DieselError::NotFound => About::Reading,
            _ => About::Sending,
        }
    }
}

/// The gravest of the errors among the answers, and whose it is: what follows from it is no news.
#[derive(Default)]
struct Failures {
    first: Option<(usize, DieselError)>,
}

impl Failures {
    fn of<T>(&mut self, statement: usize, answer: QueryResult<T>) -> Option<T> {
        match answer {
            Ok(value) => return Some(value),
            Err(error) => {
                let known = self.first.as_ref().map(|(_, known)| About::of(known));
                if known.is_none_or(|known| About::of(&error) < known) {
                    self.first = Some((statement, error));
                }
            }
        }
        None
    }

    /// All answers, if none is an error.
    fn none<T>(self, answers: Option<T>) -> Result<T, BatchError> {
        match (self.first, answers) {
            (None, Some(answers)) => Ok(answers),
            (Some((statement, error)), _) => {
                Err(BatchError { statement: Some(statement), error: error.into() })
            }
            (None, None) => Err(BatchError { statement: None, error: Error::NotFound }),
        }
    }
}

/// Why a batch did not succeed, and which of its statements was at fault.
///
/// It turns into an [`Error`] where the caller does not care which.
///
/// ```
/// use db_core::Error;
/// use db_query::BatchError;
///
/// let error = BatchError { statement: Some(1), error: Error::NotFound };
/// assert_eq!(error.to_string(), "statement number 2 of the batch was refused");
/// ```
#[derive(Debug)]
pub struct BatchError {
    /// The first statement that failed, counted from 0; none where it was not a statement's fault.
    pub statement: Option<usize>,
    /// What went wrong.
    pub error: Error,
}

impl BatchError {
    /// The error of the last of several attempts; `failed` is the statement that failed in the last one that
    /// came so far as to run one.
    pub fn of_last_attempt(failed: Option<usize>, error: Error) -> Self {
        // After a deadline nobody knows whether the last attempt came so far.
        let of_a_statement = !error.is_before_work()
            && !matches!(error, Error::DeadlineExceeded { .. } | Error::CommitUnknown(_));
        BatchError { statement: failed.filter(|_| of_a_statement), error }
    }

    /// Whether the server has answered what cannot be read as asked: the statements ran all the same.
    pub fn is_unreadable(&self) -> bool {
        match &self.error {
            Error::NotFound => true,
            Error::Client(source) => {
                matches!(source.downcast_ref::<DieselError>(), Some(DieselError::DeserializationError(_)))
            }
            _ => false,
        }
    }
}

impl fmt::Display for BatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.statement {
            Some(statement) => write!(f, "statement number {} of the batch was refused", statement + 1),
            None => f.write_str("the batch was not run"),
        }
    }
}

impl std::error::Error for BatchError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

impl Classify for BatchError {
    fn class(&self) -> Class {
        self.error.class()
    }

    fn code(&self) -> Option<SqlState> {
        self.error.code()
    }
}

impl From<Error> for BatchError {
    fn from(error: Error) -> Self {
        BatchError { statement: None, error }
    }
}

impl From<BatchError> for Error {
    fn from(error: BatchError) -> Self {
        error.error
    }
}
