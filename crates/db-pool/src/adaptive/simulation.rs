//! The search on a simulated server: callers that never stop asking, shared cores, one lock, sleep, and
//! neighbours.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::kinds::{Held, Kinds};
use super::search::{Adaptive, Sample};

const STEP: f64 = 0.0005;
const STEPS_A_SAMPLE: u32 = 200;
const CORES: f64 = 2.0;
const MAX: usize = 64;
/// How long it takes to open a connection; two are opened at a time.
const OPENS_IN: f64 = 0.015;

#[derive(Debug, Clone, Copy)]
enum Phase {
    /// So many seconds of a core.
    Cpu(f64),
    /// So many seconds in which the server has nothing to do.
    Away(f64),
    Lock,
    Unlock,
}

/// What callers do with a connection.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Load {
    Cpu,
    /// A transaction that updates the one row.
    HotRow,
    Sleep,
    /// One in ten takes fifty times as long as the others.
    Mixed,
    /// Half of the callers update the one row, the others sleep.
    HotRowAndSleep,
}

struct Job {
    kind: &'static str,
    began: f64,
    phases: VecDeque<Phase>,
}

impl Load {
    fn job(self, began: f64, random: &mut StdRng) -> Job {
        let vary = |seconds: f64, random: &mut StdRng| seconds * random.random_range(0.5..1.5);
        let (kind, phases): (_, VecDeque<_>) = match self {
            Load::Cpu => ("cpu", [Phase::Away(0.0005), Phase::Cpu(vary(0.002, random))].into()),
            Load::HotRow => {
                let (away, work) = (Phase::Away(0.001), Phase::Cpu(vary(0.0005, random)));
                ("hot row", [away, work, Phase::Lock, work, away, work, Phase::Unlock].into())
            }
            Load::Sleep => ("sleep", [Phase::Cpu(0.0001), Phase::Away(vary(0.02, random))].into()),
            Load::Mixed if random.random_bool(0.1) => ("long", [Phase::Cpu(0.02), Phase::Away(0.1)].into()),
            Load::Mixed => ("short", [Phase::Cpu(0.0005), Phase::Away(0.002)].into()),
            Load::HotRowAndSleep if random.random_bool(0.5) => return Load::HotRow.job(began, random),
            Load::HotRowAndSleep => return Load::Sleep.job(began, random),
        };
        Job { kind, began, phases }
    }
}

struct Server {
    load: Load,
    callers: usize,
    /// How many of the neighbours' processes want a core: at most, and now.
    neighbours: (f64, f64),
    /// One for each connection that was ever used.
    jobs: Vec<Option<Job>>,
    busy: usize,
    lock: VecDeque<usize>,
    open: usize,
    opening: Vec<f64>,
    now: f64,
    /// What came back since it was last read, and ever.
    seen: HashMap<&'static str, Held>,
    releases: u64,
    random: StdRng,
}

impl Server {
    fn new(load: Load, neighbours: f64, seed: u64) -> Self {
        Server {
            load,
            callers: 128,
            neighbours: (neighbours, 0.0),
            jobs: Vec::new(),
            busy: 0,
            lock: VecDeque::new(),
            open: 0,
            opening: Vec::new(),
            now: 0.0,
            seen: HashMap::new(),
            releases: 0,
            random: StdRng::seed_from_u64(seed),
        }
    }

    fn step(&mut self, limit: usize) {
        self.now += STEP;
        self.open_connections(limit.min(self.callers));
        while self.busy < limit.min(self.callers).min(self.open) {
            let place = self.jobs.iter().position(Option::is_none).unwrap_or(self.jobs.len());
            self.jobs.resize_with(self.jobs.len().max(place + 1), || None);
            self.jobs[place] = Some(self.load.job(self.now, &mut self.random));
            self.busy += 1;
        }
        if self.random.random_bool(0.002) {
            self.neighbours.1 = self.neighbours.0 * self.random.random_range(0.0..1.0);
        }
        let running =
            self.jobs.iter().flatten().filter(|job| matches!(job.phases.front(), Some(Phase::Cpu(_))));
        let running = running.count() as f64;
        // Every process that runs, and every one that waits for the lock, costs the others a little.
        let overhead = 1.0 + 0.001 * running + 0.004 * self.lock.len() as f64;
        let share = (CORES / (running + self.neighbours.1)).min(1.0) / overhead;
        for place in 0..self.jobs.len() {
            self.advance(place, share * STEP);
        }
    }

    fn open_connections(&mut self, wanted: usize) {
        let (before, now) = (self.opening.len(), self.now);
        self.opening.retain(|ready| *ready > now);
        self.open += before - self.opening.len();
        if self.open + self.opening.len() < wanted && self.opening.len() < 2 {
            self.opening.push(self.now + OPENS_IN);
        }
    }

