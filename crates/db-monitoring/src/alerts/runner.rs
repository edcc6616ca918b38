//! Looks at conditions again and again, and tells people what changed: the task around [`Incidents`].
//!
//! One replica leads. What it is to tell is kept in the database before it is sent, and stays owed until it
//! has come through, so that the next leader sends what this one could not. While no primary answers, the
//! replica that led last goes on by itself, and brings what it told into the database afterwards.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use db_core::{Ground, Result, foreign};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

use crate::alerts::delivery::{Deliveries, Settled};
use crate::alerts::part::Shared;
use crate::alerts::readings::{over, together};
use crate::alerts::store::{Done, Kept, Owed, Seen, Store};
use crate::alerts::{AlertConfig, Evaluate, Evaluation, Incidents, Reading, Told, of_checks};

/// A replica that looks at the server tries so often to lead; one that does not, so much more seldom.
const BETWEEN_TRIES: Duration = Duration::from_secs(2);
const BETWEEN_TRIES_IN_THE_DARK: Duration = Duration::from_secs(10);
/// A new session is tried so often.
const BETWEEN_CONNECTS: Duration = Duration::from_secs(1);
/// A new leader tells nothing for so long: one that told people while it was cut off brings first what it
/// told, and what came through.
const HANDOVER: Duration = Duration::from_secs(2);
/// Other replicas hear what this one sees at least so often.
const BETWEEN_REPORTS: Duration = Duration::from_secs(15);
/// The leader looks so often for messages that others left behind, and takes those that are this old.
const BETWEEN_SWEEPS: Duration = Duration::from_secs(30);
const LEFT_BEHIND: Duration = Duration::from_secs(60);
const BETWEEN_BEATS: Duration = Duration::from_secs(60);
/// What waits is sent for so long when the service ends.
const LAST_WORDS: Duration = Duration::from_secs(3);
/// So much is kept in memory while the database is away.
const MOST_UNSAVED: usize = 10_000;

/// Which replica this one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seat {
    /// Another one tells people, or none does yet.
    Follows,
    /// This one does.
    Leads,
    /// It did, and goes on while no primary answers.
    Cut,
}

pub(crate) struct Runner {
    shared: Arc<Shared>,
    ground: Ground,
    evaluate: Evaluate,
    instance: String,
    seat: Seat,
    incidents: Incidents,
    deliveries: Deliveries,
    store: Option<Store>,
    connecting: Option<JoinHandle<Result<Store>>>,
    /// What the database does not know yet.
    unsaved: BTreeSet<String>,
    unsaved_owed: Vec<Owed>,
    done: Vec<Done>,
    reported: Option<(Instant, Seen)>,
    tried: Option<Instant>,
    /// Since when this one leads.
    led: Option<Instant>,
    /// Whether what others were to send is still to be taken over.
    inherits: bool,
    connected: Option<Instant>,
    swept: Option<Instant>,
    beaten: Option<Instant>,
}

impl Runner {
    pub(crate) fn new(shared: Arc<Shared>, ground: Ground, evaluate: Evaluate) -> Self {
        let deliveries = Deliveries::start(shared.channels.clone(), shared.notify.clone());
        Runner {
            shared,
            ground,
            evaluate,
            instance: format!("{:016x}", fastrand::u64(..)),
            seat: Seat::Follows,
            incidents: Incidents::default(),
            deliveries,
            store: None,
            connecting: None,
            unsaved: BTreeSet::new(),
            unsaved_owed: Vec::new(),
            done: Vec::new(),
            reported: None,
            tried: None,
            led: None,
            inherits: false,
            connected: None,
            swept: None,
            beaten: None,
        }
    }

