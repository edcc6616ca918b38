//! Opens one connection: login, start-up options, and one deadline over all of it.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use db_core::{
    Connect, ConnectError, ConnectFailure, ConnectionHook, DatabaseUrl, Endpoint, LinkEvent, Observe, Result,
};
use diesel::connection::CacheSize;
use diesel_async::{AsyncConnection, AsyncPgConnection, SimpleAsyncConnection};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_postgres::config::{SslMode, SslNegotiation};
use tokio_postgres::{CancelToken, Client};

use crate::baseline::Baseline;
use crate::doubts::Doubts;
use crate::hooks::Hooks;
use crate::identity::{Identity, Lessons};
use crate::observers::Observers;
use crate::passfile;
use crate::role::Role;
use crate::transport::dial::Dialer;
use crate::wanted::Wanted;
use crate::watch::{Seen, Watch};
use crate::wire::{BackendKey, HandOver, Link, Staleness, Tap, Wire};
use crate::{ConnectConfig, HarmlessFunctions};

/// Asks for the password of the day.
type AskPassword =
    dyn Fn() -> Pin<Box<dyn Future<Output = Result<String, PasswordError>> + Send>> + Send + Sync;
/// Why there is no password; its text is shown, so it must not contain one.
pub type PasswordError = Box<dyn std::error::Error + Send + Sync>;

/// How often a login is tried again, 20 ms apart, while the server may still count the connection that was
/// just closed.
const STILL_COUNTED: u32 = 25;

/// Opens connections as one user to one database, on whichever server is asked for.
#[derive(Clone)]
pub struct Connector {
    url: DatabaseUrl,
    config: ConnectConfig,
    dialer: Dialer,
    password: Option<Arc<AskPassword>>,
    observers: Observers,
    on_connect: Hooks,
    pub(crate) on_checkout: Hooks,
    role: Role,
    lessons: Lessons,
    /// The functions that the service declares to leave nothing behind.
    pub(crate) harmless: HarmlessFunctions,
    pub(crate) doubts: Doubts,
    /// How many are waiting for the password source.
    asking: Arc<AtomicUsize>,
}

/// A connection, and what can be known of it from outside.
pub(crate) struct Opened {
    pub(crate) conn: AsyncPgConnection,
    pub(crate) wire: Arc<Wire>,
    pub(crate) seen: Arc<Seen>,
    /// How long the first answer took.
    pub(crate) round_trip: Duration,
    /// Of so many doubts it is known that it is as new.
    pub(crate) confirmed: u64,
}

impl Connector {
    /// A connector with this URL's user, password, database and options. Its hosts do not matter: each
    /// connection is opened to the [`Endpoint`] that is asked for.
    ///
    /// What the URL says wins over the configuration's [defaults](ConnectConfig::defaults).
    pub fn new(url: DatabaseUrl, config: ConnectConfig) -> Self {
        let config = config.within(&url);
        let dialer = Dialer::new(&url, config.socket_timeout);
        Connector {
            url,
            config,
            dialer,
            password: None,
            observers: Observers::default(),
            on_connect: Hooks::default(),
            on_checkout: Hooks::default(),
            role: Role::default(),
            lessons: Lessons::default(),
            harmless: HarmlessFunctions::default(),
            doubts: Doubts::default(),
            asking: Arc::default(),
        }
    }

    /// The same connector, whose connections report to these observers.
    pub fn observed_by(mut self, observers: impl IntoIterator<Item = Arc<dyn Observe>>) -> Self {
        self.observers = observers.into_iter().collect();
        self
    }

