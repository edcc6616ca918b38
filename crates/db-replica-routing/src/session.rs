//! What one caller has written, so that its reads see it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use tokio::task::JoinHandle;

use crate::freshness::Freshness;
use crate::session_commit::SessionCommit;
use crate::token::Token;
use crate::written::Written;

tokio::task_local! {
    static CURRENT: Session;
}

static SCOPES: AtomicBool = AtomicBool::new(false);

/// What one caller has written: its reads go to standbys that have it, else to the primary.
///
/// Cheap to clone; clones are the same session. Each of its transactions is run with a [`SessionCommit`],
/// which reads a [`Token`] along with COMMIT. Between two requests it travels as [`Written`].
#[derive(Debug, Clone, Default)]
pub struct Session {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Clone, Copy, Default)]
struct State {
    token: Option<Token>,
    /// When something was written last whose position is not known. What the token stands for was written
    /// before.
    untold: Option<SystemTime>,
    /// What it was resumed with.
    brought: Option<Written>,
    /// Whether anything was written that this process may not have written itself.
    elsewhere: bool,
    /// How often something was written, by whoever.
    writes: u64,
    /// What this process knows of itself, whatever was brought.
    own: Own,
}

/// What was written in this process. What a request brings may be forged, and must not reach other requests.
#[derive(Debug, Clone, Copy, Default)]
struct Own {
    /// The position, and when the last one was asked for.
    token: Option<(Token, SystemTime)>,
    /// When something was written last whose position is not known.
    untold: Option<SystemTime>,
}

impl State {
    fn written(&self) -> Option<Written> {
        self.untold.map(Written::Before).or(self.token.map(Written::UpTo))
    }
}

impl Session {
    /// A session that has written nothing.
    pub fn new() -> Self {
        Session::default()
    }

    /// A session that goes on from what it wrote elsewhere.
    pub fn resume(written: Written) -> Self {
        let mut state = State { brought: Some(written), elsewhere: true, ..State::default() };
        match written {
            Written::UpTo(token) => state.token = Some(token),
            Written::Before(moment) => state.untold = Some(moment),
        }
        Session { state: Arc::new(Mutex::new(state)) }
    }

    /// The same from a text, as [`Written`] prints it. One that cannot be read may be another version's of
    /// this crate: what was written is not known then, and was written before now.
    pub fn parse(text: &str) -> Self {
        text.parse().map_or_else(
            |_| {
                let session = Session::new();
                session.forget();
                session
            },
            Session::resume,
        )
    }

    /// What it has written so far, as it travels; none where it has written nothing.
    pub fn written(&self) -> Option<Written> {
        self.state().written()
    }

    /// The same, where it has written anything since it was resumed.
    pub fn news(&self) -> Option<Written> {
        let state = self.state();
        state.written().filter(|written| state.brought != Some(*written))
    }

    /// The position of what it has written so far, where that is known.
    pub fn token(&self) -> Option<Token> {
        let state = self.state();
        state.token.filter(|_| state.untold.is_none())
    }

    /// How often it was told of a write: by a commit of its own, by [`forget`](Session::forget) or by
    /// [`merge`](Session::merge). What was read before the number went up may be older than that write.
    pub fn writes(&self) -> u64 {
        self.state().writes
    }

    /// Adds what another session has written, or the same one elsewhere: its reads see that, too.
    pub fn merge(&self, written: Written) {
        let mut state = self.state();
        state.elsewhere = true;
        state.writes += 1;
        match (written, state.untold) {
            (Written::UpTo(token), None) => {
                state.token = Some(state.token.map_or(token, |own| own.merge(token)));
            }
            // A position and a moment do not compare; both were before now.
            (Written::UpTo(_), Some(_)) => state.untold = Some(SystemTime::now()),
            (Written::Before(_), None) if state.token.is_some() => state.untold = Some(SystemTime::now()),
            (Written::Before(moment), own) => state.untold = own.max(Some(moment)),
        }
    }

