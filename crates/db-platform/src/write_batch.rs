//! Several statements as one write: all or none of them, in one round trip where nothing forbids it.

use std::sync::{Arc, Mutex, PoisonError};

use db_query::{Batch, BatchError};
use diesel_async::AsyncPgConnection;
use futures_util::future::BoxFuture;

use crate::db::Db;

impl Db {
    /// Writes with several statements in one transaction and one round trip, once the connection has all of
    /// them prepared.
    ///
    /// All of them are applied or none. They are sent without waiting for answers, so none can use what
    /// another one returns; for that there is [`Db::transaction`]. They go out as one request: between two
    /// Syncs the server makes a transaction of them, and no BEGIN and COMMIT go around it. Where one has to
    /// be prepared first (the first time, and a `sql_query` each time), and where one is none of SELECT,
    /// INSERT, UPDATE, DELETE, MERGE, VALUES and TABLE, they go out in a transaction that begins with the
    /// first.
    ///
    /// ```no_run
    /// # use db_platform::{BatchError, Db, batch};
    /// # use diesel::prelude::*;
    /// # diesel::table! { accounts (id) { id -> Integer, cents -> BigInt, } }
    /// # async fn pay(db: Db) -> Result<(), BatchError> {
    /// let take = diesel::update(accounts::table.find(1)).set(accounts::cents.eq(accounts::cents - 500));
    /// let give = diesel::update(accounts::table.find(2)).set(accounts::cents.eq(accounts::cents + 500));
    /// let (taken, given) = db.write_batch((batch::affected(take), batch::affected(give))).await?;
    /// assert_eq!((taken, given), (1, 1));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// As for [`Db::write`] nothing identifies what has no BEGIN: where its answer is lost after it was sent,
    /// the outcome is unknown. With `DB_COMMIT_MARKERS=true` it runs as a [`Db::transaction`], in three round
    /// trips, and is resolved as these are; so it does with [`Db::with_timeout`] and
    /// [`Db::with_search_path`], and where a part must hear of each COMMIT. In a session the question for its
    /// token is a second round trip.
    ///
    /// Where an answer cannot be read as asked (a [`batch::row`](crate::batch::row) that finds none), the
    /// error is that, and the batch is applied all the same: ask for
    /// [`batch::maybe_row`](crate::batch::maybe_row).
    ///
    /// # Errors
    /// The first statement's that failed, and which one it was;
    /// [`Error::CommitUnknown`](db_core::Error::CommitUnknown) where the answer was lost and nobody can tell
    /// what became of it.
    ///
    /// # Cancel safety
    /// Dropping the future abandons the batch, which is cancelled on the server and may have been applied,
    /// all of it.
    #[track_caller]
    pub fn write_batch<'a, B: Batch + 'a>(
        &'a self,
        batch: B,
    ) -> BoxFuture<'a, Result<B::Output, BatchError>> {
        let failed = Arc::new(Mutex::new(None));
        let at = Arc::clone(&failed);
        let transaction = self.build_transaction().batch(batch.sent_at_once());
        let running = transaction.run(async move |conn: &mut AsyncPgConnection| {
            match batch.run(conn).await {
                Ok(answers) => Ok(Ok(answers)),
                // The server has applied what cannot be read, and the batch commits, however it was sent.
                Err(error) if error.is_unreadable() => Ok(Err(error)),
                Err(error) => {
                    *at.lock().unwrap_or_else(PoisonError::into_inner) = error.statement;
                    Err(error)
                }
            }
        });
        Box::pin(async move {
            running.await.map_err(|error| {
                let failed = *failed.lock().unwrap_or_else(PoisonError::into_inner);
                BatchError::of_last_attempt(failed, error.into())
            })?
        })
    }
}
