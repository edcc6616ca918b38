//! The search on a simulated server: callers that never stop asking, cores that are shared, a lock, sleep, noise.

use std::collections::VecDeque;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::search::{Adaptive, Sample};

const STEP: f64 = 0.0005;
const STEPS_A_SAMPLE: u32 = 200;
/// How long it takes to open a connection.
const OPENS_IN: f64 = 0.015;

#[derive(Debug, Clone, Copy)]
enum Phase {
    Cpu(f64),
    Away(f64),
    Lock,
    Unlock,
}

/// What callers do with a connection.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Load {
    /// 2 ms of work, more or less.
    Cpu,
    /// A transaction that updates the one row.
    HotRow,
    Sleep,
    /// Short and long statements, mixed.
    Mixed,
    /// Half of the callers update the one row, half sleep.
    HotRowAndSleep,
}

impl Load {
    fn job(self, random: &mut StdRng) -> VecDeque<Phase> {
        let cpu = |work: f64, random: &mut StdRng| Phase::Cpu(work * random.random_range(0.5..1.5));
        match self {
            Load::Cpu => [Phase::Away(0.0005), cpu(0.002, random)].into(),
            Load::HotRow => {
                let away = Phase::Away(0.001);
                [
                    away,
                    cpu(0.0005, random),
                    Phase::Lock,
                    cpu(0.0005, random),
                    away,
                    cpu(0.0005, random),
                    Phase::Unlock,
                ]
                .into()
            }
            Load::Sleep => [cpu(0.0001, random), Phase::Away(0.02 * random.random_range(0.98..1.05))].into(),
            Load::Mixed if random.random_bool(0.1) => [cpu(0.02, random), Phase::Away(0.1)].into(),
            Load::Mixed => [cpu(0.0005, random), Phase::Away(0.002)].into(),
            Load::HotRowAndSleep if random.random_bool(0.5) => Load::HotRow.job(random),
            Load::HotRowAndSleep => Load::Sleep.job(random),
        }
    }
}

struct Server {
    cores: f64,
    /// How much of the machine's neighbours want of it, by turns.
    neighbours: f64,
    noise: f64,
    callers: usize,
    load: Load,
    jobs: Vec<VecDeque<Phase>>,
    began: Vec<f64>,
    lock: VecDeque<usize>,
    idle: Vec<usize>,
    open: usize,
    opening: Vec<f64>,
    now: f64,
    releases: u64,
    held: f64,
    random: StdRng,
    next: usize,
}

impl Server {
    fn new(load: Load, neighbours: f64, seed: u64) -> Self {
        Server {
            cores: 2.0,
            neighbours,
            noise: 0.0,
            callers: 128,
            load,
            jobs: Vec::new(),
            began: Vec::new(),
            lock: VecDeque::new(),
            idle: Vec::new(),
            open: 0,
            opening: Vec::new(),
            now: 0.0,
            releases: 0,
            held: 0.0,
            random: StdRng::seed_from_u64(seed),
            next: 0,
        }
    }

    fn busy(&self) -> usize {
        self.jobs.iter().filter(|job| !job.is_empty()).count()
    }

    fn step(&mut self, limit: usize) {
        self.now += STEP;
        let before = self.opening.len();
        let now = self.now;
        self.opening.retain(|ready| *ready > now);
        self.open += before - self.opening.len();
        let wanted = limit.min(self.callers);
        if self.open + self.opening.len() < wanted && self.opening.len() < 2 {
            self.opening.push(self.now + OPENS_IN);
        }
        while self.busy() < wanted.min(self.open) {
            let job = self.load.job(&mut self.random);
            let place = match self.jobs.iter().position(VecDeque::is_empty) {
                Some(place) => place,
                None => {
                    self.jobs.push(VecDeque::new());
                    self.began.push(0.0);
                    self.jobs.len() - 1
                }
            };
            self.jobs[place] = job;
            self.began[place] = self.now;
        }
        if self.next == 0 {
            self.noise = self.neighbours * self.random.random_range(0.0..2.0);
            self.next = self.random.random_range(200..2_000);
        }
        self.next -= 1;
        let running =
            self.jobs.iter().filter(|job| matches!(job.front(), Some(Phase::Cpu(_)))).count() as f64;
        let share = (self.cores / (running + self.noise)).min(1.0)
            / (1.0 + 0.001 * running + 0.004 * self.lock.len() as f64);
        for place in 0..self.jobs.len() {
            self.advance(place, share * STEP);
        }
    }