    pub(crate) async fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        let mut looks = interval(shared.config.every.max(Duration::from_millis(10)));
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = shared.stop.notified() => break,
                _ = looks.tick() => {
                    self.look().await;
                    // People wait for no look that only happens to be late.
                    let now = Instant::now();
                    let due = self.incidents.next_due(&shared.config, now);
                    if let Some(due) = due.filter(|due| due.saturating_duration_since(now) < shared.config.every) {
                        looks.reset_at(due.into());
                    }
                }
                settled = self.deliveries.next() => self.settle(settled).await,
            }
        }
        let settled = self.deliveries.end(LAST_WORDS).await;
        self.settle(settled).await;
        if let Some(mut store) = self.store.take() {
            // The next one need not wait until the server has noticed.
            let _gone_with_the_session = store.give_up().await;
        }
        if let Some(connecting) = self.connecting.take() {
            connecting.abort();
        }
    }

    /// One look at everything.
    async fn look(&mut self) {
        let now = Instant::now();
        let evaluation = foreign::call(|| (self.evaluate)()).unwrap_or_else(|| {
            tracing::error!("what alerts look at panicked: nothing is known at this look");
            Evaluation::default()
        });
        self.reach(now);
        let others = match self.look_at_store(&evaluation, now).await {
            Ok(others) => others,
            Err(error) => {
                self.cut(&error);
                Vec::new()
            }
        };
        match self.seat {
            Seat::Follows => self.report(&evaluation, now).await,
            Seat::Leads | Seat::Cut => {
                let readings = self.readings(evaluation, others);
                let config = lasting(&self.shared.config, self.led, now);
                let told = self.incidents.step(&readings, &config, now, SystemTime::now());
                self.tell(&readings, &told).await;
                let again = self.deliveries.again(now);
                self.deliveries.send(again);
                self.sweep(now).await;
                self.beat(now);
            }
        }
        self.publish();
    }

    fn readings(&self, evaluation: Evaluation, others: Vec<Seen>) -> Vec<Reading> {
        let checks = evaluation.checks.unwrap_or_default();
        let of_server = of_checks(&checks);
        let others = others.into_iter().map(|seen| seen.readings).chain([of_server]);
        let mut all = together(evaluation.own, others);
        let open = self.incidents.open();
        all.extend(over(open.iter().map(|one| one.key.as_str()), &all, &checks));
        all
    }

    /// Opens a session where there is none, beside the looks.
    fn reach(&mut self, now: Instant) {
        let is_due = self.connected.is_none_or(|at| now.saturating_duration_since(at) >= BETWEEN_CONNECTS);
        if self.store.is_none() && self.connecting.is_none() && is_due {
            self.connected = Some(now);
            let ground = self.ground.clone();
            self.connecting =
                Some(tokio::spawn(async move { Store::open(ground.connect_direct().await?).await }));
        }
    }

    /// What others see and have kept, and whether this one leads.
    async fn look_at_store(&mut self, evaluation: &Evaluation, now: Instant) -> Result<Vec<Seen>> {
        if let Some(connecting) = self.connecting.take_if(|connecting| connecting.is_finished()) {
            match connecting.await {
                Ok(Ok(store)) => self.arrived(store),
                Ok(Err(error)) => return Err(error),
                // Aborted or panicked: there is another attempt.
                Err(_) => {}
            }
        }
        let sees_server = evaluation.checks.is_some();
        let between = if sees_server { BETWEEN_TRIES } else { BETWEEN_TRIES_IN_THE_DARK };
        let is_due = self.tried.is_none_or(|at| now.saturating_duration_since(at) >= between);
        // One that follows asks the server no more often than it tries to lead.
        let asks = self.seat != Seat::Follows || is_due;
        let Some(store) = self.store.as_mut().filter(|_| asks) else { return Ok(Vec::new()) };
        let look = store.look(&self.instance).await?;
        if self.seat == Seat::Leads && !look.leads {
            tracing::warn!(
                "another replica tells people from now on: the lock is lost; behind a pooler set DATABASE_DIRECT_URL"
            );
            self.follow();
        }
        if self.seat != Seat::Leads {
            self.tried = Some(now);
            self.try_to_lead().await?;
        } else if !sees_server && look.others.iter().any(|other| other.sees_server) {
            // One that looks at the server knows more.
            if let Some(store) = &mut self.store {
                store.give_up().await?;
            }
            self.follow();
        }
        if self.seat == Seat::Leads {
            self.take_in(look.kept);
        }
        Ok(look.others)
    }

    fn arrived(&mut self, store: Store) {
        if let Some(error) = &store.without_tables {
            let way_out = "let the role create it, or create the schema dbp and give it to the role";
            let trouble = format!(
                "incidents do not outlive this process, because the schema dbp is missing: {error}; {way_out}"
            );
            if self.shared.status().trouble.as_ref() != Some(&trouble) {
                tracing::error!("{trouble}");
            }
            self.shared.status().trouble = Some(trouble);
        } else {
            self.shared.status().trouble = None;
        }
        self.store = Some(store);
    }

    async fn try_to_lead(&mut self) -> Result<()> {
        let was_cut = self.seat == Seat::Cut;
        let Some(store) = &mut self.store else { return Ok(()) };
        let leads = store.try_to_lead().await?;
        if leads || was_cut {
            self.save().await?;
        }
        let Some(store) = &mut self.store else { return Ok(()) };
        if leads {
            // All of it, also what this process kept when it led before.
            let kept = store.look("").await?.kept;
            if !was_cut {
                (self.led, self.inherits) = (Some(Instant::now()), true);
            }
            self.seat = Seat::Leads;
            self.take_in(kept);
            tracing::info!("this replica tells people of what is wrong with the database");
        } else if was_cut {
            self.follow();
        }
        Ok(())
    }

    /// Brings into the database what was told while it was away.
    async fn save(&mut self) -> Result<()> {
        let Some(store) = &mut self.store else { return Ok(()) };
        let kept: Vec<Kept> = self.unsaved.iter().filter_map(|key| kept(&self.incidents, key)).collect();
        if !kept.is_empty() || !self.unsaved_owed.is_empty() {
            store.keep(&kept, &self.unsaved_owed, &self.instance).await?;
            self.unsaved.clear();
            self.unsaved_owed.clear();
        }
        if !self.done.is_empty() {
            store.done(&self.done).await?;
            self.done.clear();
        }
        Ok(())
    }

    /// What others have kept; what this one told since is newer.
    fn take_in(&mut self, kept: Vec<Kept>) {
        for Kept { key, number, open } in kept {
            if !self.unsaved.contains(&key) {
                self.incidents.take_in(&key, number, open);
            }
        }
    }

    fn follow(&mut self) {
        self.seat = Seat::Follows;
        self.incidents.clear();
        self.deliveries.leave_the_rest();
    }

    /// The session is gone.
    fn cut(&mut self, error: &db_core::Error) {
        self.store = None;
        if self.seat == Seat::Leads {
            self.seat = Seat::Cut;
            tracing::warn!(%error, "alerts go on without the database, and are kept when it is back");
        } else {
            tracing::debug!(%error, "alerts have no session");
        }
    }

    /// Keeps what changed, and then sends it.
    async fn tell(&mut self, readings: &[Reading], told: &[Told]) {
        let mut owed = self.deliveries.owed(told);
        let changed: Vec<String> = readings
            .iter()
            .map(|reading| &reading.key)
            .filter(|key| told.iter().any(|one| is_of(one, key)))
            .cloned()
            .collect();
        // What nobody is told of, because of a silence, is kept with the next that is.
        if told.is_empty() {
            return;
        }
        if self.seat == Seat::Leads && !self.unsaved.is_empty() {
            owed.append(&mut self.unsaved_owed);
        }
        self.unsaved.extend(changed);
        let kept: Vec<Kept> = self.unsaved.iter().filter_map(|key| kept(&self.incidents, key)).collect();
        let keeping = match &mut self.store {
            Some(store) if self.seat == Seat::Leads => store.keep(&kept, &owed, &self.instance).await,
            _ => Err(db_core::Error::Client("there is no session".into())),
        };
        match keeping {
            Ok(()) => self.unsaved.clear(),
            Err(error) => {
                self.cut(&error);
                self.unsaved_owed.extend(owed.iter().cloned());
                self.unsaved_owed.truncate(MOST_UNSAVED);
            }
        }
        self.deliveries.send(owed);
    }

    /// Keeps what became of deliveries.
    async fn settle(&mut self, settled: Settled) {
        let Settled { done, diverted } = settled;
        if done.is_empty() && diverted.is_empty() {
            return;
        }
        self.done.extend(done);
        self.done.truncate(MOST_UNSAVED);
        let saved = match &mut self.store {
            Some(store) => {
                let diverting = async {
                    if !diverted.is_empty() {
                        store.keep(&[], &diverted, &self.instance).await?;
                    }
                    store.done(&self.done).await
                };
                diverting.await
            }
            None => Err(db_core::Error::Client("there is no session".into())),
        };
        match saved {
            Ok(()) => self.done.clear(),
            Err(error) if self.store.is_some() => self.cut(&error),
            Err(_) => {}
        }
        if self.store.is_none() {
            self.unsaved_owed.extend(diverted.iter().cloned());
        }
        self.deliveries.send(diverted);
        self.publish();
    }

    /// Tells the leader what this one sees.
    async fn report(&mut self, evaluation: &Evaluation, now: Instant) {
        let seen = Seen { sees_server: evaluation.checks.is_some(), readings: evaluation.own.clone() };
        let is_due = self.reported.as_ref().is_none_or(|(at, last)| {
            let is_old = now.saturating_duration_since(*at) >= BETWEEN_REPORTS;
            // Their words change at every look, and what they mean does not.
            let levels = |seen: &Seen| {
                seen.readings.iter().map(|one| (one.key.clone(), one.level)).collect::<Vec<_>>()
            };
            is_old || levels(last) != levels(&seen)
        });
        if !is_due {
            return;
        }
        let Some(store) = &mut self.store else { return };
        match store.read(&self.instance, &seen).await {
            Ok(()) => self.reported = Some((now, seen)),
            Err(error) => self.cut(&error),
        }
    }

    /// Sends what others left behind: what the last leader has not said that it came through, once it could
    /// have, and now and then what is old.
    async fn sweep(&mut self, now: Instant) {
        let is_due = self.swept.is_none_or(|at| now.saturating_duration_since(at) >= BETWEEN_SWEEPS);
        let inherits = self.inherits && !is_new(self.led, now);
        if self.seat != Seat::Leads || !is_due && !inherits {
            return;
        }
        let Some(store) = &mut self.store else { return };
        match store.owed(if inherits { Duration::ZERO } else { LEFT_BEHIND }).await {
            Ok(owed) => {
                self.swept = Some(now);
                self.inherits &= !inherits;
                self.deliveries.send(owed);
            }
            Err(error) => self.cut(&error),
        }
    }

    fn beat(&mut self, now: Instant) {
        let is_due = self.beaten.is_none_or(|at| now.saturating_duration_since(at) >= BETWEEN_BEATS);
        let Some(beat) = self.shared.beat.clone().filter(|_| is_due) else { return };
        self.beaten = Some(now);
        let (shared, gravest) = (Arc::clone(&self.shared), self.incidents.gravest());
        self.ground.spawn(async move {
            let heard = beat(gravest).await;
            if let Err(error) = &heard {
                tracing::warn!("the heartbeat of alerts is not heard: {error}");
            }
            shared.status().heartbeat_trouble = heard.err().map(|error| error.to_string());
        });
    }

    fn publish(&self) {
        let counts = &self.deliveries.counts;
        let mut status = self.shared.status();
        status.leads = self.seat != Seat::Follows;
        status.open = self.incidents.open();
        status.evaluated = Some(SystemTime::now());
        status.delivered = counts.last_delivered;
        status.deliveries = counts.delivered;
        status.diverted = counts.diverted;
        status.lost = counts.lost;
    }
}

/// Whether one that leads since `led` may know less than one that led before and is cut off.
fn is_new(led: Option<Instant>, now: Instant) -> bool {
    led.is_some_and(|led| now.saturating_duration_since(led) < HANDOVER)
}

/// For how long conditions must last at this look of one that leads since `led`.
fn lasting(config: &AlertConfig, led: Option<Instant>, now: Instant) -> Cow<'_, AlertConfig> {
    if !is_new(led, now) {
        return Cow::Borrowed(config);
    }
    let (raise_after, resolve_after) = (config.raise_after.max(HANDOVER), config.resolve_after.max(HANDOVER));
    Cow::Owned(AlertConfig { raise_after, resolve_after, ..config.clone() })
}

/// Whether a message is about this condition.
fn is_of(told: &Told, key: &str) -> bool {
    told.incident.rsplit_once('#').is_some_and(|(of, _)| of == key)
}

fn kept(incidents: &Incidents, key: &str) -> Option<Kept> {
    let (number, open) = incidents.kept(key)?;
    Some(Kept { key: key.to_owned(), number, open: open.cloned() })
}
