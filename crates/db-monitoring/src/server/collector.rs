//! Collects from one server in the background: each database by a task of its own, so that a stuck one
//! delays no other.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use db_core::{Error, Ground, Part, Running};
use tokio::sync::mpsc;

use crate::server::history::store::Store;
use crate::server::history::{Finished, History};
use crate::server::prometheus::{self, SlowText};
use crate::server::section::{Section, unix_seconds};
use crate::server::snapshot::server_sections;
use crate::server::task::{DatabaseTask, ServerTask};
use crate::server::text_at_hand::TextAtHand;
use crate::server::{
    DatabaseSnapshot, HistoryConfig, HistoryPoint, OpenConnection, Resolution, Round, SkipReason, Skipped,
    Snapshot, StatementTexts,
};
use crate::{LookAtPools, MonitoringConfig};

/// Which databases of a server are looked into. What counts for the server as a whole always covers all of
/// them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Databases {
    /// That of the URL.
    #[default]
    Own,
    /// All that the role may connect to, templates left out.
    All,
    /// These.
    Named(Vec<String>),
}

/// What is collected, and how often.
///
/// ```
/// use db_monitoring::server::{CollectorConfig, Databases, Round};
///
/// let config = CollectorConfig { databases: Databases::All, ..CollectorConfig::default() };
/// assert_eq!(config.period(Round::Activity).as_secs(), 1);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CollectorConfig {
    /// Which databases.
    pub databases: Databases,
    /// How often each round is asked, in the order of [`Round::ALL`].
    pub periods: [Duration; 5],
    /// What history in the database may take; none keeps it in memory only.
    pub history: Option<HistoryConfig>,
    /// Whether only one of all processes that watch this database looks into it: the one that holds an
    /// advisory lock.
    pub one_leader: bool,
}

impl CollectorConfig {
    /// What the settings say.
    pub fn of(config: &MonitoringConfig) -> Self {
        let kept = HistoryConfig { retention_days: config.history_days, ..HistoryConfig::default() };
        let mut collector = CollectorConfig {
            history: (config.history_days > 0).then_some(kept),
            ..CollectorConfig::default()
        };
        if let Some(every) = config.collect_every {
            let [activity, others @ ..] = &mut collector.periods;
            *activity = every;
            // Nothing is asked more often than what changes most.
            others.iter_mut().for_each(|period| *period = every.max(*period));
        }
        collector
    }

    /// How often a round is asked.
    pub fn period(&self, round: Round) -> Duration {
        let place = Round::ALL.iter().position(|one| *one == round).unwrap_or_default();
        self.periods[place].max(Duration::from_millis(100))
    }
}

impl Default for CollectorConfig {
    fn default() -> Self {
        CollectorConfig {
            databases: Databases::Own,
            periods: [1, 15, 60, 300, 3_600].map(Duration::from_secs),
            history: None,
            one_leader: true,
        }
    }
}

/// Collects from one server, and keeps the last [`Snapshot`] for whoever asks; asking never waits for the
/// server.
///
/// ```no_run
/// # async fn example(open: db_monitoring::server::OpenConnection) {
/// use db_monitoring::server::{Collector, CollectorConfig};
///
/// let collector = Collector::new(open, CollectorConfig::default());
/// tokio::spawn(collector.clone().run());
/// let snapshot = collector.latest();
/// println!("{:?}", snapshot.activity.get().map(Vec::len)); // Err(Skipped { reason: TooSoon, … }) at first
/// # }
/// ```
#[derive(Clone)]
pub struct Collector {
    pub(crate) shared: Arc<Shared>,
}

/// What the tasks of a collector write, each its own part.
pub(crate) struct Shared {
    pub(crate) open: OpenConnection,
    pub(crate) config: CollectorConfig,
    whole: Mutex<Whole>,
    latest: ArcSwap<Snapshot>,
    changed: tokio::sync::watch::Sender<u64>,
    leads: AtomicBool,
    pub(crate) text: TextAtHand,
    history: Mutex<History>,
    pools: OnceLock<LookAtPools>,
    finished: mpsc::Sender<Finished>,
    to_keep: Mutex<Option<mpsc::Receiver<Finished>>>,
}

