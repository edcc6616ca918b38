//! Skips a test for which a program is not to be had, by name.

use std::fmt::Display;

use diesel::sql_query;
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use crate::error::TestkitError;

/// What was started, or `None` where the program for it is not to be had: then the calling test is skipped,
/// and returns.
///
/// `cargo xtask test` counts it as skipped and lists its name and the reason. Under `cargo test` alone the
/// reason goes to standard error.
///
/// ```no_run
/// use db_testkit::{Redis, skip};
///
/// // Put #[tokio::test] here.
/// async fn a_row_is_cached() {
///     let Some(redis) = skip::without(Redis::start().await) else { return };
///     println!("{}", redis.port());
/// }
/// ```
///
/// # Panics
/// With every other error: what is there and does not work is a failure.
#[track_caller]
#[expect(clippy::panic, reason = "a test that cannot start its server has failed, and this is its report")]
pub fn without<T>(started: Result<T, TestkitError>) -> Option<T> {
    match started {
        Ok(value) => Some(value),
        Err(TestkitError::Server { source, .. }) if source.is_for_want_of_a_program() => {
            db_server::skip::this_test(source);
            None
        }
        Err(error) => panic!("{error}: {error:?}"),
    }
}

/// Says that the calling test is skipped, and why, where what it lacks is no program of the kit's; the test
/// returns next.
#[track_caller]
pub fn this_test(why: impl Display) {
    db_server::skip::this_test(why);
}

/// Whether the calling test is skipped because the server at the other end knows none of ICU's languages:
/// then it returns. Debian's PostgreSQL has ICU, the wheel's has not.
///
/// ```no_run
/// # use db_testkit::{TestDatabase, TestkitError, skip};
/// // Put #[tokio::test] here.
/// async fn names_are_in_the_order_of_a_language() -> Result<(), TestkitError> {
///     let database = TestDatabase::empty().await?;
///     if skip::without_icu(&mut database.connect().await?).await {
///         return Ok(());
///     }
///     // …
/// #   Ok(())
/// }
/// ```
///
/// # Panics
/// If the server does not answer.
#[expect(clippy::panic, reason = "a test whose server does not answer has failed, and this is its report")]
pub async fn without_icu(conn: &mut AsyncPgConnection) -> bool {
    let asked = "SELECT FROM pg_collation WHERE collname = 'de-x-icu'";
    let known = sql_query(asked).execute(conn).await.unwrap_or_else(|error| panic!("{asked}: {error}"));
    if known == 0 {
        db_server::skip::this_test("this build of PostgreSQL has no ICU");
    }
    known == 0
}
