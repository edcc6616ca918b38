//! Learns where one transaction of a session was committed.
//!
//! The token is read by a statement that goes out in the flush that carries COMMIT, right behind it: the server runs the
//! two in order, so the token covers the transaction and costs no round trip.

use std::mem;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};

use db_core::{AroundCommit, CommitOutcome};
use diesel_async::AsyncPgConnection;

use crate::session::Session;
use crate::token::Token;

/// Learns where one transaction of a session was committed; made by [`Session::commit`].
///
/// Make one for each transaction, and use it for all attempts at it. Dropped while a COMMIT is under way, it leaves the
/// session without a token, since the transaction may have committed all the same.
#[derive(Debug)]
pub struct SessionCommit {
    session: Session,
    state: Mutex<State>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    NotSent,
    /// COMMIT is under way, and the question for the token behind it.
    Sent,
    /// The question was answered; none where the server does not tell.
    Answered(Option<Token>),
}

impl SessionCommit {
    pub(crate) fn of(session: Session) -> Self {
        SessionCommit { session, state: Mutex::new(State::NotSent) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AroundCommit for SessionCommit {
    fn alongside<'a>(
        &'a self,
        conn: &'a AsyncPgConnection,
    ) -> Option<Pin<Box<dyn Future<Output = ()> + Send + 'a>>> {
        *self.state() = State::Sent;
        Some(Box::pin(async move {
            let read = Token::read(conn).await.inspect_err(|error| {
                tracing::debug!(%error, "no token came with a commit: the session reads from the primary for a while");
            });
            *self.state() = State::Answered(read.unwrap_or_default());
        }))
    }

    fn after<'a>(
        &'a self,
        conn: Option<&'a mut AsyncPgConnection>,
        outcome: CommitOutcome,
    ) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        let state = mem::replace(&mut *self.state(), State::NotSent);
        match (outcome, state) {
            (CommitOutcome::RolledBack, _) => {}
            (CommitOutcome::Committed, State::Answered(Some(token))) => self.session.wrote(token),
            (CommitOutcome::Unknown, _) | (CommitOutcome::Committed, State::Answered(None)) => {
                self.session.forget()
            }
            // Its answer was lost with that of COMMIT, or nobody asked.
            (CommitOutcome::Committed, State::Sent | State::NotSent) => {
                // Whoever gives up while the answer is under way has written all the same.
                self.session.forget();
                return Box::pin(async move {
                    let Some(conn) = conn else { return };
                    if let Ok(Some(token)) = Token::read(conn).await {
                        self.session.wrote(token);
                    }
                });
            }
        }
        Box::pin(async {})
    }
}

impl Drop for SessionCommit {
    fn drop(&mut self) {
        if *self.state() != State::NotSent {
            self.session.forget();
        }
    }
}