    fn advance(&mut self, place: usize, work: f64) {
        let Some(job) = &mut self.jobs[place] else { return };
        let done = match job.phases.front_mut() {
            Some(Phase::Cpu(left)) => {
                *left -= work;
                *left <= 0.0
            }
            Some(Phase::Away(left)) => {
                *left -= STEP;
                *left <= 0.0
            }
            Some(Phase::Lock) => {
                if !self.lock.contains(&place) {
                    self.lock.push_back(place);
                }
                self.lock.front() == Some(&place)
            }
            Some(Phase::Unlock) => {
                self.lock.pop_front();
                true
            }
            None => true,
        };
        if done {
            job.phases.pop_front();
        }
        if job.phases.is_empty() {
            let held = Duration::from_secs_f64(self.now - job.began);
            self.seen.entry(job.kind).or_default().add(held);
            self.releases += 1;
            self.busy -= 1;
            self.jobs[place] = None;
        }
    }

    /// The throughput at a limit that does not change.
    fn fixed(load: Load, neighbours: f64, limit: usize) -> f64 {
        let mut server = Server::new(load, neighbours, 7);
        (0..2_000).for_each(|_| server.step(limit));
        let before = server.releases;
        (0..10_000).for_each(|_| server.step(limit));
        (server.releases - before) as f64 / (10_000.0 * STEP)
    }

    fn best(load: Load, neighbours: f64) -> f64 {
        let sizes = [2, 4, 8, 16, 32, 64];
        sizes.map(|limit| Server::fixed(load, neighbours, limit)).into_iter().fold(0.0, f64::max)
    }
}

/// A server, and a pool that adapts to it.
struct Run {
    server: Server,
    search: Adaptive,
    kinds: Kinds<&'static str>,
    limit: usize,
    ceiling: usize,
    /// The limits that were found the best, one after another.
    trail: Vec<usize>,
}

impl Run {
    fn new(server: Server, start: usize) -> Self {
        let (search, kinds) = (Adaptive::new(1, start), Kinds::default());
        Run { server, search, kinds, limit: start, ceiling: MAX, trail: Vec::new() }
    }

    /// Lets it run for some seconds; returns the throughput.
    fn run(&mut self, seconds: u32) -> f64 {
        self.samples(seconds * 10)
    }

    fn samples(&mut self, count: u32) -> f64 {
        let (before, began) = (self.server.releases, self.server.now);
        (0..count).for_each(|_| self.sample());
        self.trail.dedup();
        (self.server.releases - before) as f64 / (self.server.now - began)
    }

    fn sample(&mut self) {
        let server = &mut self.server;
        (0..STEPS_A_SAMPLE).for_each(|_| server.step(self.limit));
        let seen = std::mem::take(&mut server.seen);
        let held = seen.values().map(|held| held.seconds).sum();
        let releases = seen.values().map(|held| held.count as u64).sum();
        self.limit = self.search.sample(&Sample {
            elapsed: Duration::from_secs_f64(STEP * f64::from(STEPS_A_SAMPLE)),
            releases,
            work: self.kinds.work(seen, self.search.is_at_rest()),
            held: Duration::from_secs_f64(held),
            waiting: server.callers.saturating_sub(server.busy),
            // A connection above the limit is parked when it comes back.
            in_use: server.busy,
            in_service: server.open.min(self.limit.max(server.busy)),
            ceiling: self.ceiling,
        });
        self.trail.push(self.search.base());
    }
}

/// After ten seconds the throughput is at least the share `within` of what the best fixed limit gives.
fn check(load: Load, neighbours: f64, within: f64) {
    let best = Server::best(load, neighbours);
    for seed in 0..4 {
        let mut run = Run::new(Server::new(load, neighbours, seed), 4);
        run.run(10);
        let share = run.run(8) / best;
        eprintln!("{load:?} {neighbours} {seed}: {share:.2} {:?}", run.trail);
        assert!(share >= within, "{load:?} {neighbours} {seed}: {share:.2}, limits {:?}", run.trail);
    }
}

#[test]
fn statements_that_need_the_cores_get_what_the_cores_give() {
    check(Load::Cpu, 0.0, 0.9);
}

#[test]
fn neighbours_on_the_machine_do_not_matter() {
    check(Load::Cpu, 2.0, 0.85);
}

#[test]
fn statements_that_wait_for_one_row_do_not_make_the_limit_grow() {
    check(Load::HotRow, 0.0, 0.87);
}

