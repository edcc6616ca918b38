//! A throw-away cluster that a test may break.

use crate::address::Address;
use crate::background;
use crate::error::TestkitError;
use crate::server::{install, own_password};
use db_server::{DATABASE, Place, ServerSettings, Stop};
use diesel_async::AsyncPgConnection;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio_postgres::Client;

const STREAMING_WITHIN: Duration = Duration::from_secs(60);
const CAUGHT_UP_WITHIN: Duration = Duration::from_secs(60);
const PAUSED_WITHIN: Duration = Duration::from_secs(30);

/// Says what a [`Cluster`] shall be like.
#[derive(Debug, Clone, Default)]
pub struct ClusterBuilder {
    standbys: usize,
    settings: Vec<(String, String)>,
    own_settings: Vec<(usize, String, String)>,
    major: Option<u16>,
    another_system: bool,
}

impl ClusterBuilder {
    /// With so many streaming standbys; none by default.
    #[must_use]
    pub fn standbys(mut self, standbys: usize) -> Self {
        self.standbys = standbys;
        self
    }

    /// With a setting of postgresql.conf on every server.
    #[must_use]
    pub fn setting(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.push((name.into(), value.into()));
        self
    }

    /// With a setting on one server only, such as `recovery_min_apply_delay` on a standby.
    #[must_use]
    pub fn setting_of(mut self, server: usize, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.own_settings.push((server, name.into(), value.into()));
        self
    }

    /// Of this major version; by default the one in `DB_TESTKIT_PG`, else what is installed.
    #[must_use]
    pub fn version(mut self, major: u16) -> Self {
        self.major = Some(major);
        self
    }

    /// With another system identifier than clusters have without this, which are copies of one template.
    #[must_use]
    pub fn another_system(mut self) -> Self {
        self.another_system = true;
        self
    }

    /// Starts it; every standby streams when this returns.
    ///
    /// # Errors
    /// When there is no PostgreSQL, or when it does not start.
    pub async fn start(self) -> Result<Cluster, TestkitError> {
        let doing = "starting a cluster";
        let inner = background::blocking(doing, move || {
            let settings = self
                .settings
                .into_iter()
                .fold(ServerSettings::fast(), |all, (name, value)| all.with(name, value));
            let mut builder = db_server::Cluster::builder(install(self.major)?).standbys(self.standbys);
            for server in 0..=self.standbys {
                let own = self.own_settings.iter().filter(|(of, ..)| *of == server);
                let settings = own.fold(settings.clone(), |all, (_, name, value)| all.with(name, value));
                builder = builder.node_settings(server, settings);
            }
            if self.another_system {
                let here = Place::here().map_err(failed(doing))?;
                let (apart, account) = (here.root().join("another-system"), here.account().cloned());
                builder = builder.place(Place::of(Some(&apart), account).map_err(failed(doing))?);
            }
            builder.password(own_password().clone()).start().map_err(failed(doing))
        });
        Ok(Cluster { inner: Arc::new(inner.await??) })
    }
}

/// A primary and its streaming standbys, for one test to break.
///
/// Servers are numbered: 0 begins as the primary, 1 and up as standbys, and each keeps its number and its
/// port whatever role it takes. Every method returns when what it says has happened. Dropping the value ends
/// all processes and removes the directory, and so does the end of the test process, even by `kill -9`.
#[derive(Debug, Clone)]
pub struct Cluster {
    inner: Arc<db_server::Cluster>,
}

impl Cluster {
    /// Starts to describe a cluster.
    #[must_use]
    pub fn builder() -> ClusterBuilder {
        ClusterBuilder::default()
    }

    /// The URL of the server that takes writes, with its password: never log it.
    #[must_use]
    pub fn primary_url(&self) -> String {
        self.inner.primary_url()
    }

    /// The URLs of the other servers.
    #[must_use]
    pub fn standby_urls(&self) -> Vec<String> {
        self.inner.standby_urls()
    }

    /// The URL of one server.
    ///
    /// # Errors
    /// When there is no server of that number, as with every method that takes one.
    pub fn url_of(&self, server: usize) -> Result<String, TestkitError> {
        Ok(self.node(server)?.url(DATABASE))
    }

