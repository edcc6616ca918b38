//! Skips a test for which a program is not to be had, by name.

use std::fmt::Display;

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
