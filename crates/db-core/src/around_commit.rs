//! What must happen before COMMIT is sent, and after its outcome is known.

use std::pin::Pin;

use diesel_async::AsyncPgConnection;

use crate::Result;

/// How a COMMIT ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CommitOutcome {
    /// The server said that it committed.
    Committed,
    /// The transaction was rolled back.
    RolledBack,
    /// The answer was lost.
    Unknown,
}

/// What must happen around a COMMIT: a read-your-writes token, a marker row, a cache's mark and bump.
///
/// The retry layer calls it once per attempt, on the connection of the transaction.
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

    /// Runs after the outcome is known; the connection may be dead where it is not `Committed`.
    fn after<'a>(
        &'a self,
        conn: &'a mut AsyncPgConnection,
        outcome: CommitOutcome,
    ) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        let _ = (conn, outcome);
        Box::pin(async {})
    }
}

/// Nothing happens around the COMMIT.
impl AroundCommit for () {}
