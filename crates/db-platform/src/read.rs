//! One read: attempts on different nodes, and none that waits for a node which is known to be gone.

use std::time::Duration;

use db_core::{Acquire, Class, Classify, Error, Result, Work};
use db_retry::Retry;

/// Why one attempt failed.
enum Failed {
    /// Another one may help, as its class says.
    Attempt(Error),
    /// None may: whoever waited for as long as it was willing to is not made to wait again, and a write in a read is refused
    /// everywhere, which is no fault of the server's.
    Final(Error),
}

impl Classify for Failed {
    fn class(&self) -> Class {
        match self {
            Failed::Attempt(error) => error.class(),
            Failed::Final(_) => Class::Permanent,
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
                return Err(Failed::Final(error));
            }
            Err(error) => return Err(Failed::Attempt(error)),
        };
        let gone = from.gone(&conn);
        let result = tokio::select! {
            biased;
            result = in_time(timeout, work.clone()(&mut conn)) => result,
            () = gone => Err(Error::ConnectionLost { reason: "the node went down".to_owned() }),
        };
        result.map_err(|error| match error.class() {
            _ if matches!(error, Error::ReadOnly(_)) => Failed::Final(error),
            Class::Unavailable => {
                from.evict(&mut conn);
                Failed::Attempt(error)
            }
            Class::Conflict => {
                from.avoid(&mut conn);
                Failed::Attempt(error)
            }
            _ => Failed::Attempt(error),
        })
    };
    retry.run(attempt).await.map_err(|(Failed::Attempt(error) | Failed::Final(error))| error)
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
