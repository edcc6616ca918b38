//! Runs work in a transaction, and the whole transaction again where that may help.
//!
//! A failure of BEGIN or of the work left nothing behind, so its class decides. A failure of COMMIT is
//! different: when the connection was lost after COMMIT was sent, the server may have applied it, and a retry
//! could apply it twice. So the server is asked first what became of it.

use std::panic::Location;

use db_core::{
    Acquire, AroundCommit, Class, Classify, CommitOutcome, Error, Once, Report, Result, Site, UnknownCommit,
    Work,
};
use tokio::time::Instant;

use crate::attempt;
use crate::attempts::Attempts;
use crate::begin::Begin;
use crate::condition::Condition;
use crate::deadline;
use crate::ended::{Ended, Failed};
use crate::plan::Plan;
use crate::resolve::{Verdict, resolve};
use crate::retry::{Retry, class_of_acquire, judge};
use crate::said::Said;
use crate::statement;

impl<C> Retry<C> {
    /// Runs `work` in a transaction on a connection of `from`; the whole transaction runs again after a
    /// conflict, after a lost connection, and where the answer to COMMIT was lost and the transaction turns
    /// out not to have committed.
    ///
    /// Where it turns out to have committed, the work's value is returned. [`Resolve`](crate::Resolve) says
    /// how that is found out, and when it cannot be.
    ///
    /// # Errors
    /// The work's own error, as it was; [`Error::CommitUnknown`] where the answer to COMMIT was lost and its
    /// outcome could not be found out; SQLSTATE 25P02 where the work swallowed an error of the server's and
    /// the transaction could not commit.
    ///
    /// # Cancel safety
    /// Dropping the future abandons the transaction; the server rolls it back, unless COMMIT was already
    /// sent.
    #[track_caller]
    pub fn transaction<A, T, E>(
        &self,
        from: &A,
        begin: Begin,
        around: &dyn AroundCommit,
        work: impl Work<T, E>,
    ) -> impl Future<Output = Result<T, E>>
    where
        C: Condition<E>,
        A: Acquire,
        T: Send,
        E: From<Error> + Classify + Send,
    {
        self.transaction_at(Location::caller(), from, begin, around, work)
    }

    /// As [`Retry::transaction`], on behalf of the code at `site`, which reports about the connection then
    /// name.
    ///
    /// # Errors
    /// As [`Retry::transaction`].
    ///
    /// # Cancel safety
    /// As [`Retry::transaction`].
    pub async fn transaction_at<A, T, E>(
        &self,
        site: Site,
        from: &A,
        begin: Begin,
        around: &dyn AroundCommit,
        work: impl Work<T, E>,
    ) -> Result<T, E>
    where
        C: Condition<E>,
        A: Acquire,
        T: Send,
        E: From<Error> + Classify + Send,
    {
        let mut attempts = Attempts::start(self);
        loop {
            match self.attempt(&attempts, site, from, begin, around, work.clone()).await {
                Ok(value) => {
                    attempts.came_through();
                    return Ok(value);
                }
                Err(failed) => self.or_again(&mut attempts, failed).await?,
            }
        }
    }

