//! Several hooks around one COMMIT, as one: in order before it, in one flush with it, in reverse after it.
//!
//! A hook is foreign code: one that panics is left out from there on, and changes no outcome. An error of
//! [`AroundCommit::before`] is no panic: it says that the transaction must not commit.

use std::borrow::Cow;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use db_core::{AroundCommit, CommitOutcome, Result, foreign};
use diesel_async::AsyncPgConnection;
use tokio::time::timeout;

type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// How long each hook may take after the outcome is known: the caller waits for it.
const AFTER: Duration = Duration::from_secs(1);

/// Several hooks around one COMMIT, as one.
///
/// ```
/// use db_core::AroundCommit;
/// use db_retry::CommitHooks;
///
/// let hooks = CommitHooks::new([("nothing", &() as &dyn AroundCommit)]);
/// assert_eq!(hooks.sql(), None);
/// ```
#[derive(Default)]
pub struct CommitHooks<'a> {
    hooks: Vec<(&'static str, &'a dyn AroundCommit)>,
}

impl<'a> CommitHooks<'a> {
    /// These hooks in this order, each with the name that logs give it.
    pub fn new(hooks: impl IntoIterator<Item = (&'static str, &'a dyn AroundCommit)>) -> Self {
        CommitHooks { hooks: hooks.into_iter().collect() }
    }
}

impl AroundCommit for CommitHooks<'_> {
    fn before<'a>(&'a self, conn: &'a mut AsyncPgConnection) -> Answer<'a, Result<()>> {
        Box::pin(async move {
            for (name, hook) in &self.hooks {
                let Some(before) = called(name, || hook.before(&mut *conn)) else { continue };
                caught(name, before).await.unwrap_or(Ok(()))?;
            }
            Ok(())
        })
    }

    fn sql(&self) -> Option<Cow<'_, str>> {
        let mut all: Option<Cow<'_, str>> = None;
        for (name, hook) in &self.hooks {
            let Some(sql) = called(name, || hook.sql()).flatten() else { continue };
            all = Some(match all {
                None => sql,
                // A comment in its last line must not swallow the next one.
                Some(before) => Cow::Owned(format!("{before}\n; {sql}")),
            });
        }
        all
    }

    fn alongside<'a>(&'a self, conn: &'a AsyncPgConnection) -> Option<Answer<'a, ()>> {
        let hooks = self.hooks.iter();
        let mut running: Vec<_> = hooks
            .filter_map(|(name, hook)| Some((*name, called(name, || hook.alongside(conn)).flatten()?)))
            .collect();
        if running.is_empty() {
            return None;
        }
        Some(Box::pin(poll_fn(move |context| {
            running.retain_mut(|(name, hook)| match foreign::poll(hook.as_mut(), context) {
                Poll::Pending => true,
                Poll::Ready(answer) => answer.or_else(|| said(name)).is_some_and(|()| false),
            });
            if running.is_empty() { Poll::Ready(()) } else { Poll::Pending }
        })))
    }

    fn after<'a>(
        &'a self,
        mut conn: Option<&'a mut AsyncPgConnection>,
        outcome: CommitOutcome,
    ) -> Answer<'a, ()> {
        Box::pin(async move {
            for (name, hook) in self.hooks.iter().rev() {
                let Some(after) = called(name, || hook.after(conn.as_deref_mut(), outcome)) else { continue };
                if timeout(AFTER, caught(name, after)).await.is_err() {
                    tracing::warn!(hook = name, "a hook after COMMIT took too long and was dropped");
                    // It may have left a statement under way: the others do without the connection.
                    conn = None;
                }
            }
        })
    }
}

/// What a hook answers; none where it panics.
fn called<T>(name: &str, hook: impl FnOnce() -> T) -> Option<T> {
    foreign::call(hook).or_else(|| said(name))
}

/// What a hook's future answers; none where it panics.
async fn caught<T>(name: &str, hook: Answer<'_, T>) -> Option<T> {
    foreign::run(hook).await.or_else(|| said(name))
}

fn said<T>(name: &str) -> Option<T> {
    tracing::error!(hook = name, "a hook around COMMIT panicked: the transaction goes on without it");
    None
}
