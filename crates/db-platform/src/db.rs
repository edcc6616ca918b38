//! The handle that a service holds: reads go to standbys, writes to the primary, and both are tried again
//! where that helps.

#[cfg(feature = "cache")]
mod cached;
#[cfg(feature = "cache")]
mod cached_many;
#[cfg(feature = "collector")]
mod collected;
mod connect;
mod counted;
#[cfg(feature = "insight")]
mod explained;
#[cfg(feature = "maintenance")]
mod maintained;
#[cfg(feature = "migrations")]
mod migrated;
#[cfg(feature = "monitoring")]
mod monitored;
#[cfg(feature = "report")]
mod reported;
mod tenants;
mod ways;
#[cfg(feature = "cache")]
mod weak;

#[cfg(feature = "cache")]
pub use cached::CachedValue;
#[cfg(feature = "cache")]
pub use cached_many::CachedMany;
#[cfg(feature = "maintenance")]
pub use maintained::Maintained;

use std::panic::Location;
#[cfg(feature = "otel")]
use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use db_core::{Acquire, Classify, Condition, Error, Measure, PartCheck, Result, Site, Work};
use db_pool::{Connection, Drained, Pool, Status};
use db_query::{Batch, BatchError, Returns, Rows};
use db_replica_routing::{Freshness, LostWrites, NodeStatus, Readiness, Router, Session, Topology, Writer};
use db_retry::{Retry, RetryConfig, Through, within};
use diesel_async::AsyncPgConnection;
use futures_util::future::BoxFuture;
use tokio::task::JoinSet;

use crate::breakers::{Breakers, Probes};
use crate::cursor;
use crate::health::{Health, Liveness, PoolHealth};
use crate::parts::Parts;
use crate::read::ReadBuilder;
use crate::transaction::TransactionBuilder;

/// How long `connect` waits for the standbys to be seen alive.
const PATIENCE: Duration = Duration::from_secs(2);

/// The database, as a service sees it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Db {
    router: Arc<Router<Pool>>,
    retry: Retry,
    /// Where calls are turned away at once while no server answers.
    breakers: Option<Arc<Breakers>>,
    /// The longest that one call may take as a whole.
    timeout: Option<Duration>,
    /// What the caller has written, so that its reads see it.
    session: Option<Session>,
    parts: Arc<Parts>,
    /// How many transactions that may write have ended.
    writes: Arc<AtomicU64>,
    /// Tells of writes that no session remembers, in development.
    lost_writes: Option<Arc<LostWrites>>,
    #[cfg(feature = "monitoring")]
    monitor: db_monitoring::Monitor,
    #[cfg(feature = "monitoring")]
    watched: Arc<crate::watched::Watched>,
    #[cfg(feature = "alerts")]
    alerts: Option<db_monitoring::alerts::Alerts>,
    /// What was found of plans and indexes.
    #[cfg(all(feature = "collector", feature = "insight"))]
    insights: db_insight::Insights,
    /// The way to the primary past pools and poolers.
    #[cfg(any(feature = "migrations", feature = "report"))]
    direct: db_pool::Connector,
    /// Where it is recorded what is applied, as `Config::ledger_schema` says.
    #[cfg(feature = "migrations")]
    ledger_schema: Option<Arc<str>>,
    #[cfg(feature = "maintenance")]
    upkeep: db_maintenance::Upkeep,
    /// The database's name, as metrics have it.
    #[cfg(all(feature = "monitoring", feature = "otel"))]
    namespace: Arc<str>,
    #[cfg(feature = "cache")]
    cache: Option<crate::cache_part::DbCache>,
    /// Whether a pooler may lead each transaction to another server.
    #[cfg(feature = "cache")]
    is_pooled: bool,
    /// What pools report to that are opened later.
    #[cfg(feature = "otel")]
    meter: Arc<OnceLock<opentelemetry::metrics::Meter>>,
}

