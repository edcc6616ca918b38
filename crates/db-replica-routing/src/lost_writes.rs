//! Warns in development of writes that no session will remember, once for each line that makes them.
//!
//! Only where some code of the process opens scopes: a service without sessions has nothing to lose.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use db_core::{Environment, Site};

use crate::session::Session;

/// Warns of writes that no session will remember, and knows the lines that were told of already.
///
/// ```
/// use db_core::Environment;
/// use db_replica_routing::LostWrites;
///
/// assert!(LostWrites::watched_in(Environment::Production).is_none());
/// ```
#[derive(Default)]
pub struct LostWrites {
    told: Mutex<HashSet<Site>>,
}

impl LostWrites {
    /// None where nobody would look at the warnings.
    pub fn watched_in(environment: Environment) -> Option<Arc<Self>> {
        (environment == Environment::Development).then(Arc::default)
    }

    /// A transaction that may write is in no session.
    pub fn transaction(&self, site: Site) {
        if Session::has_scopes() && self.is_first(site) {
            tracing::warn!(
                %site,
                "a transaction outside of every session's scope: no request's reads are sure to see what it \
                 writes. Spawn its task with Session::spawn; where that is meant, give it a session of its \
                 own (Db::in_session)"
            );
        }
    }

    /// `Db::session` begins a session of its own.
    pub fn session(&self, site: Site) {
        if Session::has_scopes() && Session::current().is_none() && self.is_first(site) {
            tracing::warn!(
                %site,
                "Db::session outside of every session's scope begins a new one: other handles do not see what \
                 it writes. Spawn its task with Session::spawn; where that is meant, write Db::in_session"
            );
        }
    }

    /// A connection that no session sees the commits of.
    pub fn primary(&self, site: Site) {
        if self.is_first(site) {
            tracing::warn!(
                %site,
                "Db::primary in a session: it does not know what is written on this connection. Call \
                 Session::forget behind a write, or write in Db::transaction"
            );
        }
    }

    fn is_first(&self, site: Site) -> bool {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).insert(site)
    }
}

impl fmt::Debug for LostWrites {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LostWrites")
    }
}
