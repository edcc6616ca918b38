//! Learns where one transaction of a session was committed.
//!
//! The token is read by a statement that goes out in the flush that carries COMMIT, right behind it: the
//! server runs the two in order, so the token covers the transaction and costs no round trip.

use std::borrow::Cow;
use std::mem;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use db_core::{AroundCommit, CommitOutcome, Result};
use diesel_async::AsyncPgConnection;

use crate::session::Session;
use crate::token::Token;

/// Learns where one transaction of a session was committed; made by [`Session::commit`].
///
/// Make one for each transaction, and use it for all attempts at it. Dropped while a COMMIT is under way, it
/// leaves the session without a token, since the transaction may have committed all the same.
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
    /// This is the answer to a question that was asked then; none where the server does not tell.
    Answered(Option<Token>, SystemTime),
}

/// How long a question of its own may take, where the one behind COMMIT got no answer.
const PATIENCE: Duration = Duration::from_millis(500);

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
        let asked = SystemTime::now();
        Some(Box::pin(async move {
            match Token::read(conn).await {
                Ok(token) => *self.state() = State::Answered(token, asked),
                Err(error) if error.report().is_some() => {
                    tracing::debug!(%error, "the server tells no position: the session remembers the moment");
                    *self.state() = State::Answered(None, asked);
                }
                // It was lost with the answer to COMMIT.
                Err(_) => {}
            }
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
            (CommitOutcome::Committed, State::Answered(Some(token), asked)) => {
                self.session.wrote(token, asked)
            }
            (CommitOutcome::Unknown, _) | (CommitOutcome::Committed, State::Answered(None, _)) => {
                self.session.forget();
            }
            (CommitOutcome::Committed, State::Sent | State::NotSent) => {
                // Whoever gives up while the answer is under way has written all the same.
                self.session.forget();
                return Box::pin(async move {
                    let (Some(conn), asked) = (conn, SystemTime::now()) else { return };
                    if let Ok(Ok(Some(token))) = tokio::time::timeout(PATIENCE, Token::read(conn)).await {
                        self.session.wrote(token, asked);
                    }
                });
            }
        }
        Box::pin(async {})
    }

    fn before<'a>(
        &'a self,
        _: &'a mut AsyncPgConnection,
    ) -> Pin<Box<dyn Future<Output = Result<()>> + Send + 'a>> {
        Box::pin(async { Ok(()) })
    }

    fn sql(&self) -> Option<Cow<'_, str>> {
        None
    }
}

impl Drop for SessionCommit {
    fn drop(&mut self) {
        if *self.state() != State::NotSent {
            self.session.forget();
        }
    }
}