#[derive(Default)]
struct Whole {
    server: Snapshot,
    home: Option<Home>,
    by_database: BTreeMap<String, DatabaseSnapshot>,
}

/// What the task of the first database asks for the whole server.
#[derive(Default, Clone)]
pub(crate) struct Home {
    pub(crate) slow: Snapshot,
    pub(crate) texts: Arc<StatementTexts>,
}

impl Collector {
    /// A collector that has not begun.
    pub fn new(open: OpenConnection, config: CollectorConfig) -> Self {
        let (finished, to_keep) = mpsc::channel(64);
        let shared = Shared {
            open,
            config,
            whole: Mutex::default(),
            latest: ArcSwap::default(),
            changed: tokio::sync::watch::Sender::new(0),
            leads: AtomicBool::new(false),
            text: TextAtHand::default(),
            history: Mutex::default(),
            pools: OnceLock::new(),
            finished,
            to_keep: Mutex::new(Some(to_keep)),
        };
        Collector { shared: Arc::new(shared) }
    }

    /// What is known now. It never waits.
    pub fn latest(&self) -> Arc<Snapshot> {
        self.shared.latest.load_full()
    }

    /// What is known now as Prometheus' text, as [`metrics_text`](crate::server::metrics_text) writes it.
    /// It never waits. What is read a minute apart or more, tables above all, is written as soon as it is
    /// read while somebody asks for it.
    pub fn metrics_text(&self) -> String {
        let (mut text, slow) = self.metrics_parts();
        text.push_str(&slow.text);
        text
    }

    /// The same as two parts, the second of which is at hand.
    pub(crate) fn metrics_parts(&self) -> (String, Arc<SlowText>) {
        let snapshot = self.latest();
        let slow = self.shared.text.asked_for(&snapshot);
        (prometheus::text_of_now(&snapshot, SystemTime::now()), slow)
    }

    /// How the server was: the points of a resolution, oldest first. A time in which nobody could look has
    /// none.
    pub fn history(&self, resolution: Resolution) -> Vec<Arc<HistoryPoint>> {
        self.shared.history.lock().unwrap_or_else(PoisonError::into_inner).points(resolution)
    }

    /// Has the process's pools looked at for history, too. Only the first call counts.
    pub fn watch_pools(&self, look: LookAtPools) {
        let _ = self.shared.pools.set(look);
    }

    /// Whether this process is the one that looks into the databases, writes history and tells people.
    pub fn is_leader(&self) -> bool {
        self.shared.leads.load(Ordering::Relaxed)
    }

    /// Waits until a snapshot newer than the last one that this receiver saw is there.
    pub fn changes(&self) -> tokio::sync::watch::Receiver<u64> {
        self.shared.changed.subscribe()
    }

    /// Collects until it is dropped.
    pub async fn run(self) {
        let mut server = ServerTask::new(Arc::clone(&self.shared));
        let mut home = DatabaseTask::new(Arc::clone(&self.shared), None);
        let text = self.shared.text.keep(&self.shared.latest, self.changes());
        tokio::join!(server.run(), home.run(), self.other_databases(), self.keep_history(), text);
    }

    /// Asks for everything once, also where another process leads: for a command that prints one report.
    ///
    /// # Cancel safety
    /// Dropping the future leaves what was collected so far.
    pub async fn collect_once(&self) -> Arc<Snapshot> {
        let mut home = DatabaseTask::new(Arc::clone(&self.shared), None);
        let mut server = ServerTask::new(Arc::clone(&self.shared));
        tokio::join!(server.collect_once(), home.collect_once());
        let others = self.wanted_databases().unwrap_or_default();
        let each = others.into_iter().map(|name| async {
            DatabaseTask::new(Arc::clone(&self.shared), Some(name)).collect_once().await;
        });
        futures_util::future::join_all(each).await;
        self.latest()
    }

