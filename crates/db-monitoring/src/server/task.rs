//! The tasks of a collector: one for the server as a whole, and one for each database.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::server::collector::{Home, Shared};
use crate::server::record::record;
use crate::server::{
    DatabaseSnapshot, Positions, Round, ServerIdentity, ServerSession, SkipReason, Skipped, Snapshot,
    StatementTexts,
};

/// A connection is opened within this time, or tried again later.
const OPENED_WITHIN: Duration = Duration::from_secs(5);
/// The pause after the first failure; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// So often it is tried to become the leader: another process takes over within this time and the pause
/// before it notices.
const LEADER_AGAIN: Duration = Duration::from_secs(2);
/// The advisory lock of the process that looks into a database: "dbp-moni" as a number.
const LEADER_LOCK: i64 = 0x6462_702d_6d6f_6e69;
/// So many texts of statements are fetched at once.
const MOST_NEW_TEXTS: usize = 500;

/// What is asked for the whole server; who we are goes first, because it says what can be seen.
const SERVER_ROUNDS: &[Round] = &[Round::Sizes, Round::Activity, Round::Counters];
const DATABASE_ROUNDS: &[Round] = &[Round::Sizes, Round::Statements, Round::Hourly];

/// When each round is due.
struct Rounds {
    due: [Option<Instant>; Round::ALL.len()],
    mine: &'static [Round],
}

impl Rounds {
    fn new(mine: &'static [Round]) -> Self {
        Rounds { due: [None; Round::ALL.len()], mine }
    }

    /// The rounds that are due now, and when the next one is.
    fn take(&mut self, now: Instant, period: impl Fn(Round) -> Duration) -> (Vec<Round>, Instant) {
        let mut taken = Vec::new();
        let mut next = now + LONGEST_PAUSE;
        for (due, &round) in self.due.iter_mut().zip(self.mine) {
            if due.is_none_or(|due| due <= now) {
                taken.push(round);
                // Not later for each delay, and not all at once after a long one.
                let regular = due.map(|due| due + period(round)).filter(|next| *next > now);
                *due = Some(regular.unwrap_or_else(|| now + period(round)));
            }
            next = next.min(due.unwrap_or(next));
        }
        (taken, next)
    }
}

/// A session that is opened again when it was lost.
struct Keeper {
    shared: Arc<Shared>,
    database: Option<Arc<str>>,
    session: Option<ServerSession>,
    pause: Duration,
}

impl Keeper {
    fn new(shared: Arc<Shared>, database: Option<Arc<str>>) -> Self {
        Keeper { shared, database, session: None, pause: FIRST_PAUSE }
    }

    /// The session, opened if there is none; a new one says so.
    async fn session(&mut self) -> Result<(&ServerSession, bool), Skipped> {
        if self.session.as_ref().is_some_and(ServerSession::is_lost) {
            self.session = None;
        }
        let is_new = self.session.is_none();
        if is_new {
            let open = async {
                let (endpoint, conn) = (self.shared.open)(self.database.clone()).await?;
                ServerSession::open(conn, endpoint).await
            };
            let late = || {
                Err(Skipped::new(SkipReason::Unreachable, format!("no connection within {OPENED_WITHIN:?}")))
            };
            let opened = tokio::time::timeout(OPENED_WITHIN, open).await.unwrap_or_else(|_| late())?;
            self.session = Some(opened);
            self.pause = FIRST_PAUSE;
        }
        match &self.session {
            Some(session) => Ok((session, is_new)),
            None => Err(Skipped::too_soon()),
        }
    }

    async fn pause(&mut self) {
        tokio::time::sleep(self.pause).await;
        self.pause = self.pause.saturating_mul(2).min(LONGEST_PAUSE);
    }
}

/// Asks for activity, locks and counters of the whole server.
pub(crate) struct ServerTask {
    shared: Arc<Shared>,
    keeper: Keeper,
    snapshot: Snapshot,
    rounds: Rounds,
    /// How far the log was when, by a clock that begins with the task.
    positions: Positions,
    began: Instant,
    of: Option<ServerIdentity>,
}