#[test]
fn statements_that_sleep_get_all_connections() {
    check(Load::Sleep, 0.0, 0.93);
}

#[test]
fn a_mix_of_short_and_long_statements_gets_what_it_needs() {
    check(Load::Mixed, 0.0, 0.78);
}

#[test]
fn the_work_done_varies_less_than_the_number_of_statements() {
    let (mut server, mut kinds) = (Server::new(Load::Mixed, 0.0, 1), Kinds::default());
    let (mut counts, mut works) = (Vec::new(), Vec::new());
    for _ in 0..200 {
        (0..2 * STEPS_A_SAMPLE).for_each(|_| server.step(16));
        let seen = std::mem::take(&mut server.seen);
        counts.push(seen.values().map(|held| held.count).sum());
        works.push(kinds.work(seen, true));
    }
    let spread = |values: &[f64]| {
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        (values.iter().map(|value| (value / mean - 1.0).powi(2)).sum::<f64>() / values.len() as f64).sqrt()
    };
    let (counts, works) = (spread(&counts[20..]), spread(&works[20..]));
    assert!(works < counts * 0.8, "work varies by {works:.2}, statements by {counts:.2}");
}

#[test]
fn lock_waits_of_some_do_not_take_connections_from_others() {
    check(Load::HotRowAndSleep, 0.0, 0.88);
}

#[test]
fn the_limit_follows_when_the_load_becomes_another() {
    let mut run = Run::new(Server::new(Load::Cpu, 0.0, 1), 4);
    for load in [Load::Cpu, Load::Sleep, Load::HotRow, Load::Sleep] {
        run.server.load = load;
        run.run(10);
        let share = run.run(5) / Server::best(load, 0.0);
        assert!(share >= 0.9, "{load:?}: {share:.2}, limits {:?}", run.trail);
    }
}

#[test]
fn another_load_ends_a_long_rest() {
    let mut run = Run::new(Server::new(Load::Sleep, 0.0, 1), 4);
    run.run(60);
    assert_eq!(run.search.base(), MAX);
    run.server.load = Load::Cpu;
    run.run(6);
    assert!(run.search.base() < MAX, "{:?}", run.trail);
}

#[test]
fn callers_that_come_and_go_teach_nothing_wrong() {
    for load in [Load::Cpu, Load::HotRow, Load::Sleep] {
        let best = Server::best(load, 0.0);
        let mut run = Run::new(Server::new(load, 0.0, 1), 4);
        run.run(10);
        let mut served = 0.0;
        for _ in 0..30 {
            served += run.samples(9);
            let callers = std::mem::take(&mut run.server.callers);
            // Odd times, so that they come and go at any time of a sample.
            (0..777).for_each(|_| run.server.step(run.limit));
            run.samples(1);
            (0..555).for_each(|_| run.server.step(run.limit));
            run.server.callers = callers;
            (0..111).for_each(|_| run.server.step(run.limit));
        }
        let share = served / 30.0 / best;
        assert!(share >= 0.85, "{load:?}: {share:.2}, limits {:?}", run.trail);
    }
}

#[test]
fn a_limit_that_serves_everybody_is_as_good_as_it_is() {
    let mut run = Run::new(Server::new(Load::Sleep, 0.0, 1), 4);
    run.server.callers = 13;
    run.run(5);
    assert!(run.search.base() >= 13, "{:?}", run.trail);
    run.run(20);
    assert!((13..=26).contains(&run.search.base()), "{:?}", run.trail);
}

#[test]
fn while_nobody_waits_the_limit_stays() {
    for callers in [1, 2, 4] {
        let mut run = Run::new(Server::new(Load::Sleep, 0.0, 1), 4);
        run.server.callers = callers;
        run.run(20);
        assert_eq!(run.trail, [4], "{callers} callers");
    }
}

#[test]
fn a_server_that_answers_nothing_teaches_nothing() {
    let mut search = Adaptive::new(1, 8);
    for _ in 0..600 {
        let elapsed = Duration::from_millis(100);
        let sample =
            Sample { elapsed, waiting: 50, in_use: 8, in_service: 8, ceiling: MAX, ..Sample::default() };
        assert_eq!(search.sample(&sample), 8);
    }
}

#[test]
fn what_the_server_takes_back_is_given_at_once() {
    let mut run = Run::new(Server::new(Load::Sleep, 0.0, 1), 4);
    run.run(10);
    run.ceiling = 20;
    run.sample();
    assert_eq!(run.limit, 20);
    run.ceiling = MAX;
    run.run(10);
    assert!(run.trail.ends_with(&[40, 64]) || run.limit >= 40, "{:?}", run.trail);
}