    /// Waits for the next attempt after a failure; the failure's error where there is none.
    pub(crate) async fn or_again<E>(&self, attempts: &mut Attempts<'_>, failed: Failed<E>) -> Result<(), E>
    where
        C: Condition<E>,
    {
        let Failed { error, class, said, answered, .. } = failed;
        if attempts.again_as_new(&said) {
            return Ok(());
        }
        let class = attempts.judge(class, &said);
        if answered || (class == Class::Permanent && said.code.is_some()) {
            attempts.answered();
        }
        let class = judge(self.condition(), &error, class);
        if attempts.again(class).await { Ok(()) } else { Err(error) }
    }

    /// Runs `work` in a transaction, once, whatever happens.
    ///
    /// # Errors
    /// As [`Retry::transaction`].
    ///
    /// # Cancel safety
    /// As [`Retry::transaction`].
    #[track_caller]
    pub fn transaction_once<A, T, E>(
        &self,
        from: &A,
        begin: Begin,
        around: &dyn AroundCommit,
        work: impl Once<T, E>,
    ) -> impl Future<Output = Result<T, E>>
    where
        A: Acquire,
        T: Send,
        E: From<Error> + Classify + Send,
    {
        self.transaction_once_at(Location::caller(), from, begin, around, work)
    }

    /// As [`Retry::transaction_once`], on behalf of the code at `site`.
    ///
    /// # Errors
    /// As [`Retry::transaction`].
    ///
    /// # Cancel safety
    /// As [`Retry::transaction`].
    pub async fn transaction_once_at<A, T, E>(
        &self,
        site: Site,
        from: &A,
        begin: Begin,
        around: &dyn AroundCommit,
        work: impl Once<T, E>,
    ) -> Result<T, E>
    where
        A: Acquire,
        T: Send,
        E: From<Error> + Classify + Send,
    {
        let attempts = Attempts::start(self);
        let result = self.attempt(&attempts, site, from, begin, around, work).await;
        result.inspect(|_| attempts.came_through()).map_err(|failed| failed.error)
    }

    async fn attempt<A, T, E>(
        &self,
        attempts: &Attempts<'_>,
        site: Site,
        from: &A,
        begin: Begin,
        around: &dyn AroundCommit,
        work: impl Once<T, E>,
    ) -> Result<T, Failed<E>>
    where
        A: Acquire,
        T: Send,
        E: From<Error> + Classify + Send,
    {
        let mut conn = attempts.acquire(from, site).await.map_err(|error| {
            let class = class_of_acquire(&error);
            Failed::ours(error.into(), class, false)
        })?;
        let started = Instant::now();
        let limit = deadline::after(started, self.config().transaction_timeout);
        let plan = Plan {
            begin,
            around,
            started,
            limit,
            markers: self.shared().markers(),
            marker_schema: self.config().marker_schema.as_deref(),
            path: self.path(),
        };
        let inside = deadline::earlier(limit, attempts.deadline());
        let lost = match deadline::scope(inside, attempt::run(from, &mut conn, &plan, work)).await {
            Ended::Committed(value) => return Ok(value),
            Ended::Failed(failed) => {
                if failed.gone {
                    from.report(&mut conn, Report::ServerGone);
                }
                return Err(failed);
            }
            Ended::Lost(value, lost) => (value, lost),
            Ended::LostBatch(lost) => {
                from.report(&mut conn, Report::CommitUnanswered);
                drop(conn);
                self.shared().counter().add_commit(CommitOutcome::Unknown);
                around.after(None, CommitOutcome::Unknown).await;
                let Failed { error, class, .. } = statement::unknown(lost, begin.idempotent);
                return Err(Failed::ours(error.into(), class, true));
            }
        };
        // Given back before another one is asked for: the pool may have room for one only.
        from.report(&mut conn, Report::CommitUnanswered);
        drop(conn);
        let (value, lost) = lost;
        let by = deadline::after(Instant::now(), Some(self.config().resolve_timeout));
        let by = deadline::earlier(by, attempts.deadline());
        let verdict = resolve(from, site, &lost, by).await;
        self.shared().counter().add_commit(verdict.outcome());
        match verdict {
            Verdict::Committed(mut conn) => {
                tracing::info!("the answer to COMMIT was lost, and it had committed");
                around.after(Some(&mut conn), CommitOutcome::Committed).await;
                Ok(value)
            }
            Verdict::RolledBack(mut conn) => {
                around.after(Some(&mut conn), CommitOutcome::RolledBack).await;
                // Rolled back by the server's own word: what it said then is what counts now.
                let code = lost.cause.sqlstate();
                let class = code.map_or(Class::Unavailable, |code| code.class());
                let said = Said { code, ..Said::default() };
                Err(Failed { error: lost.cause.into(), class, said, gone: true, answered: false })
            }
            Verdict::Unknown(why) => {
                around.after(None, CommitOutcome::Unknown).await;
                let transaction = lost.receipt.and_then(|receipt| receipt.transaction.parse().ok());
                let unknown = UnknownCommit::new(lost.cause, transaction, why);
                let error = Error::CommitUnknown(Box::new(unknown)).into();
                // Its caller says that a second time does no harm.
                let class = if begin.idempotent { Class::Unavailable } else { Class::Unknown };
                Err(Failed::ours(error, class, true))
            }
        }
    }
}
