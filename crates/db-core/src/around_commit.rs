//! What must happen before COMMIT is sent, along with it, and after its outcome is known.

use std::borrow::Cow;
use std::pin::Pin;

use diesel_async::AsyncPgConnection;

use crate::Result;

/// How a COMMIT ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CommitOutcome {
    /// It committed: the server said so, or was asked again after the answer was lost.
    Committed,
    /// The transaction was rolled back.
    RolledBack,
    /// The answer was lost, and what became of the transaction could not be found out.
    Unknown,
}

/// What must happen around a COMMIT: a read-your-writes token, a cache's mark and bump.
///
/// One value for each transaction, whose state it holds. The retry layer calls it once per attempt, on the
/// connection of the transaction. No method has a default: several hooks are called as one, and a wrapper
/// that forgot to pass one on would lose it without a word.
///
/// ```
/// use std::borrow::Cow;
/// use std::pin::Pin;
///
/// use db_core::{AroundCommit, CommitOutcome, Result};
/// use diesel_async::AsyncPgConnection;
///
/// type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
///
/// /// Tells whoever listens that the prices changed, if the transaction commits.
/// struct PricesChanged;
///
/// impl AroundCommit for PricesChanged {
///     fn before<'a>(&'a self, _: &'a mut AsyncPgConnection) -> Answer<'a, Result<()>> {
///         Box::pin(async { Ok(()) })
///     }
///
///     fn sql(&self) -> Option<Cow<'_, str>> {
///         Some("SELECT pg_notify('prices', '')".into())
///     }
///
///     fn alongside<'a>(&'a self, _: &'a AsyncPgConnection) -> Option<Answer<'a, ()>> {
///         None
///     }
///
///     fn after<'a>(&'a self, _: Option<&'a mut AsyncPgConnection>, _: CommitOutcome) -> Answer<'a, ()> {
///         Box::pin(async {})
///     }
/// }
/// ```
pub trait AroundCommit: Send + Sync {
    /// Runs inside the transaction, after the work and before COMMIT is sent.
    ///
    /// # Errors
    /// An error rolls the transaction back and is returned in place of the work's result.
    fn before<'a>(
        &'a self,
        conn: &'a mut AsyncPgConnection,
    ) -> Pin<Box<dyn Future<Output = Result<()>> + Send + 'a>>;

    /// SQL that travels in COMMIT's own message, inside the transaction and right before its end: it costs no
    /// round trip.
    ///
    /// Several statements are separated by semicolons. They must not end the transaction, and their rows are
    /// not read. One that fails fails the COMMIT, and the transaction is rolled back.
    fn sql(&self) -> Option<Cow<'_, str>>;

    /// Runs along with COMMIT: what it sends first goes out in the same flush, right behind COMMIT, and the
    /// server runs it after COMMIT, outside the transaction. It costs no round trip.
    ///
    /// Use `&mut &*conn` where diesel wants a `&mut` connection. Its first statement must be one that the
    /// connection has prepared before (a query type with a static id, or `batch_execute`), or it takes a
    /// round trip to prepare. It also runs where COMMIT fails: whatever it learns counts only once
    /// [`AroundCommit::after`] says [`CommitOutcome::Committed`], and its own failure must be no error. Where
    /// the answer was lost it is dropped half-way, and `after` may have to ask again.
    fn alongside<'a>(
        &'a self,
        conn: &'a AsyncPgConnection,
    ) -> Option<Pin<Box<dyn Future<Output = ()> + Send + 'a>>>;

    /// Runs after the outcome is known.
    ///
    /// The connection is that of the transaction. Where the answer to COMMIT was lost it is the one on which
    /// the outcome was found out, or none, and it is outside of any transaction.
    fn after<'a>(
        &'a self,
        conn: Option<&'a mut AsyncPgConnection>,
        outcome: CommitOutcome,
    ) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>>;
}