    /// Where one server listens: what a [`Proxy`](crate::Proxy) is put in front of.
    ///
    /// # Errors
    /// When there is no server of that number.
    pub fn address_of(&self, server: usize) -> Result<SocketAddr, TestkitError> {
        Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, self.node(server)?.port())))
    }

    /// The number of the server that takes writes, as far as the kit arranged it.
    #[must_use]
    pub fn primary(&self) -> usize {
        self.inner.primary_index()
    }

    /// The directory with the servers' data and logs.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.inner.dir()
    }

    /// The process id of one server's postmaster, while it runs.
    ///
    /// # Errors
    /// When there is no server of that number.
    pub fn pid(&self, server: usize) -> Result<Option<u32>, TestkitError> {
        Ok(self.node(server)?.pid())
    }

    /// A new connection to one server, which the kit's own thread serves.
    ///
    /// # Errors
    /// When it does not accept the connection within half a minute.
    pub async fn connect(&self, server: usize) -> Result<AsyncPgConnection, TestkitError> {
        self.address(server)?.connect("connecting to a cluster").await
    }

    /// Makes a standby the primary; the other standbys follow it. The old primary is left as it is: stop or
    /// kill it first, or there are two.
    ///
    /// # Errors
    /// When it is no standby, or does not come out of recovery within a minute.
    pub async fn promote(&self, server: usize) -> Result<(), TestkitError> {
        self.blocking(format!("promoting server {server}"), move |inner| inner.promote(server)).await
    }

    /// Stops a server and waits until it has ended.
    ///
    /// # Errors
    /// When it does not end within a minute.
    pub async fn stop(&self, server: usize, how: Stop) -> Result<(), TestkitError> {
        self.on_node(format!("stopping server {server}"), server, move |node| node.stop(how)).await
    }

    /// Starts a server that was stopped or killed, on its old port; nothing happens if it runs.
    ///
    /// # Errors
    /// When it does not accept connections in time.
    pub async fn start(&self, server: usize) -> Result<(), TestkitError> {
        self.on_node(format!("starting server {server}"), server, db_server::Server::start).await
    }

    /// Stops and starts a server.
    ///
    /// # Errors
    /// When it does not end or come back in time.
    pub async fn restart(&self, server: usize) -> Result<(), TestkitError> {
        self.on_node(format!("restarting server {server}"), server, db_server::Server::restart).await
    }

    /// Kills a server with all of its processes, as the crash of its machine would.
    ///
    /// # Errors
    /// When it does not end in time.
    pub async fn kill(&self, server: usize) -> Result<(), TestkitError> {
        self.on_node(format!("killing server {server}"), server, db_server::Server::kill).await
    }

    /// Freezes a server (SIGSTOP): its connections stay open and nothing answers.
    ///
    /// # Errors
    /// When it is not running.
    pub async fn pause(&self, server: usize) -> Result<(), TestkitError> {
        self.on_node(format!("pausing server {server}"), server, db_server::Server::pause).await
    }

    /// Thaws a server (SIGCONT).
    ///
    /// # Errors
    /// When it is not running.
    pub async fn resume(&self, server: usize) -> Result<(), TestkitError> {
        self.on_node(format!("resuming server {server}"), server, db_server::Server::resume).await
    }

    /// Makes a standby stop replaying: it goes on receiving, and its answers grow old. Should its primary go
    /// away meanwhile, it looks for it again only when it is resumed.
    ///
    /// # Errors
    /// When it is no standby, or does not stop within half a minute.
    pub async fn pause_replay(&self, server: usize) -> Result<(), TestkitError> {
        let address = self.address(server)?;
        let doing = format!("pausing replay on server {server}");
        background::run(&doing.clone(), async move {
            let client = address.client(&doing).await?;
            client.batch_execute("SELECT pg_wal_replay_pause()").await.map_err(address.failed(doing))?;
            // The request is noted at once and obeyed between two records.
            let state = "SELECT state = 'paused', state FROM pg_get_wal_replay_pause_state() AS state";
            until(&client, &address, "the pause of replay", PAUSED_WITHIN, state).await
        })
        .await?
    }

    /// Makes a standby replay again.
    ///
    /// # Errors
    /// When it is no standby.
    pub async fn resume_replay(&self, server: usize) -> Result<(), TestkitError> {
        let address = self.address(server)?;
        let doing = format!("resuming replay on server {server}");
        background::run(&doing.clone(), async move {
            let client = address.client(&doing).await?;
            client.batch_execute("SELECT pg_wal_replay_resume()").await.map_err(address.failed(doing))
        })
        .await?
    }

    /// Brings a server back as a standby of the present primary, with pg_rewind where its history has parted.
    ///
    /// # Errors
    /// When it is the primary, or does not stream in time.
    pub async fn rejoin(&self, server: usize) -> Result<(), TestkitError> {
        self.blocking(format!("rejoining server {server}"), move |inner| inner.rejoin(server)).await
    }

    /// Waits until a standby has replayed all that the primary has written up to now.
    ///
    /// # Errors
    /// When it has not within a minute; the error says how far it got.
    pub async fn wait_until_caught_up(&self, server: usize) -> Result<(), TestkitError> {
        let (primary, standby) = (self.address(self.primary())?, self.address(server)?);
        let doing = format!("waiting until server {server} has caught up");
        background::run(&doing.clone(), async move {
            let row = primary.client(&doing).await?.query_one("SELECT pg_current_wal_lsn()::text", &[]).await;
            let written: String = row.and_then(|row| row.try_get(0)).map_err(primary.failed(&doing))?;
            let client = standby.client(&doing).await?;
            let replayed = format!(
                "SELECT coalesce(lsn >= '{written}', false), format('at %s, wanted {written}, replay %s', lsn, \
                 pg_get_wal_replay_pause_state()) FROM pg_last_wal_replay_lsn() AS lsn"
            );
            until(&client, &standby, "catching up", CAUGHT_UP_WITHIN, &replayed).await
        })
        .await?
    }

    /// Waits until every standby that runs streams from the primary.
    ///
    /// # Errors
    /// When one does not within a minute.
    pub async fn standbys_streaming(&self) -> Result<(), TestkitError> {
        let doing = "waiting until the standbys stream".to_owned();
        self.blocking(doing, |inner| inner.await_streaming(STREAMING_WITHIN)).await
    }

    fn node(&self, server: usize) -> Result<&db_server::Server, TestkitError> {
        self.inner.node(server).map_err(failed("naming a server of a cluster"))
    }

    fn address(&self, server: usize) -> Result<Address, TestkitError> {
        Address::parse(&self.url_of(server)?).map_err(|_| TestkitError::NotAUrl)
    }

    async fn on_node(
        &self,
        doing: String,
        server: usize,
        work: impl FnOnce(&db_server::Server) -> db_server::Result<()> + Send + 'static,
    ) -> Result<(), TestkitError> {
        self.blocking(doing, move |inner| work(inner.node(server)?)).await
    }

    async fn blocking(
        &self,
        doing: String,
        work: impl FnOnce(&db_server::Cluster) -> db_server::Result<()> + Send + 'static,
    ) -> Result<(), TestkitError> {
        let inner = Arc::clone(&self.inner);
        background::blocking(&doing, move || work(&inner)).await?.map_err(failed(&doing))
    }
}

fn failed(doing: &str) -> impl FnOnce(db_server::Error) -> TestkitError {
    let doing = doing.to_owned();
    move |source| TestkitError::Server { doing, source }
}

/// Asks again and again until the first column is true; the second says what is seen.
async fn until(
    client: &Client,
    address: &Address,
    what: &str,
    limit: Duration,
    sql: &str,
) -> Result<(), TestkitError> {
    let start = tokio::time::Instant::now();
    loop {
        let row = client.query_one(sql, &[]).await.map_err(address.failed(format!("waiting for {what}")))?;
        if row.try_get(0).map_err(address.failed(what))? {
            return Ok(());
        }
        if start.elapsed() > limit {
            let seen = row.try_get(1).map_err(address.failed(what))?;
            return Err(TestkitError::Timeout {
                what: format!("{what} on {}", address.label()),
                waited: limit,
                seen,
            });
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
