//! How connections are opened, and how many are kept.

use std::num::NonZeroUsize;
use std::time::Duration;

use db_core::DatabaseUrl;

use crate::{AdaptiveConfig, HarmlessFunctions, Pool};

/// How a connection is opened, and what holds for its whole life.
///
/// Everything here travels in the start-up packet, so that `RESET ALL` restores it and no statement is spent
/// on it.
///
/// Who wins: what was chosen here, else what the URL says, else what `ALTER ROLE … SET` and
/// `ALTER DATABASE … SET` say, else the default here. What was chosen is told by
/// [`defaults`](ConnectConfig::defaults).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectConfig {
    /// The longest that opening a connection may take: name lookup, TCP, login and set-up together.
    ///
    /// A server that accepts and then says nothing is given up after this time.
    pub connect_timeout: Duration,
    /// How long sent data may stay unacknowledged before the kernel gives the connection up
    /// (`tcp_user_timeout`).
    ///
    /// It notices a network that swallows packets; a stopped server still acknowledges.
    pub socket_timeout: Option<Duration>,
    /// The longest that one statement may run on the server (`statement_timeout`).
    pub statement_timeout: Option<Duration>,
    /// The longest that one statement may wait for a lock (`lock_timeout`).
    pub lock_timeout: Option<Duration>,
    /// The longest that a transaction may lie open and idle (`idle_in_transaction_session_timeout`).
    ///
    /// The server's own answer to a client that forgot a transaction: it frees the locks.
    pub idle_in_transaction_timeout: Option<Duration>,
    /// Refuse writes with SQLSTATE 25006, as a standby does (`default_transaction_read_only`).
    pub read_only: bool,
    /// What `pg_stat_activity` shows as `application_name`.
    pub application_name: Option<String>,
    /// Whether prepared statements are kept from one use to the next.
    ///
    /// Without it no statement has a name, for poolers in transaction mode that do not follow prepared
    /// statements (PgBouncer before 1.21): each is parsed anew whenever it is used, in two round trips, and
    /// closed in a third for which nobody waits.
    pub prepared_statements: bool,
    /// How many prepared statements a connection may keep; with more, all are dropped when it is returned.
    pub max_prepared_statements: NonZeroUsize,
    /// Whether the bytes of every connection are read as they go by.
    ///
    /// Without it these guarantees are lost: the exact SQLSTATE of every error (diesel's kinds and English
    /// messages remain), a `BEGIN` sent as text is not seen, a connection left in the middle of something is
    /// closed and not salvaged, nothing that was left behind is reset, leak reports name no statement. It
    /// costs less than one per cent of a `SELECT 1`.
    pub wire_tap: bool,
    /// What holds where nobody chose: a setting that equals its default yields to the URL and to the role's
    /// settings.
    pub defaults: ConnectDefaults,
}

/// The defaults of a [`ConnectConfig`]: a setting that equals the default here was not chosen; `None` means
/// that the setting was chosen, whatever it is.
///
/// ```
/// use db_pool::{ConnectConfig, ConnectDefaults};
///
/// // Nobody's `options` and no ALTER ROLE changes this one, although it is what the default would be.
/// let config = ConnectConfig::default();
/// let defaults = ConnectDefaults { statement_timeout: None, ..config.defaults.clone() };
/// let config = ConnectConfig { defaults, ..config };
/// # let _ = config;
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectDefaults {
    /// Of [`ConnectConfig::connect_timeout`]; the URL's parameter `connect_timeout` wins over it.
    pub connect_timeout: Option<Duration>,
    /// Of [`ConnectConfig::socket_timeout`]; the URL's parameter `tcp_user_timeout` wins over it.
    pub socket_timeout: Option<Option<Duration>>,
    /// Of [`ConnectConfig::statement_timeout`]; the session's setting `statement_timeout` wins over it.
    pub statement_timeout: Option<Option<Duration>>,
    /// Of [`ConnectConfig::lock_timeout`]; the session's setting `lock_timeout` wins over it.
    pub lock_timeout: Option<Option<Duration>>,
    /// Of [`ConnectConfig::idle_in_transaction_timeout`]; the session's setting
    /// `idle_in_transaction_session_timeout` wins over it.
    pub idle_in_transaction_timeout: Option<Option<Duration>>,
}

impl Default for ConnectDefaults {
    fn default() -> Self {
        ConnectDefaults {
            connect_timeout: Some(Duration::from_secs(5)),
            socket_timeout: Some(Some(Duration::from_secs(30))),
            statement_timeout: Some(Some(Duration::from_secs(30))),
            lock_timeout: Some(None),
            idle_in_transaction_timeout: Some(Some(Duration::from_secs(60))),
        }
    }
}

impl Default for ConnectConfig {
    fn default() -> Self {
        let defaults = ConnectDefaults::default();
        ConnectConfig {
            connect_timeout: defaults.connect_timeout.unwrap_or_default(),
            socket_timeout: defaults.socket_timeout.flatten(),
            statement_timeout: defaults.statement_timeout.flatten(),
            lock_timeout: defaults.lock_timeout.flatten(),
            idle_in_transaction_timeout: defaults.idle_in_transaction_timeout.flatten(),
            read_only: false,
            application_name: None,
            prepared_statements: true,
            max_prepared_statements: NonZeroUsize::new(256).unwrap_or(NonZeroUsize::MIN),
            wire_tap: true,
            defaults,
        }
    }
}

