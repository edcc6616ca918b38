//! What must happen before COMMIT is sent, along with it, and after its outcome is known.

use std::borrow::Cow;
use std::pin::Pin;

use diesel_async::AsyncPgConnection;

use crate::Result;

/// How a COMMIT ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CommitOutcome {
    /// It committed: the server said so, or was asked again after the answer was lost.
    Committed,
    /// The transaction was rolled back.
    RolledBack,
    /// The answer was lost, and what became of the transaction could not be found out.
    Unknown,
}

/// What must happen around a COMMIT: a read-your-writes token, a cache's mark and bump.
///
/// One value for each transaction, whose state it holds. The retry layer calls it once per attempt, on the connection of
/// the transaction.
///
/// ```
/// use std::borrow::Cow;
/// use db_core::AroundCommit;
///
/// /// Tells whoever listens that the prices changed, if the transaction commits.
/// struct PricesChanged;
///
/// impl AroundCommit for PricesChanged {
///     fn sql(&self) -> Option<Cow<'_, str>> {
///         Some("SELECT pg_notify('prices', '')".into())
///     }
/// }
/// ```
pub trait AroundCommit: Send + Sync {
    /// Runs inside the transaction, after the work and before COMMIT is sent.
    ///
    /// # Errors
    /// An error rolls the transaction back and is returned in place of the work's result.
    fn before<'a>(
        &'a self,
        conn: &'a mut AsyncPgConnection,
    ) -> Pin<Box<dyn Future<Output = Result<()>> + Send + 'a>> {
        let _ = conn;
        Box::pin(async { Ok(()) })
    }

    /// SQL that travels in COMMIT's own message, inside the transaction and right before its end: it costs no round trip.
    ///
    /// Several statements are separated by semicolons. They must not end the transaction, and their rows are not read. One
    /// that fails fails the COMMIT, and the transaction is rolled back.
    fn sql(&self) -> Option<Cow<'_, str>> {
        None
    }

    /// Runs along with COMMIT: what it sends first goes out in the same flush, right behind COMMIT, and the server
    /// runs it after COMMIT, outside the transaction. It costs no round trip.
    ///
    /// Use `&mut &*conn` where diesel wants a `&mut` connection. Its first statement must be one that the connection
    /// has prepared before (a query type with a static id, or `batch_execute`), or it takes a round trip to prepare.
    /// It also runs where COMMIT fails: whatever it learns counts only once [`AroundCommit::after`] says
    /// [`CommitOutcome::Committed`], and its own failure must be no error. Where the answer was lost it is dropped
    /// half-way, and `after` may have to ask again.
    fn alongside<'a>(
        &'a self,
        conn: &'a AsyncPgConnection,
    ) -> Option<Pin<Box<dyn Future<Output = ()> + Send + 'a>>> {
        let _ = conn;
        None
    }

    /// Runs after the outcome is known.
    ///
    /// The connection is that of the transaction. Where the answer to COMMIT was lost it is the one on which the outcome was found out, or
    /// none, and it is outside of any transaction.
    fn after<'a>(
        &'a self,
        conn: Option<&'a mut AsyncPgConnection>,
        outcome: CommitOutcome,
    ) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        let _ = (conn, outcome);
        Box::pin(async {})
    }
}

/// Nothing happens around the COMMIT.
impl AroundCommit for () {}