    /// Adds what another session has written in this process, and nothing that it was resumed with.
    pub(crate) fn hear(&self, other: &Session) {
        let heard = other.state().own;
        if let Some((token, asked)) = heard.token {
            self.wrote(token, asked);
        }
        let Some(untold) = heard.untold else { return };
        let mut state = self.state();
        // A token that was asked for since stands for it.
        if state.own.token.is_none_or(|(_, asked)| untold > asked) {
            state.writes += 1;
            state.untold = state.untold.max(Some(untold));
            state.own.untold = state.own.untold.max(Some(untold));
        }
    }

    /// Whether both are the same session.
    pub fn is(&self, other: &Session) -> bool {
        Arc::ptr_eq(&self.state, &other.state)
    }

    /// A session that has to see what both have.
    pub(crate) fn with(&self, other: &Session) -> Session {
        let both = Session { state: Arc::new(Mutex::new(*self.state())) };
        both.hear(other);
        both
    }

    /// Something was written and no token tells where: reads go to the primary until a standby surely has it.
    pub fn forget(&self) {
        let mut state = self.state();
        state.untold = Some(SystemTime::now());
        state.own.untold = state.untold;
        state.elsewhere = true;
        state.writes += 1;
    }

    /// Whether it may hold what this process has not written in a transaction of its own: it was resumed, or
    /// another was merged into it, or something was written past it ([`Session::forget`]).
    pub fn has_written_elsewhere(&self) -> bool {
        self.state().elsewhere
    }

    /// How fresh the answer to its next read must be.
    pub fn freshness(&self) -> Freshness {
        self.written().map_or(Freshness::Default, Written::freshness)
    }

    /// What reads a token along with the COMMIT of one transaction: hand it to whatever commits.
    pub fn commit(&self) -> SessionCommit {
        SessionCommit::of(self.clone())
    }

    /// Runs `future` with this session as the [current](Session::current) one of its task.
    ///
    /// A task that is spawned in it does not inherit it: use [`Session::spawn`], or [`Session::carry`] with
    /// whatever spawns.
    ///
    /// # Cancel safety
    /// That of `future`.
    pub async fn scope<F: Future>(self, future: F) -> F::Output {
        SCOPES.store(true, Ordering::Relaxed);
        CURRENT.scope(self, future).await
    }

    /// `future` in the [current](Session::current) session of the task that calls this; as it is where there
    /// is none.
    ///
    /// ```
    /// # async fn send_mail() {}
    /// # async fn answer() {
    /// let mut tasks = tokio::task::JoinSet::new();
    /// tasks.spawn(db_replica_routing::Session::carry(send_mail()));
    /// # }
    /// ```
    ///
    /// # Cancel safety
    /// That of `future`.
    pub fn carry<F: Future>(future: F) -> impl Future<Output = F::Output> {
        let session = Session::current();
        async move {
            match session {
                Some(session) => session.scope(future).await,
                None => future.await,
            }
        }
    }