impl Db {
    /// Runs a read on a standby that is alive and fresh enough, else on the primary; again elsewhere where
    /// that helps.
    ///
    /// A write in it fails with 25006 wherever it lands. Each attempt as a whole, however many statements it
    /// has, may take two seconds more than the statement timeout (`DB_QUERY_TIMEOUT`): a server that has
    /// stopped does not hold the caller.
    ///
    /// # Errors
    /// The error of the last attempt.
    ///
    /// # Cancel safety
    /// Dropping the future abandons the statement under way.
    #[track_caller]
    pub fn read<'a, T, E>(&'a self, work: impl Work<T, E> + 'a) -> BoxFuture<'a, Result<T>>
    where
        T: Send + 'a,
        E: Into<Error> + Send + 'a,
    {
        self.read_within(Freshness::Default, work)
    }

    /// As [`Db::read`], with a say in how stale the answer may be.
    ///
    /// # Errors
    /// As [`Db::read`].
    ///
    /// # Cancel safety
    /// As [`Db::read`].
    #[track_caller]
    pub fn read_within<'a, T, E>(
        &'a self,
        freshness: Freshness,
        work: impl Work<T, E> + 'a,
    ) -> BoxFuture<'a, Result<T>>
    where
        T: Send + 'a,
        E: Into<Error> + Send + 'a,
    {
        self.read_at(Location::caller(), freshness, work)
    }

    /// As [`Db::read_within`], on behalf of the code at `site`.
    pub(crate) fn read_at<'a, T, E>(
        &'a self,
        site: Site,
        freshness: Freshness,
        work: impl Work<T, E> + 'a,
    ) -> BoxFuture<'a, Result<T>>
    where
        T: Send + 'a,
        E: Into<Error> + Send + 'a,
    {
        self.read_by(site, move || self.reader(freshness), work)
    }

    /// A read that differs from the default: how stale it may be, and when it is tried again.
    pub fn build_read(&self) -> ReadBuilder<'_> {
        ReadBuilder::new(self)
    }

    /// Reads with several statements in one round trip; routed and tried again as [`Db::read`], all of them
    /// together.
    ///
    /// ```no_run
    /// # use db_platform::{BatchError, Db, batch};
    /// # use diesel::prelude::*;
    /// # diesel::table! { todos (id) { id -> Integer, title -> Text, } }
    /// # async fn page(db: Db) -> Result<(), BatchError> {
    /// let newest = todos::table.order(todos::id.desc()).limit(20);
    /// let (page, total): (Vec<(i32, String)>, i64) =
    ///     db.batch((batch::rows(newest), batch::row(todos::table.count()))).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Writes go in [`Db::write_batch`]; in a transaction with others, `(…, …).run(conn).await`, see
    /// [`Batch::run`].
    ///
    /// # Errors
    /// The first statement's that failed, and which one it was.
    ///
    /// # Cancel safety
    /// As [`Db::read`].
    #[track_caller]
    pub fn batch<'a, B: Batch + 'a>(&'a self, batch: B) -> BoxFuture<'a, Result<B::Output, BatchError>> {
        let failed = Arc::new(Mutex::new(None));
        let at = Arc::clone(&failed);
        let read = self.read(async move |conn: &mut AsyncPgConnection| {
            batch.run(conn).await.inspect_err(|error| *lock(&at) = error.statement)
        });
        Box::pin(
            async move { read.await.map_err(|error| BatchError::of_last_attempt(*lock(&failed), error)) },
        )
    }

    /// The rows of a query, however many: `batch_size` of them at a time, the next while the caller works on
    /// these.
    ///
    /// They are read by a cursor in a read-only transaction, on a server that is chosen as for [`Db::read`].
    /// All rows are as of the same moment.
    ///
    /// ```no_run
    /// # use db_platform::{Db, Result};
    /// # use diesel::prelude::*;
    /// # use futures_util::TryStreamExt;
    /// # diesel::table! { todos (id) { id -> Integer, title -> Text, } }
    /// # async fn export(db: Db) -> Result<()> {
    /// let mut rows = db.stream::<(i32, String)>(todos::table, 1_000);
    /// while let Some((id, title)) = rows.try_next().await? {
    ///     println!("{id},{title}");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// The transaction lies idle while the caller works on a batch: for at most
    /// `idle_in_transaction_timeout`, a minute unless set, else the server ends it. A stream that is open for
    /// longer than the pool's leak threshold is reported as any other connection is.
    ///
    /// # Errors
    /// The last item is an error where something failed. It is tried again only before the first row.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    #[track_caller]
    pub fn stream<U: Send + 'static>(
        &self,
        query: impl Returns<U, Query: 'static, SqlType: 'static> + 'static,
        batch_size: u32,
    ) -> Rows<U> {
        cursor::rows(self.clone(), Location::caller(), query, batch_size)
    }

    /// Runs `work` in a transaction on the primary; the whole transaction runs again after a conflict, after
    /// a lost connection, and where the answer to COMMIT was lost and it turns out not to have committed.
    ///
    /// # Errors
    /// The work's own error, as it was; [`Error::CommitUnknown`] where the answer to COMMIT was lost and it
    /// could not be found out what became of it ([`TransactionBuilder::marked`] helps across a failover).
    ///
    /// # Cancel safety
    /// Dropping the future abandons the transaction; the server rolls it back, unless COMMIT was already
    /// sent.
    #[track_caller]
    pub fn transaction<'a, T, E>(&'a self, work: impl Work<T, E> + 'a) -> BoxFuture<'a, Result<T, E>>
    where
        T: Send + 'a,
        E: From<Error> + Classify + Send + 'a,
    {
        self.build_transaction().run(work)
    }

    /// A transaction that differs from the default.
    pub fn build_transaction(&self) -> TransactionBuilder<'_> {
        TransactionBuilder::new(self)
    }

    /// One connection to the primary, for what fits no other verb.
    ///
    /// # Errors
    /// As [`Pool::get`].
    ///
    /// # Cancel safety
    /// As [`Pool::get`].
    #[track_caller]
    pub fn primary(&self) -> impl Future<Output = Result<Connection>> + Send {
        let site = Location::caller();
        if let Some(lost_writes) = self.lost_writes.as_ref().filter(|_| self.session_now().is_some()) {
            lost_writes.primary(site);
        }
        self.primary_at(site)
    }

    fn primary_at(&self, site: Site) -> impl Future<Output = Result<Connection>> + Send {
        within(self.timeout, async move {
            self.can_set_path()?;
            let conn = self.writer().acquire_at(site).await?.into_inner().into_inner();
            self.with_path_set(conn).await
        })
    }

    /// How the database is, by what the monitors, pools and parts saw last. It asks no server and waits for
    /// nothing, so it fits an endpoint that is asked often.
    ///
    /// A pool that is merely busy is [`Condition::Degraded`], not down: restarting the service would not
    /// help. Whether to send requests here is [`Db::readiness`], whether to restart the process
    /// [`Db::liveness`].
    pub fn health(&self) -> Health {
        let topology = self.topology();
        let primary = topology.writer_answers_in();
        let parts = self.parts.health();
        let all_well = topology.nodes.iter().all(NodeStatus::is_up)
            && parts.iter().all(|part| part.health.condition == Condition::Up);
        let condition = match (&topology.writer, &primary) {
            (None, _) => Condition::Down,
            (Some(_), Ok(_)) if all_well => Condition::Up,
            (Some(_), _) => Condition::Degraded,
        };
        let pools = self.router.sources(|purpose, pool| PoolHealth::new(purpose, pool.status()));
        #[cfg(feature = "monitoring")]
        let checks = self.watched.checks();
        Health {
            condition,
            primary,
            topology,
            pools,
            parts,
            #[cfg(feature = "monitoring")]
            checks,
        }
    }

    /// That this process is alive: for a probe whose failure restarts it. It touches neither pool nor
    /// database, and could not: there is no handle.
    pub fn liveness() -> Liveness {
        Liveness { up: true }
    }

    /// Whether requests that need the database can be served: for a probe whose failure sends them elsewhere.
    /// It asks no server.
    ///
    /// If all replicas of a service look at one database, they become unready together: take `reads` if most
    /// requests read.
    pub fn readiness(&self) -> Readiness {
        self.topology().readiness()
    }

    /// The same database, where each call takes at most `timeout` as a whole: the wait for a connection,
    /// every attempt and every pause between them.
    ///
    /// A call that is not done by then ends with [`Error::DeadlineExceeded`], and its statement is cancelled
    /// on the server. Only a COMMIT that was already sent is waited for, for at most twice that time in all:
    /// what became of it must be known. Of a [`Db::stream`], each batch is a call.
    pub fn with_timeout(&self, timeout: Duration) -> Db {
        let config = RetryConfig { deadline: Some(timeout), ..self.retry.config().clone() };
        Db { retry: self.retry.with(config), timeout: Some(timeout), ..self.clone() }
    }

    /// The same database, whose reads and transactions are tried again as `config` says: for one call or for
    /// many. What retries may cost in sum stays what it was.
    pub fn with_retry(&self, config: RetryConfig) -> Db {
        Db { retry: self.retry.saying(config), ..self.clone() }
    }

    /// The same database, in the session that this task runs in ([`Session::scope`]), else in a new one: its
    /// reads see what its transactions have committed, on standbys that have it and else on the primary.
    ///
    /// Inside such a scope every handle is in the task's session anyway, this one or a clone: a write is
    /// remembered whoever makes it. [`Session::spawn`] carries the scope into a task. Outside of one, each
    /// call begins a session of its own: call it once and clone what it returns.
    ///
    /// Clones of the handle are in the same session. That holds for [`Db::read`], [`Db::batch`] and
    /// [`Db::stream`]; a [`Freshness`] that is asked for by name is what is meant. Of what is written through
    /// [`Db::primary`] a session knows only when it is [told](Session::forget).
    ///
    /// In development (`APP_ENV`) the log warns, once for each line, of a call outside of every scope where
    /// the process opens any, of a transaction there, and of [`Db::primary`] in a session.
    #[track_caller]
    pub fn session(&self) -> Db {
        if let Some(lost_writes) = &self.lost_writes {
            lost_writes.session(Location::caller());
        }
        self.in_session(&Session::current().unwrap_or_default())
    }

    /// As [`Db::session`], in this one: for whoever carries its [`Token`](db_replica_routing::Token) on.
    pub fn in_session(&self, session: &Session) -> Db {
        Db { session: Some(session.clone()), ..self.clone() }
    }

    /// What is known of the servers.
    pub fn topology(&self) -> Topology {
        self.router.topology()
    }

    /// What each pool holds and has done: the writers', the one for reads on the primary, and the standbys'.
    pub fn pools(&self) -> Vec<Status> {
        self.router.sources(|_, pool| pool.status())
    }

    /// Reports what every pool, the router and every statement do to `meter`, from now on: docs/metrics.md
    /// lists the metrics. Call it once.
    #[cfg(feature = "otel")]
    pub fn observe_with(&self, meter: &opentelemetry::metrics::Meter) {
        // Those that are opened later find it here.
        let _ = self.meter.set(meter.clone());
        self.router.sources(|purpose, pool| pool.observe_with(meter, connect::name_of(pool, purpose)));
        self.router.observe_with(meter);
        #[cfg(feature = "monitoring")]
        self.monitor.observe_with(meter, &self.namespace);
        crate::part_metrics::observe(&self.parts, meter);
    }

    /// What the parts measure now.
    pub fn part_metrics(&self) -> Vec<Measure> {
        self.parts.metrics()
    }

    /// What the parts checked of themselves, as they last knew it: monitoring shows it beside its own checks.
    pub fn part_checks(&self) -> Vec<PartCheck> {
        self.parts.checks()
    }

    /// Stops the parts, the last one first, then closes every pool: nobody gets a connection any more, and
    /// those in use are waited for, for at most `grace` each.
    ///
    /// # Cancel safety
    /// Dropping the future stops the waiting. The part that was stopping is dropped with it; the pools stay
    /// open where parts were still to be stopped: call it again.
    pub async fn shutdown(&self, grace: Duration) -> Drained {
        self.parts.stop(grace).await;
        close(&self.router, grace).await
    }

    pub(crate) fn timeout(&self) -> Option<Duration> {
        self.timeout
    }

    pub(crate) fn parts(&self) -> &Parts {
        &self.parts
    }

    pub(crate) fn retry(&self) -> &Retry {
        &self.retry
    }

    pub(crate) fn writer(&self) -> Through<'_, Probes, Writer<'_, Pool>> {
        Through::new(self.breakers.as_deref().map(|breakers| &breakers.writes), self.router.writer())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Closes the pools of a router.
async fn close(router: &Router<Pool>, grace: Duration) -> Drained {
    router.stop();
    let mut pools = JoinSet::new();
    for pool in router.sources(|_, pool| pool.clone()) {
        pools.spawn(async move { pool.shutdown(grace).await });
    }
    pools.join_all().await.into_iter().fold(Drained::default(), |all, one| all + one)
}