    fn advance(&mut self, place: usize, work: f64) {
        let Some(phase) = self.jobs[place].front_mut() else { return };
        let done = match phase {
            Phase::Cpu(left) => {
                *left -= work;
                *left <= 0.0
            }
            Phase::Away(left) => {
                *left -= STEP;
                *left <= 0.0
            }
            Phase::Lock => {
                if !self.lock.contains(&place) {
                    self.lock.push_back(place);
                }
                self.lock.front() == Some(&place)
            }
            Phase::Unlock => {
                self.lock.pop_front();
                true
            }
        };
        if !done {
            return;
        }
        self.jobs[place].pop_front();
        if self.jobs[place].is_empty() {
            self.releases += 1;
            self.held += self.now - self.began[place];
        }
    }

    /// The throughput at a limit that does not change.
    fn fixed(load: Load, neighbours: f64, limit: usize) -> f64 {
        let mut server = Server::new(load, neighbours, 7);
        (0..4_000).for_each(|_| server.step(limit));
        let before = server.releases;
        (0..16_000).for_each(|_| server.step(limit));
        (server.releases - before) as f64 / (16_000.0 * STEP)
    }

    /// Lets the search run for some time; returns the throughput and the limits by the way.
    fn adapt(&mut self, search: &mut Adaptive, ceiling: usize, seconds: f64) -> (f64, Vec<usize>) {
        let (begin, began) = (self.releases, self.now);
        let (mut limit, mut trail) = (search.base(), Vec::new());
        let samples = (seconds / (STEP * f64::from(STEPS_A_SAMPLE))) as u32;
        for _ in 0..samples {
            let (releases, held) = (self.releases, self.held);
            (0..STEPS_A_SAMPLE).for_each(|_| self.step(limit));
            // A connection above the limit is parked when it comes back.
            let in_service = self.open.min(limit.max(self.busy()));
            limit = search.sample(&Sample {
                elapsed: Duration::from_secs_f64(STEP * f64::from(STEPS_A_SAMPLE)),
                releases: self.releases - releases,
                held: Duration::from_secs_f64(self.held - held),
                waiting: self.callers.saturating_sub(self.busy()),
                in_service,
                ceiling,
            });
            trail.push(search.base());
        }
        trail.dedup();
        ((self.releases - begin) as f64 / (self.now - began), trail)
    }
}

fn best(load: Load, neighbours: f64) -> f64 {
    [1, 2, 4, 8, 16, 32, 64]
        .map(|limit| Server::fixed(load, neighbours, limit))
        .into_iter()
        .fold(0.0, f64::max)
}

#[test]
fn look() {
    for load in [Load::Cpu, Load::HotRow, Load::Sleep, Load::Mixed, Load::HotRowAndSleep] {
        for neighbours in [0.0, 1.0] {
            let fixed = [1, 2, 4, 8, 16, 32, 64].map(|limit| Server::fixed(load, neighbours, limit).round());
            let best = best(load, neighbours);
            eprintln!("{load:?} {neighbours} {fixed:?}");
            for seed in 0..5 {
                let (mut server, mut search) = (Server::new(load, neighbours, seed), Adaptive::new(1, 4));
                let (_, trail) = server.adapt(&mut search, 64, 10.0);
                let (rate, later) = server.adapt(&mut search, 64, 10.0);
                eprintln!("    {:.2}  {trail:?} {later:?} noise {:.3}", rate / best, search.noise());
            }
        }
    }
}
