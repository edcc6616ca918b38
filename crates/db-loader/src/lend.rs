//! Lends a transaction's connection to loaders, whose batches are run on it one after another.
//!
//! A loader's task outlives no borrow, so the connection stays where it is: batches are sent to the
//! borrower's task, which runs them while it waits for the work.

use std::fmt;
use std::future::Future;
use std::panic::resume_unwind;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use db_core::{Error, Result, Site, Work, foreign};
use diesel_async::AsyncPgConnection;
use tokio::sync::{mpsc, oneshot};

use crate::connections::Connections;
use crate::nesting::{self, Resource, Running};

/// Lends `conn` to loaders: [`Query::within`](crate::Query::within) takes the first value, and [`Loan::run`]
/// runs the work that uses them.
///
/// ```no_run
/// use db_loader::{LoadError, Query, lend};
/// use diesel_async::AsyncPgConnection;
///
/// async fn both(conn: &mut AsyncPgConnection, names: &Query<i32, String>) -> Result<(), LoadError> {
///     let (lent, mut loan) = lend(conn);
///     let names = names.within(&lent);
///     let both = loan.run(async { tokio::join!(names.get(1), names.get(2)) }).await;
///     println!("{:?} {:?}", both.0?, both.1?);
///     // The connection is the caller's again.
///     Ok(())
/// }
/// ```
pub fn lend(conn: &mut AsyncPgConnection) -> (Lent, Loan<'_>) {
    let (jobs, asked) = mpsc::unbounded_channel();
    let is_open = Arc::new(AtomicBool::new(false));
    (Lent { jobs, resource: Arc::default(), is_open: Arc::clone(&is_open) }, Loan { conn, asked, is_open })
}

/// A connection that was lent to loaders. It is a handle: it keeps nothing, and after the loan its loads
/// fail.
#[derive(Clone)]
pub struct Lent {
    jobs: mpsc::UnboundedSender<Box<dyn Job>>,
    resource: Arc<Resource>,
    is_open: Arc<AtomicBool>,
}

/// The lender's end of a loan.
pub struct Loan<'c> {
    conn: &'c mut AsyncPgConnection,
    asked: mpsc::UnboundedReceiver<Box<dyn Job>>,
    is_open: Arc<AtomicBool>,
}

/// While it lives, batches are taken.
struct Open<'a>(&'a AtomicBool);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

impl Loan<'_> {
    /// Runs `work`, and meanwhile the batches of the loaders that it uses, one at a time. It may be called
    /// again.
    ///
    /// # Cancel safety
    /// Dropping the future abandons the work and the statement under way, as for any statement in a
    /// transaction.
    pub async fn run<F: Future>(&mut self, work: F) -> F::Output {
        let Loan { conn, asked, is_open } = self;
        is_open.store(true, Ordering::Release);
        let open = Open(is_open);
        let done = Self::serve(conn, asked, work).await;
        drop(open);
        // What was asked for too late, or by nobody that the work waited for.
        while asked.try_recv().is_ok() {}
        done
    }

    async fn serve<F: Future>(
        conn: &mut AsyncPgConnection,
        asked: &mut mpsc::UnboundedReceiver<Box<dyn Job>>,
        work: F,
    ) -> F::Output {
        let mut work = pin!(work);
        loop {
            let job = tokio::select! {
                biased;
                done = &mut work => return done,
                Some(job) = asked.recv() => job,
            };
            let mut running = job.run(conn);
            tokio::select! {
                biased;
                // A batch that the work does not wait for is given up.
                done = &mut work => return done,
                () = &mut running => {}
            }
        }
    }
}

impl Lent {
    /// Runs statements of the work's own on the connection, in turn with the batches.
    ///
    /// They must not wait for a load that needs the connection: that is
    /// [`LoadError::Cycle`](crate::LoadError::Cycle).
    ///
    /// # Errors
    /// The statements' own; [`Error::Client`] outside of [`Loan::run`].
    ///
    /// # Panics
    /// Where the work panics.
    ///
    /// # Cancel safety
    /// Dropping the future abandons the statement under way.
    pub async fn run<T: Send + 'static>(&self, work: impl Work<T, Error> + 'static) -> Result<T> {
        if !self.is_open.load(Ordering::Acquire) {
            return Err(over());
        }
        let (answer, answered) = oneshot::channel();
        let batch = nesting::current().unwrap_or_else(|| Running::new("the work", None));
        let job = Sent { work, answer, batch, resource: Arc::clone(&self.resource) };
        self.jobs.send(Box::new(job)).map_err(|_| over())?;
        match answered.await.map_err(|_| over())? {
            Some(answered) => answered,
            // It was caught so that it does not end the lender's task; it was said when it happened.
            None => resume_unwind(Box::new("work on a lent connection panicked")),
        }
    }

    pub(crate) fn resource(&self) -> Arc<Resource> {
        Arc::clone(&self.resource)
    }
}

impl Connections for Lent {
    fn run<T: Send + 'static>(
        &self,
        _: Site,
        work: impl Work<T, Error> + 'static,
    ) -> impl Future<Output = Result<T>> + Send {
        Lent::run(self, work)
    }
}

impl fmt::Debug for Lent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lent { .. }")
    }
}

impl fmt::Debug for Loan<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Loan { .. }")
    }
}

fn over() -> Error {
    Error::Client("the loan of the connection is over: load inside Loan::run".into())
}

type Done<'c> = Pin<Box<dyn Future<Output = ()> + Send + 'c>>;

/// Work that was sent to the lender's task.
trait Job: Send {
    fn run<'c>(self: Box<Self>, conn: &'c mut AsyncPgConnection) -> Done<'c>;
}

struct Sent<W, T> {
    work: W,
    /// None where the work panicked.
    answer: oneshot::Sender<Option<Result<T>>>,
    batch: Arc<Running>,
    resource: Arc<Resource>,
}

impl<W: Work<T, Error> + 'static, T: Send + 'static> Job for Sent<W, T> {
    fn run<'c>(self: Box<Self>, conn: &'c mut AsyncPgConnection) -> Done<'c> {
        let Sent { work, mut answer, batch, resource } = *self;
        Box::pin(async move {
            let _held = resource.hold(Arc::clone(&batch));
            let answered = tokio::select! {
                biased;
                // Whoever sent it has gone: the batch ran into its timeout, or the caller was dropped.
                () = answer.closed() => return,
                answered = foreign::run(nesting::within(batch, work(conn))) => answered,
            };
            let _ = answer.send(answered);
        })
    }
}
