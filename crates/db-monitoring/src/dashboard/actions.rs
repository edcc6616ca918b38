//! Cancelling statements and ending sessions: off unless the caller turns it on, and each time written down.

use std::fmt;
use std::sync::Arc;

use diesel::sql_types::{Bool, Integer, Text};
use diesel::{QueryableByName, sql_query};
use diesel_async::RunQueryDsl;

use crate::server::OpenConnection;

/// What a person may do to a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// End its statement; the session goes on.
    Cancel,
    /// End the session.
    Terminate,
}

impl Act {
    pub(super) fn of(word: &str) -> Option<Self> {
        match word {
            "cancel" => Some(Act::Cancel),
            "terminate" => Some(Act::Terminate),
            _ => None,
        }
    }

    /// Its word in forms and logs.
    pub fn word(self) -> &'static str {
        match self {
            Act::Cancel => "cancel",
            Act::Terminate => "terminate",
        }
    }
}

/// What somebody did from a page, for the audit.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Acted {
    /// What.
    pub act: Act,
    /// To which session.
    pub pid: i32,
    /// Whether the server did it; false where the session was gone or is another one by now, and why not if
    /// it failed.
    pub done: Result<bool, String>,
}

type Audit = Arc<dyn Fn(&Acted) + Send + Sync>;

/// Lets people cancel statements and end sessions from pages. Each is logged at level warn, and told to the
/// audit.
///
/// The role of the connection decides what it may: `pg_signal_backend`, or its own sessions only.
#[derive(Clone)]
pub struct Actions {
    open: OpenConnection,
    audit: Option<Audit>,
}

#[derive(QueryableByName)]
struct Done {
    #[diesel(sql_type = Bool)]
    done: bool,
}

impl Actions {
    /// Actions on a connection that is opened for each.
    pub fn new(open: OpenConnection) -> Self {
        Actions { open, audit: None }
    }

    /// The same, which tells of each.
    #[must_use]
    pub fn audited_by(mut self, audit: impl Fn(&Acted) + Send + Sync + 'static) -> Self {
        self.audit = Some(Arc::new(audit));
        self
    }

    /// Does it, if the session is still the one that began then.
    pub(super) async fn act(&self, act: Act, pid: i32, since: &str) -> Acted {
        let acted =
            Acted { act, pid, done: self.ask(act, pid, since).await.map_err(|error| error.to_string()) };
        match &acted.done {
            Ok(done) => tracing::warn!(
                pid,
                act = act.word(),
                done,
                "somebody asked on the dashboard to end a session or its statement"
            ),
            Err(error) => tracing::warn!(
                pid,
                act = act.word(),
                error,
                "somebody asked on the dashboard to end a session or its statement, and the server did not"
            ),
        }
        if let Some(audit) = &self.audit {
            let _ = db_core::foreign::call(|| audit(&acted));
        }
        acted
    }

    async fn ask(&self, act: Act, pid: i32, since: &str) -> db_core::Result<bool> {
        let (_, mut conn) = (self.open)(None).await?;
        // The number may belong to another session by now, so its beginning is compared in the same
        // statement.
        let function = match act {
            Act::Cancel => "pg_cancel_backend",
            Act::Terminate => "pg_terminate_backend",
        };
        let text = format!(
            "SELECT coalesce(bool_or(pg_catalog.{function}(pid)), false) AS done FROM pg_catalog.pg_stat_activity \
             WHERE pid = $1 AND abs(extract(epoch FROM backend_start) - $2::numeric) < 0.001"
        );
        let done: Vec<Done> = sql_query(text)
            .bind::<Integer, _>(pid)
            .bind::<Text, _>(since.to_owned())
            .get_results(&mut conn)
            .await
            .map_err(db_core::Error::from)?;
        Ok(done.iter().any(|row| row.done))
    }
}

impl fmt::Debug for Actions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Actions { .. }")
    }
}
