//! Fails chosen acquires, and finds by itself which ones there are to fail.

use crate::error::TestkitError;
use db_core::{Acquire, Endpoint, Error, EvictAll, Facts, Opening, Report, Result, Site};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// More acquires than any scenario should make.
const MOST_RUNS: u64 = 10_000;

/// Wraps a place where connections come from and fails the acquires it is told to.
///
/// Clones share what is to fail and what has been counted.
#[derive(Clone)]
pub struct Faulty<A> {
    inner: A,
    state: Arc<Mutex<State>>,
}

type Make = Arc<dyn Fn() -> Error + Send + Sync>;

#[derive(Default)]
struct State {
    acquires: u64,
    failures: u64,
    /// The first and the last acquire to fail, counted from 1.
    failing: Option<(u64, u64, Make)>,
}

impl<A> Faulty<A> {
    /// Wraps `inner`; nothing fails yet.
    pub fn new(inner: A) -> Self {
        Self { inner, state: Arc::default() }
    }

    /// Fails the `nth` acquire from now (1 is the next one), with an error that `make` builds.
    pub fn fail_nth(&self, nth: u64, make: impl Fn() -> Error + Send + Sync + 'static) {
        self.fail(nth, nth, Arc::new(make));
    }

    /// Fails the `nth` acquire from now and all that follow, until [`heal`](Self::heal).
    pub fn fail_from(&self, nth: u64, make: impl Fn() -> Error + Send + Sync + 'static) {
        self.fail(nth, u64::MAX, Arc::new(make));
    }

    /// Fails no more acquires.
    pub fn heal(&self) {
        self.state().failing = None;
    }

    /// How often a connection was asked for.
    #[must_use]
    pub fn acquires(&self) -> u64 {
        self.state().acquires
    }

    /// How many of these failed because they were told to.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.state().failures
    }

    /// What is wrapped.
    pub fn inner(&self) -> &A {
        &self.inner
    }

    fn fail(&self, first: u64, last: u64, make: Make) {
        let mut state = self.state();
        let from_now = |nth: u64| state.acquires.saturating_add(nth.max(1));
        state.failing = Some((from_now(first), from_now(last), make));
    }

    fn next_failure(&self) -> Option<Error> {
        let make = {
            let mut state = self.state();
            state.acquires += 1;
            let now = state.acquires;
            let (_, _, make) =
                state.failing.as_ref().filter(|(first, last, _)| (*first..=*last).contains(&now))?;
            let make = Arc::clone(make);
            state.failures += 1;
            make
        };
        Some(make())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<A: Acquire> Acquire for Faulty<A> {
    type Conn = A::Conn;

    async fn acquire_at(&self, site: Site) -> Result<Self::Conn> {
        match self.next_failure() {
            Some(error) => Err(error),
            None => self.inner.acquire_at(site).await,
        }
    }

    fn endpoint(&self) -> Option<&Endpoint> {
        self.inner.endpoint()
    }

    fn facts(&self, conn: &Self::Conn) -> Facts {
        self.inner.facts(conn)
    }

    fn report(&self, conn: &mut Self::Conn, what: Report) {
        self.inner.report(conn, what);
    }

    fn begin_with(&self, conn: &mut Self::Conn, opening: &Opening) -> bool {
        self.inner.begin_with(conn, opening)
    }

    fn server_down(&self, conn: &Self::Conn) -> impl Future<Output = ()> + Send + use<A> {
        self.inner.server_down(conn)
    }
}

impl<A: EvictAll> EvictAll for Faulty<A> {
    fn evict_all(&self) {
        self.inner.evict_all();
    }
}

impl<A: fmt::Debug> fmt::Debug for Faulty<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        f.debug_struct("Faulty")
            .field("inner", &self.inner)
            .field("acquires", &state.acquires)
            .field("failures", &state.failures)
            .field("failing", &state.failing.as_ref().map(|(first, last, _)| first..=last))
            .finish()
    }
}

/// Runs a scenario again and again, failing its 1st, 2nd, … nth acquire, until a run meets no failure;
/// returns how many runs that took, the clean one included.
///
/// The scenario asserts what must hold whatever failed: data is whole, the caller got an error or a right
/// answer, nothing leaked. [`Faulty::failures`] tells it whether the failure was met. Each run must start
/// from the same state.
///
/// # Errors
/// When ten thousand runs all met a failure.
pub async fn fail_each<A: Acquire + Clone>(
    inner: A,
    make: impl Fn() -> Error + Send + Sync + 'static,
    scenario: impl AsyncFnMut(Faulty<A>),
) -> Result<u64, TestkitError> {
    each(inner, Arc::new(make), scenario, |nth| nth).await
}

/// As [`fail_each`], but every acquire after the nth fails too: the server is gone, not hiccuping.
///
/// # Errors
/// When ten thousand runs all met a failure.
pub async fn fail_from_each<A: Acquire + Clone>(
    inner: A,
    make: impl Fn() -> Error + Send + Sync + 'static,
    scenario: impl AsyncFnMut(Faulty<A>),
) -> Result<u64, TestkitError> {
    each(inner, Arc::new(make), scenario, |_| u64::MAX).await
}

async fn each<A: Acquire + Clone>(
    inner: A,
    make: Make,
    mut scenario: impl AsyncFnMut(Faulty<A>),
    last: impl Fn(u64) -> u64,
) -> Result<u64, TestkitError> {
    for nth in 1..=MOST_RUNS {
        let faulty = Faulty::new(inner.clone());
        faulty.fail(nth, last(nth), Arc::clone(&make));
        let counts = Arc::clone(&faulty.state);
        scenario(faulty).await;
        if counts.lock().unwrap_or_else(PoisonError::into_inner).failures == 0 {
            return Ok(nth);
        }
    }
    Err(TestkitError::Endless {
        what: "the scenario whose acquires fail one by one",
        times: MOST_RUNS as usize,
    })
}