/// Nothing happens around the COMMIT.
impl AroundCommit for () {
    fn before<'a>(
        &'a self,
        _: &'a mut AsyncPgConnection,
    ) -> Pin<Box<dyn Future<Output = Result<()>> + Send + 'a>> {
        Box::pin(async { Ok(()) })
    }

    fn sql(&self) -> Option<Cow<'_, str>> {
        None
    }

    fn alongside<'a>(
        &'a self,
        _: &'a AsyncPgConnection,
    ) -> Option<Pin<Box<dyn Future<Output = ()> + Send + 'a>>> {
        None
    }

    fn after<'a>(
        &'a self,
        _: Option<&'a mut AsyncPgConnection>,
        _: CommitOutcome,
    ) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        Box::pin(async {})
    }
}

/// A wrapper that forgets one method does not compile: the same program with and without each.
#[cfg(doctest)]
mod forgotten {
    macro_rules! wrapper {
        ($name:ident: $outcome:literal, $($method:literal)*) => {
            #[doc = concat!(
                "```", $outcome, "\n",
                "use std::{borrow::Cow, pin::Pin};\n",
                "use db_core::{AroundCommit, CommitOutcome, Result};\n",
                "use diesel_async::AsyncPgConnection as Conn;\n",
                "type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;\n",
                "struct Wrapper<A>(A);\n",
                "impl<A: AroundCommit> AroundCommit for Wrapper<A> {\n",
                $($method, "\n",)*
                "}\n```"
            )]
            struct $name;
        };
    }
    wrapper!(Whole: "",
        "fn before<'a>(&'a self, conn: &'a mut Conn) -> Answer<'a, Result<()>> { self.0.before(conn) }"
        "fn sql(&self) -> Option<Cow<'_, str>> { self.0.sql() }"
        "fn alongside<'a>(&'a self, conn: &'a Conn) -> Option<Answer<'a, ()>> { self.0.alongside(conn) }"
        "fn after<'a>(&'a self, conn: Option<&'a mut Conn>, outcome: CommitOutcome) -> Answer<'a, ()> { self.0.after(conn, outcome) }");
    wrapper!(WithoutBefore: "compile_fail,E0046",
        "fn sql(&self) -> Option<Cow<'_, str>> { self.0.sql() }"
        "fn alongside<'a>(&'a self, conn: &'a Conn) -> Option<Answer<'a, ()>> { self.0.alongside(conn) }"
        "fn after<'a>(&'a self, conn: Option<&'a mut Conn>, outcome: CommitOutcome) -> Answer<'a, ()> { self.0.after(conn, outcome) }");
    wrapper!(WithoutSql: "compile_fail,E0046",
        "fn before<'a>(&'a self, conn: &'a mut Conn) -> Answer<'a, Result<()>> { self.0.before(conn) }"
        "fn alongside<'a>(&'a self, conn: &'a Conn) -> Option<Answer<'a, ()>> { self.0.alongside(conn) }"
        "fn after<'a>(&'a self, conn: Option<&'a mut Conn>, outcome: CommitOutcome) -> Answer<'a, ()> { self.0.after(conn, outcome) }");
    wrapper!(WithoutAlongside: "compile_fail,E0046",
        "fn before<'a>(&'a self, conn: &'a mut Conn) -> Answer<'a, Result<()>> { self.0.before(conn) }"
        "fn sql(&self) -> Option<Cow<'_, str>> { self.0.sql() }"
        "fn after<'a>(&'a self, conn: Option<&'a mut Conn>, outcome: CommitOutcome) -> Answer<'a, ()> { self.0.after(conn, outcome) }");
    wrapper!(WithoutAfter: "compile_fail,E0046",
        "fn before<'a>(&'a self, conn: &'a mut Conn) -> Answer<'a, Result<()>> { self.0.before(conn) }"
        "fn sql(&self) -> Option<Cow<'_, str>> { self.0.sql() }"
        "fn alongside<'a>(&'a self, conn: &'a Conn) -> Option<Answer<'a, ()>> { self.0.alongside(conn) }");
}
