//! How a sibling attaches to the platform: what it wants to see, to do around each COMMIT, and to run beside.
//!
//! A crate of the ring makes a [`Part`], and the umbrella takes it in; neither knows the other. The code of a
//! part is foreign code to its host: a panic in one of its hooks is caught, said, and changes no outcome.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use diesel_async::AsyncPgConnection;

use crate::{AroundCommit, DatabaseUrl, Endpoint, Measure, Observe, PartCheck, PartHealth, Result, Role};

type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Runs something on a connection.
///
/// An error means that the connection is not to be used.
pub type ConnectionHook =
    Arc<dyn for<'c> Fn(&'c mut AsyncPgConnection) -> Answer<'c, Result<()>> + Send + Sync>;

/// Makes the hook of one transaction, which holds that transaction's state.
pub type MakeAroundCommit = Arc<dyn Fn() -> Box<dyn AroundCommit> + Send + Sync>;

/// Starts a part, once the servers are known.
pub type Start = Box<dyn FnOnce(Ground) -> Answer<'static, Result<Running>> + Send>;

/// What a sibling attaches to the platform. What is `None` costs nothing.
///
/// ```
/// use std::sync::Arc;
/// use db_core::{Observe, Part, QueryEvent};
///
/// struct Slow;
/// impl Observe for Slow {
///     fn on_query(&self, event: &QueryEvent<'_>) {
///         if event.elapsed.as_secs() > 1 {
///             eprintln!("{}", event.statement);
///         }
///     }
/// }
/// let part = Part { observe: Some(Arc::new(Slow)), ..Part::named("slow queries") };
/// assert_eq!(part.name, "slow queries");
/// ```
pub struct Part {
    /// What logs, health and errors call it.
    pub name: &'static str,
    /// Is told of every statement and every link.
    pub observe: Option<Arc<dyn Observe>>,
    /// Makes the hook of each transaction.
    pub around_commit: Option<MakeAroundCommit>,
    /// Runs on each connection of a pool when it was opened, and again when its session was reset. It counts
    /// towards `connect_timeout`.
    pub on_connect: Option<ConnectionHook>,
    /// Runs on each connection right before a caller gets it: a round trip a checkout, if it asks the server.
    /// It counts towards `acquire_timeout`.
    pub on_checkout: Option<ConnectionHook>,
    /// Starts what runs beside, after the servers are known and before the first caller.
    pub start: Option<Start>,
}

impl Part {
    /// A part that does nothing yet.
    pub fn named(name: &'static str) -> Self {
        Part { name, observe: None, around_commit: None, on_connect: None, on_checkout: None, start: None }
    }

    /// The same part, which observes.
    #[must_use]
    pub fn observing(mut self, observe: impl Observe + 'static) -> Self {
        self.observe = Some(Arc::new(observe));
        self
    }

    /// The same part, whose hook goes around each COMMIT.
    #[must_use]
    pub fn around_commit<H: AroundCommit + 'static>(
        mut self,
        make: impl Fn() -> H + Send + Sync + 'static,
    ) -> Self {
        self.around_commit = Some(Arc::new(move || Box::new(make())));
        self
    }

    /// The same part, which starts this.
    #[must_use]
    pub fn starting<F>(mut self, start: impl FnOnce(Ground) -> F + Send + 'static) -> Self
    where
        F: Future<Output = Result<Running>> + Send + 'static,
    {
        self.start = Some(Box::new(move |ground| Box::pin(start(ground))));
        self
    }

    /// The same part, which prepares each connection that is opened.
    #[must_use]
    pub fn on_connect(
        mut self,
        hook: impl for<'c> Fn(&'c mut AsyncPgConnection) -> Answer<'c, Result<()>> + Send + Sync + 'static,
    ) -> Self {
        self.on_connect = Some(Arc::new(hook));
        self
    }

    /// The same part, which prepares each connection that is handed out.
    #[must_use]
    pub fn on_checkout(
        mut self,
        hook: impl for<'c> Fn(&'c mut AsyncPgConnection) -> Answer<'c, Result<()>> + Send + Sync + 'static,
    ) -> Self {
        self.on_checkout = Some(Arc::new(hook));
        self
    }
}

impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Part").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A part that runs: how it is, what it reports, how it ends. Each is called from any thread and must not
/// block.
#[non_exhaustive]
pub struct Running {
    /// How it is now.
    pub health: Box<dyn Fn() -> PartHealth + Send + Sync>,
    /// What it reports now.
    pub metrics: Box<dyn Fn() -> Vec<Measure> + Send + Sync>,
    /// What it checked of itself, as it was when it last looked.
    pub checks: Box<dyn Fn() -> Vec<PartCheck> + Send + Sync>,
    /// Ends it in good order: the pools are still there. It is given up when the grace of the shutdown is
    /// over.
    pub stop: Box<dyn FnOnce() -> Answer<'static, ()> + Send>,
}

