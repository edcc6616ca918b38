//! What one caller has written, so that its reads see it.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use db_core::{AroundCommit, CommitOutcome};
use diesel_async::AsyncPgConnection;

use crate::freshness::Freshness;
use crate::token::Token;

tokio::task_local! {
    static CURRENT: Session;
}

/// What one caller has written: its reads go to standbys that have it, else to the primary.
///
/// Cheap to clone; clones are the same session. As an [`AroundCommit`] it reads a [`Token`] after each COMMIT. Between two
/// requests it travels as that token's text.
#[derive(Debug, Clone, Default)]
pub struct Session {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Clone, Copy, Default)]
struct State {
    token: Option<Token>,
    /// A commit whose position is not known: only the primary surely has it.
    untold: bool,
}

impl Session {
    /// A session that has written nothing.
    pub fn new() -> Self {
        Session::default()
    }

    /// A session that goes on from a token.
    pub fn resume(token: Token) -> Self {
        let session = Session::new();
        session.merge(token);
        session
    }

    /// What it has written so far, where that is known.
    pub fn token(&self) -> Option<Token> {
        self.state().token
    }

    /// Adds what another session has written, or the same one elsewhere: its reads see that, too.
    pub fn merge(&self, token: Token) {
        let mut state = self.state();
        state.token = Some(state.token.map_or(token, |own| own.merge(token)));
    }

    /// Something was written and no token tells where: reads go to the primary until one does.
    pub fn forget(&self) {
        self.state().untold = true;
    }

    /// How fresh the answer to its next read must be.
    pub fn freshness(&self) -> Freshness {
        match *self.state() {
            State { untold: true, .. } => Freshness::Primary,
            State { token: Some(token), .. } => Freshness::AtLeast(token),
            State { token: None, .. } => Freshness::Default,
        }
    }

    /// Runs `future` with this session as the [current](Session::current) one of its task.
    ///
    /// A task that is spawned in it does not inherit it.
    ///
    /// # Cancel safety
    /// That of `future`.
    pub async fn scope<F: Future>(self, future: F) -> F::Output {
        CURRENT.scope(self, future).await
    }

    /// The same for what runs now.
    #[cfg(feature = "tower")]
    pub(crate) fn sync_scope<T>(self, work: impl FnOnce() -> T) -> T {
        CURRENT.sync_scope(self, work)
    }

    /// The session that this task runs in, where it runs in one.
    pub fn current() -> Option<Session> {
        CURRENT.try_with(Session::clone).ok()
    }

    /// Takes in a token that was read after a commit: it covers every earlier commit of the session, on whatever connection.
    fn wrote(&self, token: Option<Token>) {
        let Some(token) = token else { return self.forget() };
        let mut state = self.state();
        // A token of another cluster says nothing of this one.
        let own = state.token.filter(|own| own.system == token.system);
        *state = State { token: Some(own.map_or(token, |own| own.merge(token))), untold: false };
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AroundCommit for Session {
    fn after<'a>(
        &'a self,
        conn: Option<&'a mut AsyncPgConnection>,
        outcome: CommitOutcome,
    ) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        Box::pin(async move {
            match outcome {
                CommitOutcome::RolledBack => {}
                CommitOutcome::Unknown => self.forget(),
                CommitOutcome::Committed => {
                    // Whoever gives up while the answer is under way has written all the same.
                    self.forget();
                    let Some(conn) = conn else { return };
                    let read = Token::read(conn).await.inspect_err(|error| {
                        tracing::debug!(%error, "no token after a commit: the session reads from the primary");
                    });
                    self.wrote(read.unwrap_or_default());
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use db_core::Lsn;

    fn token(system: u64, position: u64) -> Token {
        Token { system, timeline: 1, position: Lsn(position) }
    }

    #[test]
    fn a_session_asks_for_what_it_has_written() {
        let session = Session::new();
        assert_eq!(session.freshness(), Freshness::Default);
        session.wrote(Some(token(7, 10)));
        session.merge(token(7, 5));
        assert_eq!(session.clone().freshness(), Freshness::AtLeast(token(7, 10)));
        session.wrote(None);
        assert_eq!(session.freshness(), Freshness::Primary, "where it wrote is not known");
        session.merge(token(7, 90));
        assert_eq!(session.freshness(), Freshness::Primary, "a token from elsewhere does not tell");
        session.wrote(Some(token(7, 20)));
        assert_eq!(session.freshness(), Freshness::AtLeast(token(7, 90)));
    }

    #[test]
    fn what_is_written_here_replaces_a_token_of_another_cluster() {
        let session = Session::resume(token(8, 90));
        session.wrote(Some(token(7, 10)));
        assert_eq!(session.token(), Some(token(7, 10)));
    }

    #[tokio::test]
    async fn a_scope_carries_its_session_and_ends() {
        let session = Session::resume(token(7, 10));
        session.scope(async { assert_eq!(Session::current().unwrap().token(), Some(token(7, 10))) }).await;
        assert!(Session::current().is_none());
    }
}
