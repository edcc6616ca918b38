//! This process's hold on the server that its test databases live on.

use crate::address::Address;
use crate::background;
use crate::error::TestkitError;
use crate::names::Run;
use crate::server::server_url;
use crate::sweep::sweep;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::OnceCell;
use tokio_postgres::Client;

/// Advisory locks are seen only within one database, so every process takes them in this one.
const ADMIN_DATABASE: &str = "postgres";
/// Connections that are kept for the next CREATE or DROP DATABASE.
const IDLE: usize = 4;

pub(crate) struct Hub {
    admin: Address,
    version: u32,
    run: Run,
    next: AtomicU64,
    /// Holds this run's lock, and shares those of the templates it uses, until the process ends.
    holder: Client,
    idle: Mutex<Vec<Client>>,
}

impl Hub {
    /// The one of this process; the first call connects (and starts the server, if need be) and sweeps.
    pub(crate) async fn get() -> Result<Arc<Self>, TestkitError> {
        static HUB: OnceCell<Arc<Hub>> = OnceCell::const_new();
        HUB.get_or_try_init(async || background::run("opening the test server", Self::open()).await?)
            .await
            .cloned()
    }

    async fn open() -> Result<Arc<Self>, TestkitError> {
        let admin = server_url().await?.database(ADMIN_DATABASE);
        let holder = admin.client("opening the test server").await?;
        let version = holder
            .query_one("SELECT current_setting('server_version_num')::int4", &[])
            .await
            .and_then(|row| row.try_get::<_, i32>(0))
            .map_err(admin.failed("asking for the server's version"))?;
        let run = Run::random();
        // Before any database carries the run's name: otherwise a sweeper takes them for leftovers.
        holder
            .execute("SELECT pg_advisory_lock($1)", &[&run.lock()])
            .await
            .map_err(admin.failed("locking this run's id"))?;
        let hub = Arc::new(Self {
            admin,
            version: version.unsigned_abs(),
            run,
            next: AtomicU64::new(1),
            holder,
            idle: Mutex::default(),
        });
        sweep(&hub).await?;
        Ok(hub)
    }

    pub(crate) fn admin(&self) -> &Address {
        &self.admin
    }

    pub(crate) fn version(&self) -> u32 {
        self.version
    }

    pub(crate) fn run(&self) -> Run {
        self.run
    }

    pub(crate) fn holder(&self) -> &Client {
        &self.holder
    }

    /// A name for a new database of this run.
    pub(crate) fn name(&self) -> String {
        self.run.database(self.next.fetch_add(1, Ordering::Relaxed))
    }

    /// Makes a database as a copy of another. To be called on the kit's thread, as everything below.
    pub(crate) async fn create(&self, name: &str, template: &str) -> Result<(), TestkitError> {
        // Since 15: without it a copy takes two checkpoints.
        let strategy = if self.version >= 150_000 { " STRATEGY WAL_LOG" } else { "" };
        let sql = format!("CREATE DATABASE \"{name}\" TEMPLATE \"{template}\"{strategy}");
        self.batch(&sql, &format!("making {name} from {template}")).await
    }

    /// Drops a database with all its connections; nothing happens if there is none.
    pub(crate) async fn remove(&self, name: &str) -> Result<(), TestkitError> {
        self.batch(&format!("DROP DATABASE IF EXISTS \"{name}\" WITH (FORCE)"), &format!("dropping {name}"))
            .await
    }

    /// Runs statements on a connection of its own; afterwards it serves the next.
    pub(crate) async fn batch(&self, sql: &str, doing: &str) -> Result<(), TestkitError> {
        let client = self.client(doing).await?;
        client.batch_execute(sql).await.map_err(self.admin.failed(doing))?;
        self.give_back(client);
        Ok(())
    }

    pub(crate) async fn client(&self, doing: &str) -> Result<Client, TestkitError> {
        loop {
            let idle = self.idle().pop();
            match idle {
                Some(client) if client.is_closed() => {}
                Some(client) => return Ok(client),
                None => return self.admin.client(doing).await,
            }
        }
    }

    pub(crate) fn give_back(&self, client: Client) {
        let mut idle = self.idle();
        if idle.len() < IDLE {
            idle.push(client);
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Client>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
