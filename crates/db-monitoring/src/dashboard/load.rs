//! What the server's sessions did over the last week, as average active sessions by what they wait for.
//!
//! Each look at the sessions is a sample, as Oracle's ASH and Amazon's Performance Insights take them.
//! Samples are added up
//! in buckets: 5 seconds for the last hour, a minute for a day, a quarter of an hour for a week.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{SystemTime, UNIX_EPOCH};

use db_statement::{Fingerprint, fingerprint};

use crate::LookAtPools;
use crate::panel::Plot;
use crate::server::{Backend, Collector, Snapshot};

/// What sessions wait for, in the server's words, in the order of the colours. The first is none of them: it
/// works.
pub(super) const WAITS: [&str; 10] =
    ["CPU", "IO", "Lock", "LWLock", "BufferPin", "Client", "IPC", "Timeout", "Extension", "Other"];

/// Length of a bucket in seconds, and how many are kept.
const RINGS: [(u64, usize); 3] = [(5, 720), (60, 1_440), (900, 672)];
/// So many statements are told apart in one bucket.
const MOST_STATEMENTS: usize = 60;
/// So many texts are kept, each cut at so many characters.
const MOST_TEXTS: usize = 1_000;
const LONGEST_TEXT: usize = 1_000;
/// A plot has at most so many points.
const MOST_POINTS: u64 = 720;

/// What was seen so far.
#[derive(Debug)]
pub(super) struct Load {
    rings: Mutex<[VecDeque<Bucket>; 3]>,
    /// The normal forms of the statements that were seen.
    texts: Mutex<HashMap<Fingerprint, Arc<str>>>,
    pools: Option<LookAtPoolsDebug>,
}

/// A function has no `Debug`.
#[derive(Clone)]
struct LookAtPoolsDebug(LookAtPools);

impl std::fmt::Debug for LookAtPoolsDebug {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("pools")
    }
}

/// Sessions by statement, if there is one, and by what they wait for.
pub(crate) type ByStatement = HashMap<(Option<Fingerprint>, usize), f64>;

#[derive(Debug, Clone, Default)]
struct Bucket {
    /// Since 1970, in lengths of this ring's buckets.
    number: u64,
    samples: u32,
    waits: [f64; WAITS.len()],
    by_statement: ByStatement,
    connected: f64,
    blocked: f64,
    pool_in_use: f64,
    /// Transactions a second, and how many samples knew it.
    transactions: f64,
    with_transactions: u32,
}

/// What a page draws.
pub(super) struct Seen {
    pub(super) load: Plot,
    pub(super) connections: Plot,
    pub(super) transactions: Plot,
    /// Sessions on average, by statement and what they waited for.
    pub(super) by_statement: ByStatement,
}

impl Load {
    pub(super) fn new(pools: Option<LookAtPools>) -> Self {
        Load { rings: Mutex::default(), texts: Mutex::default(), pools: pools.map(LookAtPoolsDebug) }
    }

    /// Follows a collector for as long as somebody has this.
    pub(super) async fn follow(load: Weak<Load>, collector: Collector) {
        let (mut changes, mut last) = (collector.changes(), Last::default());
        while changes.changed().await.is_ok() {
            let Some(load) = load.upgrade() else { return };
            load.look(&collector.latest(), &mut last);
        }
    }

    fn look(&self, snapshot: &Snapshot, last: &mut Last) {
        let Some(at) = snapshot.activity.at().filter(|at| last.activity != Some(*at)) else { return };
        last.activity = Some(at);
        let Ok(backends) = snapshot.activity.get() else { return };
        let mut sample = Bucket { samples: 1, ..Bucket::default() };
        for backend in backends {
            if backend.backend_type.as_deref() == Some("client backend") {
                sample.connected += 1.0;
            }
            if !backend.blocked_by.is_empty() {
                sample.blocked += 1.0;
            }
            if let Some(wait) = wait_of(backend) {
                sample.waits[wait] += 1.0;
                let statement = backend.query.as_deref().and_then(|text| self.statement(text));
                *sample.by_statement.entry((statement, wait)).or_default() += 1.0;
            }
        }
        if let Some(pools) = &self.pools {
            sample.pool_in_use = (pools.0)().iter().map(|pool| pool.in_use as f64).sum();
        }
        if let Some(transactions) = last.transactions(snapshot) {
            (sample.transactions, sample.with_transactions) = (transactions, 1);
        }
        self.add(at, &sample);
    }

    /// Which statement a normal form is; its text is kept.
    fn statement(&self, text: &str) -> Option<Fingerprint> {
        if text.trim().is_empty() {
            return None;
        }
        let statement = fingerprint(text);
        let mut texts = self.texts.lock().unwrap_or_else(PoisonError::into_inner);
        if texts.len() < MOST_TEXTS || texts.contains_key(&statement) {
            texts.entry(statement).or_insert_with(|| short(text).into());
        }
        Some(statement)
    }

