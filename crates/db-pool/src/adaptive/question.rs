//! Asks the server how many connections it has left, on a connection that nobody uses at the moment.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use deadpool::unmanaged::Object;
use diesel::sql_types::BigInt;
use diesel::{QueryableByName, sql_query};
use diesel_async::RunQueryDsl;

use crate::closing::Closing;
use crate::inner::Inner;
use crate::returning;
use crate::slot::Slot;

/// How long the answer may take.
const PATIENCE: Duration = Duration::from_secs(1);

/// Every role may read what this reads: the sessions of others hide what they do, not that they are there.
/// Workers with a database of their own are counted, too, which errs on the safe side.
const QUESTION: &str = "SELECT pg_catalog.current_setting('max_connections')::bigint \
     OPERATOR(pg_catalog.-) pg_catalog.current_setting('superuser_reserved_connections')::bigint \
     OPERATOR(pg_catalog.-) coalesce(pg_catalog.current_setting('reserved_connections', true)::bigint, 0) \
     OPERATOR(pg_catalog.-) (SELECT coalesce(pg_catalog.sum(numbackends), 0)::bigint \
     FROM pg_catalog.pg_stat_database) AS free";

/// What the server said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// So many connections are left.
    Free {
        /// For ordinary users.
        free: usize,
        /// What this pool had open or was opening when it asked.
        open: usize,
    },
    /// It is no server that knows.
    Unknown,
}

/// A question that waits for a connection, and the answer that waits to be read.
#[derive(Default)]
pub(crate) struct Question {
    raised: AtomicBool,
    answer: Mutex<Option<Answer>>,
}

#[derive(QueryableByName)]
struct Left {
    #[diesel(sql_type = BigInt)]
    free: i64,
}

impl Question {
    /// The next connection that comes back asks.
    pub(crate) fn raise(&self) {
        self.raised.store(true, Ordering::Release);
    }

    pub(crate) fn answer(&self) -> Option<Answer> {
        self.answer.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Takes a clean connection that nobody uses where there is something to ask, and puts it back
    /// afterwards; otherwise hands it back.
    pub(crate) fn offer(inner: &Arc<Inner>, slot: Object<Box<Slot>>) -> Option<Object<Box<Slot>>> {
        if !AtomicBool::load(&inner.question.raised, Ordering::Relaxed)
            || !inner.question.raised.swap(false, Ordering::AcqRel)
        {
            return Some(slot);
        }
        let inner = Arc::clone(inner);
        inner.runtime.clone().spawn(ask(inner, slot));
        None
    }
}

async fn ask(inner: Arc<Inner>, mut slot: Object<Box<Slot>>) {
    let open = inner.open() + AtomicUsize::load(&inner.opening, Ordering::Relaxed);
    let asked = sql_query(QUESTION).get_result::<Left>(&mut slot.conn);
    let answer = match tokio::time::timeout(PATIENCE, asked).await {
        Ok(Ok(left)) => Some(Answer::Free { free: usize::try_from(left.free).unwrap_or(0), open }),
        Ok(Err(error)) if !slot.wire.is_lost() => {
            tracing::debug!(endpoint = %inner.endpoint, %error, "the server does not say how many connections it has left");
            Some(Answer::Unknown)
        }
        Ok(Err(_)) | Err(_) => None,
    };
    *inner.question.answer.lock().unwrap_or_else(PoisonError::into_inner) = answer;
    let why = if answer.is_none() { Closing::Silent } else { Closing::Unclean };
    if answer.is_some() && !slot.is_in_the_middle() && !inner.is_closed() {
        returning::put_back(&inner, slot, Instant::now());
    } else {
        returning::close(&inner, slot, if inner.is_closed() { Closing::Shutdown } else { why });
    }
}