impl ServerTask {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        ServerTask {
            keeper: Keeper::new(Arc::clone(&shared), None),
            shared,
            snapshot: Snapshot::default(),
            rounds: Rounds::new(SERVER_ROUNDS),
            positions: Positions::default(),
            began: Instant::now(),
            of: None,
        }
    }

    pub(crate) async fn run(&mut self) {
        loop {
            let (due, next) = self.rounds.take(Instant::now(), |round| self.shared.config.period(round));
            if let Err(why) = self.collect(&due).await {
                self.snapshot = Snapshot::unreachable(&why);
                self.shared.publish_server(self.snapshot.clone());
                self.rounds = Rounds::new(self.rounds.mine);
                self.keeper.pause().await;
                continue;
            }
            tokio::time::sleep_until(next).await;
        }
    }

    pub(crate) async fn collect_once(&mut self) {
        if let Err(why) = self.collect(SERVER_ROUNDS).await {
            self.shared.publish_server(Snapshot::unreachable(&why));
        }
    }

    async fn collect(&mut self, due: &[Round]) -> Result<(), Skipped> {
        let (session, _) = self.keeper.session().await?;
        for round in due {
            self.snapshot.collect(session, *round).await;
            if let (Round::Activity, Ok(server)) = (*round, self.snapshot.server.get()) {
                let goes_on = |of: &ServerIdentity| of.continues(server) && of.timeline == server.timeline;
                if !self.of.as_ref().is_some_and(goes_on) {
                    self.positions = Positions::default();
                    self.of = Some(server.clone());
                }
                self.snapshot.measure_lag(&mut self.positions, self.began.elapsed().as_secs_f64());
                self.shared.sample(&self.snapshot);
            }
        }
        match (session.is_lost(), self.snapshot.server.get()) {
            (true, Err(why)) => Err(why.clone()),
            _ => {
                self.shared.publish_server(self.snapshot.clone());
                Ok(())
            }
        }
    }
}

/// Asks for tables, indexes and the like of one database; that of the first also for what is slow and of
/// the whole server.
pub(crate) struct DatabaseTask {
    shared: Arc<Shared>,
    keeper: Keeper,
    name: Option<Arc<str>>,
    snapshot: DatabaseSnapshot,
    home: Option<Home>,
    rounds: Rounds,
    leads: bool,
    lead_again: Option<Instant>,
}

record! {
    /// Whether we lead.
    pub(crate) struct Leads: "", "(SELECT 1) AS s" {
        leads: bool, as "true", from [];
    }
}

record! {
    /// The text of a statement.
    pub(crate) struct StatementText: "", "" {
        queryid: i64;
        query: Option<String>;
    }
}

impl DatabaseTask {
    /// For this database, or for the one of the URL.
    pub(crate) fn new(shared: Arc<Shared>, database: Option<Arc<str>>) -> Self {
        DatabaseTask {
            keeper: Keeper::new(Arc::clone(&shared), database.clone()),
            shared,
            home: database.is_none().then(Home::default),
            name: database,
            snapshot: DatabaseSnapshot::default(),
            rounds: Rounds::new(DATABASE_ROUNDS),
            leads: false,
            lead_again: None,
        }
    }

    pub(crate) async fn run(&mut self) {
        loop {
            match self.lead().await {
                Ok(true) => {}
                Ok(false) => {
                    let why =
                        Skipped::new(SkipReason::NotLeader, "another process of the service looks into it");
                    self.publish_nothing(&why, false);
                    tokio::time::sleep(LEADER_AGAIN).await;
                    continue;
                }
                Err(why) => {
                    self.publish_nothing(&why, true);
                    self.keeper.pause().await;
                    continue;
                }
            }
            let (due, next) = self.rounds.take(Instant::now(), |round| self.shared.config.period(round));
            if let Err(why) = self.collect(&due).await {
                self.publish_nothing(&why, true);
                self.keeper.pause().await;
                continue;
            }
            tokio::time::sleep_until(next.min(Instant::now() + LEADER_AGAIN)).await;
        }
    }

    pub(crate) async fn collect_once(&mut self) {
        if let Err(why) = self.collect(DATABASE_ROUNDS).await {
            self.publish_nothing(&why, true);
        }
    }

