//! Asks a new connection which server it leads to, and whether what was set at start-up took effect.
//!
//! The questions travel with what the client library sets anyway, so that they cost no round trip. Each fact
//! is asked for by itself: a role that may not have one still gets the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use db_core::{ServerId, SqlState};
use futures_util::{StreamExt, pin_mut};
use tokio_postgres::{Client, SimpleQueryMessage, SimpleQueryStream};

use crate::wire::BackendKey;

/// A setting of our own among the start-up options: where a session does not have it, it has none of them.
pub(crate) const MARK: &str = "db_pool.options";

const STARTED: &str = "SELECT (extract(epoch FROM pg_catalog.pg_postmaster_start_time()) \
                       OPERATOR(pg_catalog.*) 1000000)::bigint, \
                       pg_catalog.current_setting('db_pool.options', true), pg_catalog.pg_backend_pid()";
const SYSTEM: &str = "SELECT system_identifier FROM pg_catalog.pg_control_system()";

/// What was learned on one connection and holds for the next.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lessons {
    /// The role may not ask for the system identifier: each question would be an error in the server's log.
    no_system: Arc<AtomicBool>,
    /// It was said that start-up options do not take effect.
    said_lost: Arc<AtomicBool>,
}

/// Questions that were sent and whose answers have not been read.
pub(crate) struct Asked {
    started: Option<SimpleQueryStream>,
    system: Option<SimpleQueryStream>,
}

/// What a connection answered.
pub(crate) struct Identity {
    server: ServerId,
    /// The process that answered.
    process: Option<i64>,
    /// Whether the start-up options took effect, where it could be asked.
    pub(crate) has_options: Option<bool>,
}

impl Identity {
    /// The server that the connection leads to, where it surely leads there for as long as it is open.
    ///
    /// A pooler hands out keys of its own and may lead each transaction elsewhere: the process that answers
    /// is another one than the login named (BackendKeyData).
    pub(crate) fn server(&self, key: Option<BackendKey>) -> Option<ServerId> {
        let same = key.is_some_and(|key| self.process == Some(key.pid.into()));
        same.then_some(self.server)
    }
}

impl Lessons {
    /// Sends the questions; nothing waits for the network.
    pub(crate) async fn ask(&self, client: &Client) -> Asked {
        let started = client.simple_query_raw(STARTED).await.ok();
        let may = !AtomicBool::load(&self.no_system, Ordering::Relaxed);
        let system = if may { client.simple_query_raw(SYSTEM).await.ok() } else { None };
        Asked { started, system }
    }

    /// Whether this is the first time that it is to be said.
    pub(crate) fn says_lost(&self) -> bool {
        !self.said_lost.swap(true, Ordering::Relaxed)
    }

    /// Reads the answers.
    pub(crate) async fn hear(&self, asked: Asked) -> Identity {
        let started = match asked.started {
            Some(stream) => row(stream).await.ok(),
            None => None,
        };
        let system = match asked.system {
            Some(stream) => match row(stream).await {
                Ok(columns) => columns.number(0),
                Err(code) => {
                    let refused = code == Some(SqlState::INSUFFICIENT_PRIVILEGE);
                    self.no_system.fetch_or(refused, Ordering::Relaxed);
                    None
                }
            },
            None => None,
        };
        let server = ServerId {
            system: system.map(i64::cast_unsigned),
            started: started.as_ref().and_then(|columns| columns.number(0)),
        };
        let process = started.as_ref().and_then(|columns| columns.number(2));
        let has_options = started.map(|columns| columns.0.get(1).is_some_and(Option::is_some));
        Identity { server, process, has_options }
    }
}

/// The columns of the first row.
struct Columns(Vec<Option<String>>);

impl Columns {
    fn number(&self, at: usize) -> Option<i64> {
        self.0.get(at)?.as_ref()?.parse().ok()
    }
}

async fn row(stream: SimpleQueryStream) -> Result<Columns, Option<SqlState>> {
    pin_mut!(stream);
    while let Some(message) = stream.next().await {
        match message {
            Ok(SimpleQueryMessage::Row(row)) => {
                return Ok(Columns((0..row.len()).map(|at| row.get(at).map(str::to_owned)).collect()));
            }
            Ok(_) => {}
            Err(error) => return Err(error.code().and_then(|code| code.code().parse().ok())),
        }
    }
    Err(None)
}