    /// A collector that runs beside `Db`, on connections to the primary that no pool counts, and the part
    /// that runs it. The part is degraded while the server cannot be asked.
    ///
    /// ```
    /// use db_monitoring::server::{Collector, CollectorConfig};
    ///
    /// let (collector, part) = Collector::beside(CollectorConfig::default());
    /// // `Db::connect_with(config, [part])`, and then
    /// assert!(collector.latest().server.get().is_err()); // not collected yet
    /// assert_eq!(part.name, "collector");
    /// ```
    pub fn beside(config: CollectorConfig) -> (Self, Part) {
        let ground: Arc<OnceLock<Ground>> = Arc::default();
        let known = Arc::clone(&ground);
        let open: OpenConnection = Arc::new(move |database| {
            let ground = known.get().cloned();
            Box::pin(async move {
                let not_yet =
                    || Error::ConnectionLost { reason: "the platform has not started yet".to_owned() };
                ground.ok_or_else(not_yet)?.connect_in(database.as_deref()).await
            })
        });
        let collector = Collector::new(open, config);
        let runs = collector.clone();
        let part = Part::named("collector").starting(|on| async move {
            let _ = ground.set(on.clone());
            on.spawn(runs.clone().run());
            Ok(Running::new().with_health(move || runs.health()))
        });
        (collector, part)
    }

    fn health(&self) -> db_core::PartHealth {
        match self.latest().server.get() {
            Ok(_) => db_core::PartHealth::up(),
            Err(skipped) if skipped.reason == SkipReason::TooSoon => db_core::PartHealth::up(),
            Err(skipped) => db_core::PartHealth::new(db_core::Condition::Degraded, skipped.to_string()),
        }
    }

    /// The databases besides that of the URL; none where it is not known which there are.
    fn wanted_databases(&self) -> Option<Vec<Arc<str>>> {
        let latest = self.latest();
        let access = latest.access.get().ok()?;
        let others = access.databases.iter().filter(|database| database.datname != access.database);
        let wanted = others.filter(|database| match &self.shared.config.databases {
            Databases::Own => false,
            Databases::All => database.datallowconn && !database.datistemplate && database.can_connect,
            Databases::Named(names) => names.contains(&database.datname),
        });
        Some(wanted.map(|database| database.datname.as_str().into()).collect())
    }

    /// Writes what is finished to the database while this process leads, and reads once what earlier ones
    /// kept.
    async fn keep_history(&self) {
        let receiver = self.shared.to_keep.lock().unwrap_or_else(PoisonError::into_inner).take();
        let (Some(config), Some(mut receiver)) = (self.shared.config.history, receiver) else { return };
        let mut store = Store::new(Arc::clone(&self.shared.open), config);
        let mut is_restored = false;
        let mut look = tokio::time::interval(Duration::from_secs(1));
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let finished = tokio::select! {
                finished = receiver.recv() => finished.unwrap_or_default(),
                _ = look.tick() => Vec::new(),
            };
            if !self.is_leader() {
                continue;
            }
            if !is_restored {
                match store.restore().await {
                    Ok(kept) => {
                        is_restored = true;
                        let mut history = self.shared.history.lock().unwrap_or_else(PoisonError::into_inner);
                        kept.into_iter().for_each(|(resolution, points)| history.restore(resolution, points));
                    }
                    Err(why) => tracing::debug!(%why, "what earlier processes kept is not known"),
                }
            }
            // It was logged; what waits is tried again.
            let _ = store.write(finished).await;
        }
    }

    /// Keeps a task for each other database that is wanted, as they come and go.
    async fn other_databases(&self) {
        let mut tasks: BTreeMap<Arc<str>, tokio::task::JoinHandle<()>> = BTreeMap::new();
        let ends = AbortAll(&mut tasks);
        let mut look = tokio::time::interval(Duration::from_secs(1));
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            look.tick().await;
            let Some(wanted) = self.wanted_databases() else { continue };
            ends.0.retain(|name, task| {
                let keep = wanted.contains(name);
                if !keep {
                    task.abort();
                    self.shared.forget_database(name);
                }
                keep
            });
            for name in wanted {
                let (shared, of) = (Arc::clone(&self.shared), Arc::clone(&name));
                ends.0.entry(name).or_insert_with(|| {
                    tokio::spawn(async move { DatabaseTask::new(shared, Some(of)).run().await })
                });
            }
        }
    }
}