impl Running {
    /// A part that is always well, reports nothing, and has nothing to end.
    pub fn new() -> Self {
        Running {
            health: Box::new(PartHealth::up),
            metrics: Box::new(Vec::new),
            checks: Box::new(Vec::new),
            stop: Box::new(|| Box::pin(async {})),
        }
    }

    /// The same part, which is as `health` says.
    #[must_use]
    pub fn with_health(mut self, health: impl Fn() -> PartHealth + Send + Sync + 'static) -> Self {
        self.health = Box::new(health);
        self
    }

    /// The same part, which reports this: every name from the start, also while its figure is zero. An
    /// exporter learns the names once, and asks all parts once for each name.
    #[must_use]
    pub fn with_metrics(mut self, metrics: impl Fn() -> Vec<Measure> + Send + Sync + 'static) -> Self {
        self.metrics = Box::new(metrics);
        self
    }

    /// The same part, which tells what it checked of itself: also what is well, or an alert would never end.
    #[must_use]
    pub fn with_checks(mut self, checks: impl Fn() -> Vec<PartCheck> + Send + Sync + 'static) -> Self {
        self.checks = Box::new(checks);
        self
    }

    /// The same part, which ends with this.
    #[must_use]
    pub fn with_stop<F>(mut self, stop: impl FnOnce() -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.stop = Box::new(move || Box::pin(stop()));
        self
    }
}

impl Default for Running {
    fn default() -> Self {
        Running::new()
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Running { .. }")
    }
}

/// One server, as the platform sees it now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Where it listens.
    pub endpoint: Endpoint,
    /// The role that it had when it was last asked; none where it never answered.
    pub role: Option<Role>,
    /// Whether it answered the last time.
    pub is_up: bool,
}

/// What a part stands on: the way to the servers, and a place for its jobs.
///
/// Cheap to clone. It keeps no pool open and no service alive.
#[derive(Clone)]
pub struct Ground {
    host: Arc<dyn Host>,
}

/// What a host gives to its parts.
pub trait Host: Send + Sync {
    /// The primary past any pooler: for locks, LISTEN and migrations.
    fn direct_url(&self) -> &DatabaseUrl;

    /// The servers that are known now.
    fn servers(&self) -> Vec<Server>;

    /// Opens a connection of the part's own; none stands for the primary past any pooler.
    fn connect<'a>(&'a self, to: Option<&'a Endpoint>) -> Answer<'a, Result<AsyncPgConnection>>;

    /// Opens a connection of the part's own to the primary past any pooler, in the database of the URL or in
    /// this one of the same server, and says where that is.
    fn connect_in<'a>(
        &'a self,
        database: Option<&'a str>,
    ) -> Answer<'a, Result<(Endpoint, AsyncPgConnection)>>;

    /// Runs a job of the part's until it ends or the platform shuts down.
    fn spawn(&self, job: Answer<'static, ()>);
}

impl Ground {
    /// The ground that a host gives.
    pub fn new(host: impl Host + 'static) -> Self {
        Ground { host: Arc::new(host) }
    }

    /// The primary past any pooler: for locks, LISTEN and migrations. Its password shows in no message.
    pub fn direct_url(&self) -> &DatabaseUrl {
        self.host.direct_url()
    }

    /// The servers that are known now.
    pub fn servers(&self) -> Vec<Server> {
        self.host.servers()
    }

    /// Opens a connection of the part's own to the primary, past any pooler. No pool counts it.
    ///
    /// # Errors
    /// [`Error::Connect`](crate::Error::Connect), within `connect_timeout`.
    ///
    /// # Cancel safety
    /// Dropping the future abandons the attempt.
    pub async fn connect_direct(&self) -> Result<AsyncPgConnection> {
        self.host.connect(None).await
    }

    /// Opens a connection of the part's own to one of the [servers](Ground::servers). No pool counts it.
    ///
    /// # Errors
    /// As [`Ground::connect_direct`].
    ///
    /// # Cancel safety
    /// As [`Ground::connect_direct`].
    pub async fn connect(&self, to: &Endpoint) -> Result<AsyncPgConnection> {
        self.host.connect(Some(to)).await
    }

    /// Opens a connection of the part's own to the primary, past any pooler, in another database of the same
    /// server; none is that of the URL. It also says where the primary is now. No pool counts it.
    ///
    /// # Errors
    /// As [`Ground::connect_direct`].
    ///
    /// # Cancel safety
    /// As [`Ground::connect_direct`].
    pub async fn connect_in(&self, database: Option<&str>) -> Result<(Endpoint, AsyncPgConnection)> {
        self.host.connect_in(database).await
    }

    /// Runs a job beside, until it ends or the platform shuts down: after the part's `stop`, what still runs
    /// is dropped.
    ///
    /// A job that panics ends, is logged with the part's name, and makes the part's health
    /// [`Down`](crate::Condition).
    pub fn spawn(&self, job: impl Future<Output = ()> + Send + 'static) {
        self.host.spawn(Box::pin(job));
    }
}

impl fmt::Debug for Ground {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ground").field("servers", &self.servers()).finish_non_exhaustive()
    }
}
