//! Sources of connections for the router under test: a little pool, which keeps what it opened.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use db_core::{Acquire, Connect, Endpoint, Error, LinkEvent, Observe, Result};
use db_replica_routing::{Purpose, Signals};
use diesel_async::{AsyncConnection, AsyncPgConnection, SimpleAsyncConnection};

/// Opens the monitors' connections.
#[derive(Clone)]
pub(crate) struct Opener;

impl Connect for Opener {
    async fn connect(&self, endpoint: &Endpoint) -> Result<AsyncPgConnection> {
        let url = format!("postgres://postgres:{}@{endpoint}/app", db_testkit::password());
        AsyncPgConnection::establish(&url)
            .await
            .map_err(|error| Error::ConnectionLost { reason: error.to_string() })
    }
}

/// Keeps the connections that came back, and hands them out again.
#[derive(Clone)]
pub(crate) struct Kept {
    pub(crate) endpoint: Endpoint,
    pub(crate) purpose: Purpose,
    idle: Arc<Mutex<Vec<AsyncPgConnection>>>,
    pub(crate) evictions: Arc<AtomicU64>,
    signals: Signals,
}

pub(crate) struct Lent {
    conn: Option<AsyncPgConnection>,
    idle: Arc<Mutex<Vec<AsyncPgConnection>>>,
    evictions: Arc<AtomicU64>,
    /// How often all had been evicted when it was lent.
    lent_after: u64,
}

impl Kept {
    pub(crate) fn open(signals: &Signals) -> impl Fn(&Endpoint, Purpose) -> Kept + Send + Sync + 'static {
        let signals = signals.clone();
        move |endpoint, purpose| Kept {
            endpoint: endpoint.clone(),
            purpose,
            idle: Arc::default(),
            evictions: Arc::default(),
            signals: signals.clone(),
        }
    }
}

impl Acquire for Kept {
    type Conn = Lent;

    async fn acquire(&self) -> Result<Lent> {
        let lent_after = AtomicU64::load(&self.evictions, Ordering::Relaxed);
        let kept = self.idle.lock().unwrap().pop();
        let conn = match kept {
            Some(conn) => conn,
            None => {
                let opened = Opener.connect(&self.endpoint).await;
                let mut conn = opened.inspect_err(|_| {
                    self.signals.on_link(&LinkEvent::Refused { endpoint: &self.endpoint });
                })?;
                if self.purpose == Purpose::ReadOnly {
                    conn.batch_execute("SET default_transaction_read_only = on").await?;
                }
                conn
            }
        };
        let (idle, evictions) = (Arc::clone(&self.idle), Arc::clone(&self.evictions));
        Ok(Lent { conn: Some(conn), idle, evictions, lent_after })
    }

    fn evict(&self, conn: &mut Lent) {
        conn.idle = Arc::default();
    }

    fn evict_all(&self) {
        self.evictions.fetch_add(1, Ordering::Relaxed);
        self.idle.lock().unwrap().clear();
    }
}

impl Deref for Lent {
    type Target = AsyncPgConnection;

    fn deref(&self) -> &AsyncPgConnection {
        self.conn.as_ref().unwrap()
    }
}

impl DerefMut for Lent {
    fn deref_mut(&mut self) -> &mut AsyncPgConnection {
        self.conn.as_mut().unwrap()
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if self.lent_after == AtomicU64::load(&self.evictions, Ordering::Relaxed) {
            self.idle.lock().unwrap().extend(self.conn.take());
        }
    }
}