    /// Whether it is up to this process to look into the database; the lock lives as long as the session.
    async fn lead(&mut self) -> Result<bool, Skipped> {
        let is_home = self.home.is_some();
        if !self.shared.config.one_leader || !is_home {
            // The others follow the first: they are looked into by whoever leads there.
            self.keeper.session().await?;
            if is_home {
                self.shared.set_leader(true);
            }
            return Ok(is_home || self.shared.latest_is_leader());
        }
        let (session, is_new) = self.keeper.session().await?;
        if is_new {
            self.leads = false;
        }
        let now = Instant::now();
        if self.lead_again.is_some_and(|again| again > now) && !is_new {
            return Ok(self.leads);
        }
        self.lead_again = Some(now + LEADER_AGAIN);
        let question = if self.leads {
            // The session that holds it answers: that is all there is to know.
            "SELECT true".to_owned()
        } else {
            format!("SELECT pg_try_advisory_lock({LEADER_LOCK})")
        };
        let answer = session.rows::<Leads>(&question).await;
        self.leads = answer.as_ref().is_ok_and(|rows| rows.iter().any(|row| row.leads));
        if !self.leads {
            self.rounds = Rounds::new(self.rounds.mine);
        }
        self.shared.set_leader(self.leads);
        answer.map(|_| self.leads)
    }

    async fn collect(&mut self, due: &[Round]) -> Result<(), Skipped> {
        let (session, _) = self.keeper.session().await?;
        for round in due {
            self.snapshot.collect(session, *round).await;
            if let (Some(home), Round::Statements) = (&mut self.home, *round) {
                home.slow.collect(session, Round::Statements).await;
                fetch_texts(session, home).await;
            }
        }
        if session.is_lost() {
            return Err(Skipped::new(SkipReason::Unreachable, "the connection was lost"));
        }
        if due.is_empty() {
            return Ok(());
        }
        let name = self.name.get_or_insert_with(|| session.database().into());
        self.shared.publish_database(name, self.snapshot.clone());
        if let Some(home) = &self.home {
            self.shared.publish_home(home.clone());
        }
        Ok(())
    }

    fn publish_nothing(&mut self, why: &Skipped, is_lost: bool) {
        self.rounds = Rounds::new(self.rounds.mine);
        let own =
            self.home.as_ref().and_then(|home| home.slow.access.get().ok().map(|it| it.database.clone()));
        let name = self.name.as_deref().map(str::to_owned).or(own);
        self.snapshot = DatabaseSnapshot::unreachable(why);
        if let Some(name) = name {
            self.shared.publish_database(&name, self.snapshot.clone());
        }
        if let Some(home) = &mut self.home {
            if is_lost {
                self.leads = false;
                self.shared.set_leader(false);
            }
            home.slow = Snapshot::unreachable(why);
            self.shared.publish_home(home.clone());
        }
    }
}

/// Fetches the texts of statements that were not seen before, the most expensive first, and forgets those
/// that are gone.
async fn fetch_texts(session: &ServerSession, home: &mut Home) {
    let Ok(statements) = home.slow.statements.get() else { return };
    let mut unknown: BTreeMap<i64, f64> = BTreeMap::new();
    let mut texts: StatementTexts = BTreeMap::new();
    for statement in statements {
        let Some(id) = statement.queryid else { continue };
        match home.texts.get(&id) {
            Some(text) => drop(texts.insert(id, Arc::clone(text))),
            None => *unknown.entry(id).or_default() += statement.total_exec_time,
        }
    }
    let mut unknown: Vec<_> = unknown.into_iter().collect();
    unknown.sort_by(|one, other| other.1.total_cmp(&one.1));
    unknown.truncate(MOST_NEW_TEXTS);
    if let (false, Ok(view)) = (unknown.is_empty(), session.catalog().qualified("pg_stat_statements")) {
        let ids: Vec<_> = unknown.iter().map(|(id, _)| id.to_string()).collect();
        let question = format!(
            "SELECT queryid, min(query) FROM {view} WHERE queryid IN ({}) GROUP BY queryid",
            ids.join(", ")
        );
        for text in session.rows_once::<StatementText>(&question).await.unwrap_or_default() {
            let Some(query) = text.query else { continue };
            texts.insert(text.queryid, db_statement::normalize(&query).into());
        }
    }
    home.texts = Arc::new(texts);
}