    /// The same connector, which runs these hooks, each under a name for logs, on every connection that a
    /// pool opens, and again when its session was reset.
    ///
    /// They count towards `connect_timeout`. One that fails fails the connection; one that panics is left
    /// out.
    pub fn on_connect(mut self, hooks: impl IntoIterator<Item = (&'static str, ConnectionHook)>) -> Self {
        self.on_connect = Hooks::new(hooks);
        self
    }

    /// The same connector, whose pools run these hooks on every connection right before a caller gets it.
    ///
    /// They count towards `acquire_timeout`. One that fails fails the caller, and the connection is closed.
    pub fn on_checkout(mut self, hooks: impl IntoIterator<Item = (&'static str, ConnectionHook)>) -> Self {
        self.on_checkout = Hooks::new(hooks);
        self
    }

    /// The same connector, which asks for the password whenever it opens a connection: for credentials that
    /// rotate.
    ///
    /// `ask` counts towards `connect_timeout`; its error is shown, so it must not contain a secret.
    pub fn with_password<F, Fut>(mut self, ask: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<String, PasswordError>> + Send + 'static,
    {
        self.password = Some(Arc::new(move || Box::pin(ask())));
        self
    }

    /// The same connector, whose sessions refuse writes with SQLSTATE 25006, as a standby does.
    pub fn read_only(mut self) -> Self {
        self.config.read_only = true;
        self
    }

    /// The `statement_timeout` that sessions start with: the chosen one, else the URL's, else the role's as
    /// far as one was opened, else the default. None where there is no limit, or one that cannot be read.
    pub fn statement_timeout(&self) -> Option<Duration> {
        self.baseline().statement_timeout(&self.role.known().0)
    }

    /// How connections are opened, with what the URL says instead of defaults.
    pub fn config(&self) -> &ConnectConfig {
        &self.config
    }

    /// The URL that names user and database.
    pub fn url(&self) -> &DatabaseUrl {
        &self.url
    }

    /// Opens a bare client, for what diesel-async does not have: COPY.
    ///
    /// It logs in and encrypts as every connection does, and has the same start-up options.
    ///
    /// # Errors
    /// [`Error::Connect`](db_core::Error::Connect), within `connect_timeout`.
    ///
    /// # Cancel safety
    /// As [`Connect::connect`].
    pub async fn client(&self, endpoint: &Endpoint) -> Result<Client> {
        let (started, limit) = (Instant::now(), self.config.connect_timeout);
        match tokio::time::timeout(limit, self.log_in(endpoint, started, &|_| {})).await {
            Ok(logged_in) => Ok(logged_in?.0),
            Err(_) => Err(self.timed_out(endpoint).into()),
        }
    }

    /// Asks the server to cancel what runs on a connection of this connector's.
    ///
    /// The token's own `cancel_query` cannot: it does not know how the connection was opened.
    ///
    /// # Errors
    /// [`Error::Connect`](db_core::Error::Connect) where the server cannot be asked; it has no deadline of
    /// its own.
    ///
    /// # Cancel safety
    /// Dropping the future leaves it open whether the server was asked.
    pub async fn cancel(&self, endpoint: &Endpoint, token: &CancelToken) -> Result<()> {
        let started = Instant::now();
        let dialed = self.dialer.dial(endpoint).await;
        let stream =
            dialed.map_err(|(failure, reason)| self.failed(endpoint, failure, started.elapsed(), &reason))?;
        let wire = Wire::new(endpoint.clone(), Observers::default(), false);
        let link = Link::new(Tap::new(stream, wire, None), true);
        let asked = token.cancel_query_raw(link, HandOver).await;
        Ok(asked.map_err(|error| self.url.connect_error(endpoint, &error, started.elapsed()))?)
    }

    /// Opens a connection; `begun` gets what will be known of it before anything is.
    pub(crate) async fn open(
        &self,
        endpoint: &Endpoint,
        begun: &(dyn Fn(&Arc<Wire>) + Sync),
    ) -> Result<Opened> {
        let started = Instant::now();
        let opened =
            match tokio::time::timeout(self.config.connect_timeout, self.try_open(endpoint, started, begun))
                .await
            {
                Ok(result) => result,
                Err(_) => Err(self.timed_out(endpoint)),
            };
        let (is_open, elapsed, at) = (opened.is_ok(), started.elapsed(), endpoint.clone());
        let event = move |observer: &dyn Observe| {
            observer.on_link(&match is_open {
                true => LinkEvent::Opened { endpoint: &at, elapsed },
                false => LinkEvent::Refused { endpoint: &at },
            });
        };
        self.observers.tell_apart(event).await;
        Ok(opened?)
    }

    /// Whom to tell of what happens to connections.
    pub(crate) fn observers(&self) -> &Observers {
        &self.observers
    }

    /// The password source's failure to answer so far, where someone waits for it.
    pub(crate) fn silent_source(&self, endpoint: &Endpoint, waited: Duration) -> Option<ConnectError> {
        let is_asked = self.asking.load(Ordering::Acquire) > 0;
        let reason = || format!("the password source has not answered for {waited:?}");
        is_asked.then(|| self.failed(endpoint, ConnectFailure::PasswordSource, waited, &reason()))
    }

    /// The failure of an attempt that panicked.
    pub(crate) fn panicked(&self, endpoint: &Endpoint, error: &tokio::task::JoinError) -> ConnectError {
        self.failed(endpoint, ConnectFailure::Other, Duration::ZERO, &format!("opening it failed: {error}"))
    }

    fn timed_out(&self, endpoint: &Endpoint) -> ConnectError {
        let limit = self.config.connect_timeout;
        self.silent_source(endpoint, limit)
            .unwrap_or_else(|| self.failed(endpoint, ConnectFailure::TimedOut, limit, "timed out"))
    }

    /// Whether a server is there at all, without logging in.
    ///
    /// Returns the round trip, or nothing where nobody answers within `least` and a few round trips.
    pub(crate) async fn knock(&self, endpoint: &Endpoint, least: Duration) -> Option<Duration> {
        self.dialer.knock(endpoint, least).await
    }

    async fn try_open(
        &self,
        endpoint: &Endpoint,
        started: Instant,
        begun: &(dyn Fn(&Arc<Wire>) + Sync),
    ) -> Result<Opened, ConnectError> {
        let (client, wire) = self.log_in(endpoint, started, begun).await?;
        let sent = Instant::now();
        let asked = self.lessons.ask(&client).await;
        let heard = async { (self.lessons.hear(asked).await, sent.elapsed()) };
        let (equipped, (identity, round_trip)) = tokio::join!(self.equip(client, endpoint, &wire), heard);
        let (mut conn, seen) = equipped
            .map_err(|reason| self.failed(endpoint, ConnectFailure::Other, started.elapsed(), &reason))?;
        self.check_options(endpoint, &identity);
        self.prepare(&mut conn).await.map_err(|error| {
            self.failed(endpoint, ConnectFailure::Other, started.elapsed(), &error.to_string())
        })?;
        let mut session = wire.session();
        let confirmed = session.staleness.confirmed();
        session.server = identity.server(session.key());
        session.begin();
        drop(session);
        Ok(Opened { conn, wire, seen, round_trip, confirmed })
    }

    /// Says once that what was to hold for every session does not hold.
    fn check_options(&self, endpoint: &Endpoint, identity: &Identity) {
        if identity.has_options == Some(false) && self.lessons.says_lost() {
            let options = self.baseline().lost(&self.role.known().0);
            tracing::warn!(
                %endpoint, options,
                "the start-up options do not take effect, so the timeouts and read_only do not hold: a pooler on the way \
                 ignores them (ignore_startup_parameters of PgBouncer); set them for the role there (ALTER ROLE … SET)"
            );
        }
    }

    /// Does what the hooks want of a session that is new, or as new.
    pub(crate) async fn prepare(&self, conn: &mut AsyncPgConnection) -> Result<()> {
        if self.on_connect.is_empty() { Ok(()) } else { self.on_connect.run(conn).await }
    }

    /// Logs in with the settings that the role's own do not contradict.
    async fn log_in(
        &self,
        endpoint: &Endpoint,
        started: Instant,
        begun: &(dyn Fn(&Arc<Wire>) + Sync),
    ) -> Result<(Client, Arc<Wire>), ConnectError> {
        let baseline = self.baseline();
        let (known, believed) = self.role.known();
        let opened = self.log_in_with(endpoint, started, baseline.options(&known), begun).await?;
        if believed {
            return Ok(opened);
        }
        let read = self.role.read(&opened.0).await;
        if read == known || !(baseline.yields_to(&read) || baseline.yields_to(&known)) {
            return Ok(opened);
        }
        drop(opened);
        for _ in 0..STILL_COUNTED {
            match self.log_in_with(endpoint, started, baseline.options(&read), begun).await {
                Err(error) if error.failure == ConnectFailure::TooManyConnections => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                result => return result,
            }
        }
        self.log_in_with(endpoint, started, baseline.options(&read), begun).await
    }

    async fn log_in_with(
        &self,
        endpoint: &Endpoint,
        started: Instant,
        options: String,
        begun: &(dyn Fn(&Arc<Wire>) + Sync),
    ) -> Result<(Client, Arc<Wire>), ConnectError> {
        let failed = |(failure, reason): (ConnectFailure, String)| {
            self.failed(endpoint, failure, started.elapsed(), &reason)
        };
        let mut config = self.postgres_config(endpoint).await.map_err(failed)?;
        config.options(options);
        let stream = self.dialer.dial(endpoint).await.map_err(failed)?;
        let wire = Wire::new(endpoint.clone(), self.observers.of_server(endpoint), self.config.wire_tap);
        {
            let mut session = wire.session();
            session.known.harmless = self.harmless.clone();
            session.staleness = Staleness::of_new(&self.doubts);
        }
        begun(&wire);
        let channel_binding = stream.channel_binding();
        let tap = Tap::new(stream, Arc::clone(&wire), channel_binding);
        let (client, driver) = config
            .connect_raw(Link::new(tap, self.config.prepared_statements), HandOver)
            .await
            .map_err(|error| self.url.connect_error(endpoint, &error, started.elapsed()))?;
        let hot_standby = driver.parameter("in_hot_standby").map(|told| told == "on");
        let read_only = driver.parameter("default_transaction_read_only").map(|told| told == "on");

        let (ended, at) = (Arc::clone(&wire), endpoint.clone());
        tokio::spawn(async move {
            // The driver ends in good order when the client is dropped, and with an error when the link is
            // lost.
            let result = driver.await;
            if let Err(error) = &result {
                tracing::debug!(endpoint = %at, %error, "connection lost");
            }
            ended.ended(result.is_ok());
        });
        let wanted = Wanted::of(&self.url, self.config.read_only);
        wanted.check(&client, hot_standby.zip(read_only)).await.map_err(failed)?;
        Ok((client, wire))
    }

    fn baseline(&self) -> Baseline {
        Baseline::new(&self.url, &self.config)
    }

    /// How tokio-postgres logs in over a stream that we have opened.
    async fn postgres_config(
        &self,
        endpoint: &Endpoint,
    ) -> Result<tokio_postgres::Config, (ConnectFailure, String)> {
        let mut config = self.url.postgres_config(endpoint);
        if let Some(name) = &self.config.application_name {
            config.application_name(name);
        }
        if let Some(ask) = &self.password {
            config.password(self.password_from(ask).await?);
        } else if !self.url.has_password()
            && let Some(password) = passfile::password(&self.url, endpoint)
        {
            config.password(password);
        }
        // It believes to encrypt the stream itself, and so takes its channel binding.
        config.ssl_mode(SslMode::Require).ssl_negotiation(SslNegotiation::Direct);
        Ok(config)
    }

    /// Asks for the password in a task of its own: what is asked is code of others, which may panic or block.
    async fn password_from(&self, ask: &Arc<AskPassword>) -> Result<String, (ConnectFailure, String)> {
        let ask = Arc::clone(ask);
        // A set ends its tasks when it is dropped.
        let mut asked = tokio::task::JoinSet::new();
        asked.spawn(async move { ask().await });
        let _asking = Asking::begin(&self.asking);
        let reason = match asked.join_next().await {
            Some(Ok(Ok(password))) => return Ok(password),
            Some(Ok(Err(error))) => format!("the password could not be had: {error}"),
            Some(Err(_)) | None => "the password source panicked".to_owned(),
        };
        Err((ConnectFailure::PasswordSource, reason))
    }

    /// Asks the server to cancel what runs on the connection with this key, and returns once it has dealt
    /// with it: it closes the connection that asked.
    pub(crate) async fn cancel_by_key(
        &self,
        endpoint: &Endpoint,
        key: BackendKey,
        is_wanted: impl Fn() -> bool,
    ) -> Result<()> {
        let started = Instant::now();
        let failed = |(failure, reason): (ConnectFailure, String)| {
            self.failed(endpoint, failure, started.elapsed(), &reason)
        };
        let mut stream = self.dialer.dial(endpoint).await.map_err(failed)?;
        if !is_wanted() {
            // The answer came while the way was made.
            return Ok(());
        }
        // CancelRequest: its length, its code, whose query.
        let request = [16_i32, 80_877_102, key.pid, key.secret].map(i32::to_be_bytes).concat();
        let asked = async {
            stream.write_all(&request).await?;
            stream.flush().await?;
            stream.take(1_024).read_to_end(&mut Vec::new()).await
        };
        // A reset instead of an orderly end tells as much.
        if let Err(error) = asked.await
            && error.kind() != std::io::ErrorKind::ConnectionReset
        {
            return Err(failed((ConnectFailure::Other, error.to_string())).into());
        }
        Ok(())
    }

    async fn equip(
        &self,
        client: Client,
        endpoint: &Endpoint,
        wire: &Arc<Wire>,
    ) -> Result<(AsyncPgConnection, Arc<Seen>), String> {
        let mut conn = AsyncPgConnection::try_from(client).await.map_err(|error| error.to_string())?;
        if !self.config.prepared_statements {
            conn.set_prepared_statement_cache_size(CacheSize::Disabled);
        }
        if !self.baseline().time_zone_is_ours(&self.role.known().0) {
            // diesel-async has just set UTC.
            conn.batch_execute("RESET timezone").await.map_err(|error| error.to_string())?;
        }
        let seen = Arc::new(Seen::default());
        conn.set_instrumentation(Watch {
            endpoint: endpoint.clone(),
            seen: Arc::clone(&seen),
            wire: Arc::clone(wire),
            observers: self.observers.clone(),
            reports: !self.config.wire_tap && !self.observers.is_empty(),
            sent: None,
        });
        Ok((conn, seen))
    }

    fn failed(
        &self,
        endpoint: &Endpoint,
        failure: ConnectFailure,
        waited: Duration,
        reason: &str,
    ) -> ConnectError {
        ConnectError::new(endpoint.clone(), (self.url.user(), self.url.database()), failure, waited, reason)
    }
}

impl Connect for Connector {
    async fn connect(&self, endpoint: &Endpoint) -> Result<AsyncPgConnection> {
        Ok(self.open(endpoint, &|_| {}).await?.conn)
    }
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connector")
            .field("url", &self.url)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

/// Someone waits for the password source.
struct Asking(Arc<AtomicUsize>);

impl Asking {
    fn begin(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::AcqRel);
        Asking(Arc::clone(count))
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}