    /// Spawns a task that stays in the [current](Session::current) session: what it writes is seen by the
    /// request that spawned it, and the other way round.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        tokio::spawn(Session::carry(future))
    }

    /// Whether any scope was ever opened in this process. Where one was, a write outside of all scopes may be
    /// one that a session lost: in a task that was spawned without [`Session::spawn`].
    pub fn has_scopes() -> bool {
        AtomicBool::load(&SCOPES, Ordering::Relaxed)
    }

    /// The same for what runs now.
    #[cfg(feature = "tower")]
    pub(crate) fn sync_scope<T>(self, work: impl FnOnce() -> T) -> T {
        SCOPES.store(true, Ordering::Relaxed);
        CURRENT.sync_scope(self, work)
    }

    /// The session that this task runs in, where it runs in one.
    pub fn current() -> Option<Session> {
        CURRENT.try_with(Session::clone).ok()
    }

    /// What it was resumed with.
    #[cfg(feature = "redis")]
    pub(crate) fn brought(&self) -> Option<Written> {
        self.state().brought
    }

    /// Takes in a token that was asked for then, after a commit: it covers every commit that ended before, on
    /// whatever connection.
    pub(crate) fn wrote(&self, token: Token, asked: SystemTime) {
        let mut state = self.state();
        state.writes += 1;
        // A token of another cluster says nothing of this one.
        let own = state.token.filter(|own| own.system == token.system);
        state.token = Some(own.map_or(token, |own| own.merge(token)));
        // What was given up on since may have been committed later. This commit was before now.
        let later = |untold: Option<SystemTime>| untold.filter(|untold| *untold > asked);
        state.untold = later(state.untold).map(|_| SystemTime::now());
        let own = state.own.token.filter(|(own, _)| own.system == token.system);
        let (merged, last) = own.map_or((token, asked), |(own, last)| (own.merge(token), last.max(asked)));
        state.own = Own { token: Some((merged, last)), untold: later(state.own.untold) };
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use db_core::Lsn;

    fn token(system: u64, position: u64) -> Token {
        Token { system, timeline: 1, position: Lsn(position) }
    }

    fn wrote(session: &Session, token: Token) {
        session.wrote(token, SystemTime::now());
    }

    /// Its COMMIT may have reached the server after the question.
    #[test]
    fn a_token_does_not_stand_for_what_was_given_up_on_after_it_was_asked_for() {
        let (session, asked) = (Session::new(), SystemTime::now());
        session.forget();
        session.wrote(token(7, 10), asked);
        assert_eq!(session.token(), None);
        wrote(&session, token(7, 20));
        assert_eq!(session.token(), Some(token(7, 20)));
    }

    #[test]
    fn a_session_asks_for_what_it_has_written() {
        let session = Session::new();
        assert_eq!(session.freshness(), Freshness::Default);
        wrote(&session, token(7, 10));
        session.merge(Written::UpTo(token(7, 5)));
        assert_eq!(session.clone().freshness(), Freshness::AtLeast(token(7, 10)));
        let before = SystemTime::now();
        session.forget();
        let since = |session: &Session| match session.freshness() {
            Freshness::Since(moment) => moment,
            other => panic!("{other:?}"),
        };
        let forgot = since(&session);
        assert!(forgot >= before, "where it wrote is not known");
        assert_eq!((session.token(), session.written()), (None, Some(Written::Before(forgot))));
        session.merge(Written::UpTo(token(7, 90)));
        assert!(since(&session) >= forgot, "a token from elsewhere does not tell, and is not lost");
        wrote(&session, token(7, 20));
        assert_eq!(session.freshness(), Freshness::AtLeast(token(7, 20)));
    }

    #[test]
    fn a_session_counts_what_it_is_told_of() {
        let session = Session::resume(Written::UpTo(token(7, 10)));
        assert_eq!(session.writes(), 0, "it was written elsewhere, before this session read anything");
        wrote(&session, token(7, 20));
        session.forget();
        session.clone().merge(Written::UpTo(token(7, 5)));
        assert_eq!(session.writes(), 3);
    }

    #[test]
    fn what_is_written_here_replaces_a_token_of_another_cluster() {
        let session = Session::resume(Written::UpTo(token(8, 90)));
        wrote(&session, token(7, 10));
        assert_eq!(session.token(), Some(token(7, 10)));
    }

    #[test]
    fn a_session_goes_on_from_what_it_wrote_elsewhere() {
        for written in [Written::UpTo(token(7, 10)), Written::Before(SystemTime::now())] {
            let session = Session::resume(written);
            assert_eq!((session.written(), session.news()), (Some(written), None));
            wrote(&session, token(7, 20));
            assert_eq!(session.news(), Some(Written::UpTo(token(7, 20))));
        }
    }

    #[tokio::test]
    async fn a_scope_carries_its_session_and_ends() {
        let session = Session::resume(Written::UpTo(token(7, 10)));
        session.scope(async { assert_eq!(Session::current().unwrap().token(), Some(token(7, 10))) }).await;
        assert!(Session::current().is_none() && Session::has_scopes());
    }

    #[tokio::test]
    async fn a_task_that_is_spawned_in_a_scope_writes_for_its_session_where_it_is_carried() {
        let session = Session::new();
        let writes = || async {
            Session::current().inspect(|session| wrote(session, token(7, 10)));
        };
        session.clone().scope(async move { tokio::spawn(writes()).await.unwrap() }).await;
        assert_eq!(session.token(), None, "tokio knows nothing of it");
        session.clone().scope(async move { Session::spawn(writes()).await.unwrap() }).await;
        assert_eq!(session.token(), Some(token(7, 10)));
        Session::spawn(writes()).await.unwrap();
    }
}