    /// The normal form of a statement that was seen.
    pub(super) fn text(&self, statement: Fingerprint) -> Option<Arc<str>> {
        self.texts.lock().unwrap_or_else(PoisonError::into_inner).get(&statement).cloned()
    }

    fn add(&self, at: SystemTime, sample: &Bucket) {
        let seconds = unix(at);
        for (ring, (length, kept)) in self.rings().iter_mut().zip(RINGS) {
            let number = seconds / length;
            // A clock that was set back adds to what it meets.
            if ring.back().is_none_or(|bucket| bucket.number < number) {
                ring.push_back(Bucket { number, ..Bucket::default() });
            }
            if let Some(bucket) = ring.back_mut() {
                bucket.add(sample);
            }
            while ring.front().is_some_and(|bucket| bucket.number + (kept as u64) <= number) {
                ring.pop_front();
            }
        }
    }

    /// What was seen between two moments, at most so finely as a plot shows.
    pub(super) fn between(&self, from: SystemTime, to: SystemTime) -> Seen {
        let (from, to) = (unix(from), unix(to));
        let rings = self.rings();
        let now = rings[0].back().map_or(to, |bucket| bucket.number * RINGS[0].0);
        let fits = |(length, kept): (u64, usize)| {
            to.saturating_sub(from) / length <= MOST_POINTS
                && now.saturating_sub(from) <= length * kept as u64
        };
        let place = RINGS.iter().position(|ring| fits(*ring)).unwrap_or(RINGS.len() - 1);
        let length = RINGS[place].0;
        let shown: Vec<&Bucket> = rings[place]
            .iter()
            .filter(|bucket| bucket.number >= from / length && bucket.number * length <= to)
            .collect();
        plots(&shown, length, (from as f64, to as f64))
    }

