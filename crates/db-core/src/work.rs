//! What a caller runs on a connection: an `async |conn| …` closure, cloned for each attempt.
//!
//! `AsyncFn` and `AsyncFnMut` bounds fail under `tokio::spawn` as soon as the closure captures a reference
//! (rustc issues 138494, 139475, 151398, 154523). `AsyncFnOnce` with `Clone` works, and means the right
//! thing: a closure that would leak a failed attempt's effect through a captured `&mut` does not compile.

use diesel_async::AsyncPgConnection;

/// An `async |conn| …` closure that may run once per attempt: each attempt runs a fresh clone of it.
pub trait Work<T, E>:
    for<'c> AsyncFnOnce(&'c mut AsyncPgConnection) -> Result<T, E>
    + for<'c> sealed::Call<&'c mut AsyncPgConnection, Result<T, E>, Fut: Send>
    + Clone
    + Send
{
}

impl<F, T, E> Work<T, E> for F where
    F: for<'c> AsyncFnOnce(&'c mut AsyncPgConnection) -> Result<T, E>
        + for<'c> sealed::Call<&'c mut AsyncPgConnection, Result<T, E>, Fut: Send>
        + Clone
        + Send
{
}

/// The same without `Clone`: it runs at most once and is never retried.
pub trait Once<T, E>:
    for<'c> AsyncFnOnce(&'c mut AsyncPgConnection) -> Result<T, E>
    + for<'c> sealed::Call<&'c mut AsyncPgConnection, Result<T, E>, Fut: Send>
    + Send
{
}

impl<F, T, E> Once<T, E> for F where
    F: for<'c> AsyncFnOnce(&'c mut AsyncPgConnection) -> Result<T, E>
        + for<'c> sealed::Call<&'c mut AsyncPgConnection, Result<T, E>, Fut: Send>
        + Send
{
}

mod sealed {
    /// Names the closure's future, so that it can be required to be `Send`.
    pub trait Call<A, R>: AsyncFnOnce(A) -> R + FnOnce(A) -> <Self as Call<A, R>>::Fut {
        type Fut: Future<Output = R>;
    }

    impl<F, A, R, Fut> Call<A, R> for F
    where
        F: AsyncFnOnce(A) -> R + FnOnce(A) -> Fut,
        Fut: Future<Output = R>,
    {
        type Fut = Fut;
    }
}
