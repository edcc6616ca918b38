//! What a test does around a COMMIT, so that it need not write out what it does not do.

use std::borrow::Cow;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use db_core::{AroundCommit, CommitOutcome, Result};
use diesel_async::{AsyncPgConnection, SimpleAsyncConnection};

/// What a test does around a COMMIT: nothing, until told otherwise. Clones do the same.
///
/// ```
/// use db_core::Part;
/// use db_testkit::{AtCommit, Proxy};
///
/// /// Each COMMIT vanishes on the way.
/// fn vanishing(proxy: Proxy) -> Part {
///     let vanish = AtCommit::default().before(move || proxy.blackhole());
///     Part::named("vanish").around_commit(move || vanish.clone())
/// }
/// # let _ = vanishing;
/// ```
#[derive(Clone, Default)]
pub struct AtCommit {
    before: Option<Arc<dyn Fn() + Send + Sync>>,
    behind: Option<Cow<'static, str>>,
}

impl AtCommit {
    /// Calls `what` right before COMMIT is sent.
    #[must_use]
    pub fn before(self, what: impl Fn() + Send + Sync + 'static) -> Self {
        AtCommit { before: Some(Arc::new(what)), ..self }
    }

    /// Sends `sql` right behind COMMIT, and does not look at what becomes of it.
    #[must_use]
    pub fn behind(self, sql: impl Into<Cow<'static, str>>) -> Self {
        AtCommit { behind: Some(sql.into()), ..self }
    }
}

type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

impl AroundCommit for AtCommit {
    fn before<'a>(&'a self, _: &'a mut AsyncPgConnection) -> Answer<'a, Result<()>> {
        if let Some(what) = &self.before {
            what();
        }
        Box::pin(async { Ok(()) })
    }

    fn sql(&self) -> Option<Cow<'_, str>> {
        None
    }

    fn alongside<'a>(&'a self, mut conn: &'a AsyncPgConnection) -> Option<Answer<'a, ()>> {
        let sql = self.behind.as_deref()?;
        Some(Box::pin(async move {
            let _ = conn.batch_execute(sql).await;
        }))
    }

    fn after<'a>(&'a self, _: Option<&'a mut AsyncPgConnection>, _: CommitOutcome) -> Answer<'a, ()> {
        Box::pin(async {})
    }
}

impl fmt::Debug for AtCommit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let does = self.before.is_some();
        f.debug_struct("AtCommit").field("before", &does).field("behind", &self.behind).finish()
    }
}