impl ConnectConfig {
    /// The same, with what a URL says instead of what nobody chose.
    pub(crate) fn within(mut self, url: &DatabaseUrl) -> Self {
        let number = |name| url.param(name).and_then(|text| text.trim().parse::<i64>().ok());
        if self.defaults.connect_timeout == Some(self.connect_timeout)
            && let Some(seconds) = number("connect_timeout")
        {
            let limit = u64::try_from(seconds).ok().filter(|seconds| *seconds > 0);
            self.connect_timeout = limit.map_or(NO_LIMIT, Duration::from_secs);
        }
        if self.defaults.socket_timeout == Some(self.socket_timeout)
            && let Some(millis) = number("tcp_user_timeout")
        {
            let limit = u64::try_from(millis).ok().filter(|millis| *millis > 0);
            self.socket_timeout = limit.map(Duration::from_millis);
        }
        self
    }
}

/// As good as never, and far from any overflow.
const NO_LIMIT: Duration = Duration::from_secs(365 * 86_400);

/// How many connections are kept, for how long, and how long callers wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolConfig {
    /// Connections that are kept open even when nobody needs them.
    pub min: usize,
    /// The most that may be open at once, those being opened included.
    ///
    /// More is seldom faster: a server with 8 cores is busy with 20.
    pub max: NonZeroUsize,
    /// The longest a caller waits for a connection; none is without end.
    ///
    /// Keep this below the request timeout, or callers give up first and the pool reports nothing.
    pub acquire_timeout: Option<Duration>,
    /// How many callers may wait at once, one at least; the next one is refused with
    /// [`QueueFull`](db_core::Error::QueueFull).
    ///
    /// Refusing early keeps the wait of everyone else short when the database cannot keep up.
    pub max_waiters: usize,
    /// A connection idle for longer is closed, as long as `min` remain; none is never.
    pub idle_timeout: Option<Duration>,
    /// A connection older than this is closed when it is next idle; each gets up to 5 % less, so that those
    /// that were opened together are not closed together. None is never.
    pub max_lifetime: Option<Duration>,
    /// A connection idle for longer than this is asked for a sign of life before it is handed out; none is
    /// never.
    pub check_after: Option<Duration>,
    /// A connection idle for longer than this is asked for a sign of life, so that no firewall forgets it.
    pub keepalive: Option<Duration>,
    /// The most connections that background work may hold at once
    /// ([`Pool::background`](crate::Pool::background)); none means half of `max`, or of the limit where that
    /// is [adaptive](PoolConfig::adaptive).
    pub background: Option<NonZeroUsize>,
    /// A connection held for longer than this is reported once, with who holds it, and again when it is
    /// returned.
    pub leak_threshold: Option<Duration>,
    /// The longest that cleaning a connection may take which came back in the middle of something; then it is
    /// closed.
    pub salvage_timeout: Duration,
    /// A connection over which a longer message went, in bytes, is closed when it comes back: the client
    /// library's buffers grow to it and never shrink. None is no limit.
    pub max_buffer: Option<NonZeroUsize>,
    /// When a session is reset that comes back.
    pub reset: Reset,
    /// Functions of the service's own that leave nothing behind, so that a statement which calls one costs no
    /// reset.
    pub harmless: HarmlessFunctions,
    /// Whether the pool finds out by itself how many connections are enough, `max` at most; none means that
    /// it opens up to `max` whenever callers wait.
    pub adaptive: Option<AdaptiveConfig>,
}

/// When a session that comes back is reset: settings, roles, advisory locks, temporary objects, LISTEN,
/// cursors, the sequences that it used, the seed of its random numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Reset {
    /// Where a statement was seen whose text names what may leave something behind, in whatever spelling: a
    /// function counts unless it is known to be harmless, as most of PostgreSQL's own are, or
    /// [declared](PoolConfig::harmless) so.
    ///
    /// What no text tells is not seen: what triggers, views, column defaults, operators and casts of the
    /// service's own call, and what a column that counts up by itself leaves to `currval` and `lastval`.
    #[default]
    WhenSeen,
    /// After every use; one more round trip, on nobody's time.
    Always,
}

impl PoolConfig {
    /// The limit that a pool begins with.
    pub(crate) fn first_limit(&self) -> usize {
        let max = self.max.get().min(Pool::LARGEST);
        self.adaptive.as_ref().map_or(max, |adaptive| adaptive.start.max(adaptive.min).get().min(max))
    }

    /// Whoever finds nothing idle must wait for a connection to be opened: without a place nobody would ever
    /// get one.
    pub(crate) fn most_waiters(&self) -> usize {
        self.max_waiters.max(1)
    }

    /// How many connections background work may hold at this limit: half of it, unless configured. Where the
    /// limit adapts itself it is never all of it.
    pub(crate) fn background_within(&self, limit: usize) -> usize {
        let most = if self.adaptive.is_some() { limit.saturating_sub(1) } else { Pool::LARGEST };
        self.background.map_or(limit / 2, NonZeroUsize::get).min(most).max(1)
    }
}

impl Default for PoolConfig {
    fn default() -> Self {
        PoolConfig {
            min: 0,
            max: NonZeroUsize::new(10).unwrap_or(NonZeroUsize::MIN),
            acquire_timeout: Some(Duration::from_secs(5)),
            max_waiters: 1_000,
            idle_timeout: Some(Duration::from_secs(600)),
            max_lifetime: Some(Duration::from_secs(1_800)),
            check_after: Some(Duration::from_millis(500)),
            keepalive: Some(Duration::from_secs(120)),
            background: None,
            leak_threshold: Some(Duration::from_secs(60)),
            salvage_timeout: Duration::from_secs(1),
            max_buffer: NonZeroUsize::new(8 * 1024 * 1024),
            reset: Reset::WhenSeen,
            harmless: HarmlessFunctions::default(),
            adaptive: None,
        }
    }
}