/// Ends the tasks when the collector ends.
struct AbortAll<'a>(&'a mut BTreeMap<Arc<str>, tokio::task::JoinHandle<()>>);

impl Drop for AbortAll<'_> {
    fn drop(&mut self) {
        self.0.values().for_each(tokio::task::JoinHandle::abort);
    }
}

impl Shared {
    pub(crate) fn set_leader(&self, leads: bool) {
        self.leads.store(leads, Ordering::Relaxed);
    }

    /// Takes in the activity that was just read.
    pub(crate) fn sample(&self, snapshot: &Snapshot) {
        let seen = Snapshot {
            database_sizes: self.latest.load().database_sizes.clone(),
            by_database: self.latest.load().by_database.clone(),
            ..snapshot.clone()
        };
        let now = unix_seconds(SystemTime::now());
        let mut history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        let finished = history.sample(now, &seen, self.pools.get());
        drop(history);
        if !finished.is_empty() {
            // Where nobody keeps it, or the database is slow, memory has it.
            let _ = self.finished.try_send(finished);
        }
    }

    pub(crate) fn latest_is_leader(&self) -> bool {
        self.leads.load(Ordering::Relaxed)
    }

    pub(crate) fn publish_server(&self, server: Snapshot) {
        self.publish(|whole| whole.server = server);
    }

    pub(crate) fn publish_home(&self, home: Home) {
        self.publish(|whole| whole.home = Some(home));
    }

    pub(crate) fn publish_database(&self, name: &str, database: DatabaseSnapshot) {
        self.publish(|whole| {
            whole.by_database.insert(name.to_owned(), database);
        });
    }

    fn forget_database(&self, name: &str) {
        self.publish(|whole| {
            whole.by_database.remove(name);
        });
    }

    fn publish(&self, change: impl FnOnce(&mut Whole)) {
        let mut whole = self.whole.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut whole);
        let mut snapshot = whole.server.clone();
        if let Some(Home { slow, texts }) = &whole.home {
            (snapshot.statements, snapshot.statements_info) =
                (slow.statements.clone(), slow.statements_info.clone());
            (snapshot.database_sizes, snapshot.statement_texts) =
                (slow.database_sizes.clone(), Arc::clone(texts));
        }
        snapshot.by_database = whole.by_database.clone();
        snapshot.is_leader = self.leads.load(Ordering::Relaxed);
        self.latest.store(Arc::new(snapshot));
        self.changed.send_modify(|count| *count = count.wrapping_add(1));
    }
}

/// What is not known of a server that does not answer.
impl Snapshot {
    pub(crate) fn unreachable(why: &Skipped) -> Self {
        let now = SystemTime::now();
        macro_rules! skipped {
            ($($section:ident),*) => { Snapshot { $($section: Section::skipped(now,
                why.clone()),)* ..Snapshot::default() } };
        }
        server_sections!(skipped)
    }
}

impl DatabaseSnapshot {
    pub(crate) fn unreachable(why: &Skipped) -> Self {
        let now = SystemTime::now();
        DatabaseSnapshot {
            tables: Section::skipped(now, why.clone()),
            indexes: Section::skipped(now, why.clone()),
            sequences: Section::skipped(now, why.clone()),
            extensions: Section::skipped(now, why.clone()),
            schema: Section::skipped(now, why.clone()),
        }
    }
}

impl std::fmt::Debug for Collector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Collector").field("config", &self.shared.config).finish_non_exhaustive()
    }
}