    fn rings(&self) -> MutexGuard<'_, [VecDeque<Bucket>; 3]> {
        self.rings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Bucket {
    fn add(&mut self, sample: &Bucket) {
        self.samples += sample.samples;
        self.waits.iter_mut().zip(sample.waits).for_each(|(sum, more)| *sum += more);
        self.connected += sample.connected;
        self.blocked += sample.blocked;
        self.pool_in_use += sample.pool_in_use;
        self.transactions += sample.transactions;
        self.with_transactions += sample.with_transactions;
        for ((statement, wait), sessions) in &sample.by_statement {
            let is_full = self.by_statement.len() >= MOST_STATEMENTS
                && !self.by_statement.contains_key(&(*statement, *wait));
            let statement = if is_full { None } else { *statement };
            *self.by_statement.entry((statement, *wait)).or_default() += sessions;
        }
    }
}

/// Draws the buckets; where nobody looked there is a gap.
fn plots(shown: &[&Bucket], length: u64, range: (f64, f64)) -> Seen {
    let (from, to) =
        (shown.first().map_or(0, |first| first.number), shown.last().map_or(0, |last| last.number));
    let mut slots: Vec<Option<&Bucket>> =
        vec![None; if shown.is_empty() { 0 } else { (to - from + 1) as usize }];
    for bucket in shown {
        if let Some(slot) = slots.get_mut((bucket.number - from) as usize) {
            *slot = Some(bucket);
        }
    }
    let times: Vec<f64> = (0..slots.len() as u64).map(|slot| ((from + slot) * length) as f64).collect();
    let mean = |of: &dyn Fn(&Bucket) -> f64| -> Vec<Option<f64>> {
        slots
            .iter()
            .map(|slot| slot.map(|bucket| round(of(bucket) / f64::from(bucket.samples.max(1)))))
            .collect()
    };
    let mut load = Plot::new("load", "Average active sessions by what they wait for", "sessions")
        .over(times.clone())
        .stacked();
    for (colour, name) in WAITS.iter().enumerate() {
        let values = mean(&|bucket| bucket.waits[colour]);
        if values.iter().flatten().any(|value| *value > 0.0) {
            load = load.series(*name, colour, values);
        }
    }
    let connections = Plot::new("connections", "Connections", "sessions")
        .over(times.clone())
        .series("connected", 1, mean(&|bucket| bucket.connected))
        .series("waiting for a lock", 2, mean(&|bucket| bucket.blocked))
        .series("in use of this process's pools", 3, mean(&|bucket| bucket.pool_in_use));
    let a_second = |bucket: &Bucket| {
        (bucket.with_transactions > 0)
            .then(|| round(bucket.transactions / f64::from(bucket.with_transactions)))
    };
    let transactions = Plot::new("transactions", "Transactions a second", "a second").over(times).series(
        "transactions",
        0,
        slots.iter().map(|slot| slot.and_then(a_second)).collect(),
    );
    let [load, connections, transactions] =
        [load, connections, transactions].map(|plot| plot.range(range.0, range.1));
    let samples: f64 = shown.iter().map(|bucket| f64::from(bucket.samples)).sum::<f64>().max(1.0);
    let mut by_statement = HashMap::new();
    for (key, sessions) in shown.iter().flat_map(|bucket| &bucket.by_statement) {
        *by_statement.entry(*key).or_default() += sessions / samples;
    }
    Seen { load, connections, transactions, by_statement }
}

fn short(text: &str) -> String {
    let mut short: String = text.chars().take(LONGEST_TEXT).collect();
    if short.len() < text.len() {
        short.push_str(" …");
    }
    short
}

fn unix(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// A thousandth of a session is enough, and shorter to send.
fn round(number: f64) -> f64 {
    (number * 1_000.0).round() / 1_000.0
}

/// What the last look saw.
#[derive(Debug, Default)]
struct Last {
    activity: Option<SystemTime>,
    counters: Option<(SystemTime, i64)>,
    a_second: Option<f64>,
}

impl Last {
    /// Transactions a second between the last two times that the counters were read. They go back where
    /// statistics were
    /// reset or another server answers: then it is not known.
    fn transactions(&mut self, snapshot: &Snapshot) -> Option<f64> {
        let (at, databases) = (snapshot.databases.at()?, snapshot.databases.get().ok()?);
        if self.counters.is_none_or(|(before, _)| before != at) {
            let ended = databases.iter().map(|of| of.xact_commit.saturating_add(of.xact_rollback));
            let ended = ended.fold(0_i64, i64::saturating_add);
            self.a_second = self.counters.and_then(|(before, count)| {
                let seconds = at.duration_since(before).ok()?.as_secs_f64();
                (ended >= count && seconds > 0.0).then(|| (ended - count) as f64 / seconds)
            });
            self.counters = Some((at, ended));
        }
        self.a_second
    }
}

/// The place of what it waits for in [`WAITS`]; none where it does not work for anybody.
fn wait_of(backend: &Backend) -> Option<usize> {
    if backend.state.as_deref() != Some("active") {
        return None;
    }
    let Some(kind) = backend.wait_event_type.as_deref() else { return Some(0) };
    Some(WAITS.iter().position(|name| *name == kind).unwrap_or(WAITS.len() - 1))
}

/// Follows the collector, if there is a runtime to do it in; whether there was.
pub(super) fn start(load: &Arc<Load>, collector: &Collector) -> bool {
    let Ok(runtime) = tokio::runtime::Handle::try_current() else { return false };
    runtime.spawn(Load::follow(Arc::downgrade(load), collector.clone()));
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn sample(wait: usize, sessions: f64, statement: u64) -> Bucket {
        let mut sample = Bucket { samples: 1, ..Bucket::default() };
        sample.waits[wait] = sessions;
        sample.by_statement.insert((Some(Fingerprint::new(statement)), wait), sessions);
        sample
    }

    #[test]
    fn the_load_is_the_mean_of_the_samples_and_a_gap_is_a_gap() {
        let load = Load::new(None);
        for second in 0..5 {
            load.add(at(1_000 + second), &sample(0, f64::from(second as u32 % 2) * 4.0, 7));
        }
        load.add(at(1_010), &sample(2, 3.0, 8));
        let seen = load.between(at(900), at(1_100));
        assert_eq!(seen.load.times, [1_000.0, 1_005.0, 1_010.0]);
        let [cpu, lock] = &seen.load.series[..] else { panic!("{:?}", seen.load) };
        assert_eq!((&*cpu.name, &cpu.values[..]), ("CPU", &[Some(1.6), None, Some(0.0)][..]));
        assert_eq!((&*lock.name, lock.colour, lock.values[2]), ("Lock", 2, Some(3.0)));
        assert!((seen.by_statement[&(Some(Fingerprint::new(7)), 0)] - 8.0 / 6.0).abs() < 1e-9);
        assert_eq!(load.between(at(2_000), at(3_000)).load.times.len(), 0);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let load = Load::new(None);
        for second in 0..20_000_u64 {
            load.add(at(second * 50), &sample(0, 1.0, second));
        }
        let rings = load.rings();
        for (ring, (_, kept)) in rings.iter().zip(RINGS) {
            assert!(ring.len() <= kept, "{}", ring.len());
            assert!(ring.iter().all(|bucket| bucket.by_statement.len() <= MOST_STATEMENTS + WAITS.len()));
        }
        drop(rings);
        let week = load.between(at(20_000 * 50 - 600_000), at(20_000 * 50));
        assert!(week.load.times.len() > 600 && week.load.times.len() < 700, "{}", week.load.times.len());
    }
}
