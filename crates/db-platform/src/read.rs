//! One read: attempts on different nodes, and none that waits for a node which is known to be gone.

use std::time::Duration;

use db_core::{Acquire, Class, Classify, Error, Result, Work};
use db_retry::Retry;

/// Why one attempt failed.
enum Failed {
    /// Another one may help, as its class says.
    Attempt(Error),
    /// Whoever waited for as long as it was willing to is not made to wait again.
    Waited(Error),
}

impl Classify for Failed {
    fn class(&self) -> Class {
        match self {
            Failed::Attempt(error) => error.class(),
            Failed::Waited(_) => Class::Permanent,
        }
    }
}

pub(crate) async fn read<A, T, E>(
    retry: &Retry,
    from: &A,
    timeout: Option<Duration>,
    work: impl Work<T, E>,
) -> Result<T>
where
    A: Acquire,
    T: Send,
    E: Into<Error> + Send,
{
    let attempt = |_| async {
        let mut conn = match from.acquire().await {
            Ok(conn) => conn,
            Err(error @ (Error::PoolTimeout { .. } | Error::NoServer { .. })) => {
                return Err(Failed::Waited(error));
            }
            Err(error) => return Err(Failed::Attempt(error)),
        };
        let gone = from.gone(&conn);
        let result = tokio::select! {
            biased;
            result = in_time(timeout, work.clone()(&mut conn)) => result,
            () = gone => Err(Error::ConnectionLost { reason: "the node went down".to_owned() }),
        };
        match &result {
            Err(error) if error.class() == Class::Unavailable => from.evict(&mut conn),
            Err(error) if error.class() == Class::Conflict => from.avoid(&mut conn),
            _ => {}
        }
        result.map_err(Failed::Attempt)
    };
    retry.run(attempt).await.map_err(|(Failed::Attempt(error) | Failed::Waited(error))| error)
}

async fn in_time<T, E: Into<Error>>(
    timeout: Option<Duration>,
    reading: impl Future<Output = Result<T, E>>,
) -> Result<T> {
    match timeout {
        None => reading.await.map_err(Into::into),
        Some(waited) => match tokio::time::timeout(waited, reading).await {
            Ok(result) => result.map_err(Into::into),
            Err(_) => Err(Error::DeadlineExceeded { waited }),
        },
    }
}
