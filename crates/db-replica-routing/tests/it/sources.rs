//! Sources of connections for the router under test: a little pool, which keeps what it opened.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use db_core::{Connect, Endpoint, Error, Facts, LinkEvent, Observe, Report, Result, ServerId, SqlState};
use db_replica_routing::{Purpose, Signals};
use db_testkit::Source;
use diesel::sql_types::BigInt;
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};

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
pub(crate) type Kept = Source<Lent>;

pub(crate) struct Lent {
    conn: Option<AsyncPgConnection>,
    shelf: Arc<Shelf>,
    /// How often all had been evicted when it was lent.
    lent_after: u64,
    evicted: bool,
    /// How many reports it was the subject of.
    told: u64,
    server: ServerId,
}

/// Where connections lie that nobody uses.
#[derive(Default)]
struct Shelf {
    idle: Mutex<Vec<(AsyncPgConnection, ServerId)>>,
    evictions: AtomicU64,
}

/// Opens a source for each endpoint.
pub(crate) fn kept(signals: &Signals) -> impl Fn(&Endpoint, Purpose) -> Kept + Send + Sync + 'static {
    let signals = signals.clone();
    move |endpoint, purpose| {
        let (shelf, signals, at) = (Arc::new(Shelf::default()), signals.clone(), endpoint.clone());
        let (emptied, idle) = (Arc::clone(&shelf), Arc::clone(&shelf));
        Source::new(move |_| lend(Arc::clone(&shelf), signals.clone(), at.clone(), purpose))
            .at(endpoint.host(), endpoint.port())
            .with_idle(move || lend_idle(&idle))
            .knowing(move |conn: &Lent| Facts {
                commits: Some(conn.told),
                server: Some(conn.server),
                ..known(purpose)
            })
            .told(|conn: &mut Lent, what| {
                conn.told += 1;
                conn.evicted |= what == Report::ServerGone;
            })
            .evicting(move || {
                emptied.evictions.fetch_add(1, Ordering::Relaxed);
                emptied.idle.lock().unwrap().clear();
            })
    }
}

/// What a source for this purpose claims to know, so that a test can tell which source was asked.
pub(crate) fn known(purpose: Purpose) -> Facts {
    let code = match purpose {
        Purpose::Plain => SqlState::UNIQUE_VIOLATION,
        Purpose::ReadOnly => SqlState::CHECK_VIOLATION,
    };
    Facts { failed_with: Some(code), commits: Some(0), ..Facts::UNKNOWN }
}

async fn lend(shelf: Arc<Shelf>, signals: Signals, endpoint: Endpoint, purpose: Purpose) -> Result<Lent> {
    if let Some(idle) = lend_idle(&shelf) {
        return Ok(idle);
    }
    let lent_after = AtomicU64::load(&shelf.evictions, Ordering::Relaxed);
    let opened = Opener.connect(&endpoint).await;
    let mut conn = opened.inspect_err(|_| {
        signals.on_link(&LinkEvent::Refused { endpoint: &endpoint });
    })?;
    if purpose == Purpose::ReadOnly {
        conn.batch_execute("SET default_transaction_read_only = on").await?;
    }
    let server = server_of(&mut conn).await?;
    Ok(Lent { conn: Some(conn), shelf, lent_after, evicted: false, told: 0, server })
}

fn lend_idle(shelf: &Arc<Shelf>) -> Option<Lent> {
    let lent_after = AtomicU64::load(&shelf.evictions, Ordering::Relaxed);
    let (conn, server) = shelf.idle.lock().unwrap().pop()?;
    let shelf = Arc::clone(shelf);
    Some(Lent { conn: Some(conn), shelf, lent_after, evicted: false, told: 0, server })
}

#[derive(QueryableByName)]
struct Run {
    #[diesel(sql_type = BigInt)]
    system: i64,
    #[diesel(sql_type = BigInt)]
    started: i64,
}

/// Which server it leads to: it need not be the one that its endpoint led to before.
async fn server_of(conn: &mut AsyncPgConnection) -> Result<ServerId> {
    let asked = sql_query(
        "SELECT (SELECT system_identifier FROM pg_control_system()) AS system, \
         (extract(epoch FROM pg_postmaster_start_time()) * 1000000)::int8 AS started",
    );
    let run: Run = asked.get_result(conn).await?;
    Ok(ServerId { system: Some(run.system.cast_unsigned()), started: Some(run.started) })
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
        if !self.evicted && self.lent_after == AtomicU64::load(&self.shelf.evictions, Ordering::Relaxed) {
            let conn = self.conn.take().map(|conn| (conn, self.server));
            self.shelf.idle.lock().unwrap().extend(conn);
        }
    }
}
