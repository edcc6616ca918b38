//! Something that happens right before COMMIT is sent.

use std::borrow::Cow;
use std::pin::Pin;
use std::sync::Arc;

use db_core::{AroundCommit, CommitOutcome, Part, Result};
use diesel_async::AsyncPgConnection;

type Nothing<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// Runs what it holds right before COMMIT is sent, and does nothing else: a fault at the moment that matters
/// most.
///
/// ```
/// use db_testkit::AtCommit;
///
/// let around = AtCommit(|| println!("now the network goes"));
/// # let _ = around;
/// ```
pub struct AtCommit<F>(pub F);

/// A part of a service whose every transaction runs `what` right before its COMMIT is sent.
pub fn at_commit(what: impl Fn() + Send + Sync + 'static) -> Part {
    let what = Arc::new(what);
    Part::named("at commit").around_commit(move || {
        let what = Arc::clone(&what);
        AtCommit(move || what())
    })
}

impl<F: Fn() + Send + Sync> AroundCommit for AtCommit<F> {
    fn before<'a>(
        &'a self,
        _: &'a mut AsyncPgConnection,
    ) -> Pin<Box<dyn Future<Output = Result<()>> + Send + 'a>> {
        (self.0)();
        Box::pin(async { Ok(()) })
    }

    fn sql(&self) -> Option<Cow<'_, str>> {
        None
    }

    fn alongside<'a>(&'a self, _: &'a AsyncPgConnection) -> Option<Nothing<'a>> {
        None
    }

    fn after<'a>(&'a self, _: Option<&'a mut AsyncPgConnection>, _: CommitOutcome) -> Nothing<'a> {
        Box::pin(async {})
    }
}
