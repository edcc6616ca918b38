//! Reads what `ALTER ROLE … SET` and `ALTER DATABASE … SET` say, so that defaults of ours do not stand
//! against it.
//!
//! Start-up options win over both, so they must be known before a connection is opened. The first connection
//! reads them, and is opened anew where a default of ours was in the way.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio_postgres::{Client, SimpleQueryMessage};

use crate::baseline::RoleSettings;

/// How long what was read is believed: an `ALTER ROLE` holds for connections that are opened later than that.
const BELIEVED: Duration = Duration::from_secs(60);

/// In the order in which the server applies them: the later one wins.
const QUERY: &str = "SELECT pg_catalog.unnest(setconfig) FROM pg_catalog.pg_db_role_setting \
    WHERE setdatabase IN (0, (SELECT oid FROM pg_catalog.pg_database \
                              WHERE datname = pg_catalog.current_database())) \
    AND setrole IN (0, (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = session_user)) \
    ORDER BY setrole <> 0, setdatabase <> 0";

/// What is known of them; clones know the same.
#[derive(Clone, Default)]
pub(crate) struct Role {
    read: Arc<Mutex<Option<Read>>>,
}

struct Read {
    at: Instant,
    settings: Arc<RoleSettings>,
}

impl Role {
    /// What was read last, and whether it is still believed.
    pub(crate) fn known(&self) -> (Arc<RoleSettings>, bool) {
        match &*self.read.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(Read { at, settings }) => (Arc::clone(settings), at.elapsed() < BELIEVED),
            None => (Arc::default(), false),
        }
    }

    /// Reads them anew; a server that does not let itself be asked has none.
    pub(crate) async fn read(&self, client: &Client) -> Arc<RoleSettings> {
        let rows = client.simple_query(QUERY).await.unwrap_or_else(|error| {
            tracing::debug!(%error, "the role's settings could not be read");
            Vec::new()
        });
        let settings = rows.iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0)?.split_once('='),
            _ => None,
        });
        let lower = |(name, value): (&str, &str)| (name.to_ascii_lowercase(), value.to_owned());
        let settings: Arc<RoleSettings> = Arc::new(settings.map(lower).collect());
        let read = Some(Read { at: Instant::now(), settings: Arc::clone(&settings) });
        *self.read.lock().unwrap_or_else(PoisonError::into_inner) = read;
        settings
    }
}
