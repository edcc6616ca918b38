//! Schedulers as a service runs them, in virtual time.
#![expect(clippy::unwrap_used, reason = "a test says what it expects by unwrapping")]

mod leases;
mod runs;
mod times;

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use db_schedule::{BoxError, Builder, Cron, Event, Job, Observer, Run, Scheduler};
use tokio::time::Instant;

/// A wall clock that goes with tokio's time and can be set.
#[derive(Clone)]
struct Wall {
    begin: Instant,
    set_by_seconds: Arc<AtomicI64>,
}

impl Wall {
    /// It is midnight at the beginning of 2026.
    fn new() -> Self {
        Wall { begin: Instant::now(), set_by_seconds: Arc::default() }
    }

    fn now(&self) -> DateTime<Utc> {
        let set = TimeDelta::seconds(self.set_by_seconds.load(Ordering::SeqCst));
        at("2026-01-01T00:00:00Z") + TimeDelta::from_std(self.begin.elapsed()).unwrap() + set
    }

    /// Sets the clock; timers do not notice, as when a host has slept.
    fn set(&self, by: TimeDelta) {
        self.set_by_seconds.fetch_add(by.num_seconds(), Ordering::SeqCst);
    }

    fn scheduler(&self) -> Builder {
        let wall = self.clone();
        Scheduler::builder().clock(move || wall.now())
    }
}

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn cron(text: &str) -> Cron {
    Cron::parse(text, "UTC").unwrap()
}

/// Remembers each event as its sentence.
#[derive(Default)]
struct Told(Mutex<Vec<String>>);

impl Told {
    fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    fn count(&self, part: &str) -> usize {
        self.all().iter().filter(|line| line.contains(part)).count()
    }
}

impl Observer for Told {
    fn on_event(&self, event: &Event<'_>) {
        self.0.lock().unwrap().push(event.to_string());
    }
}

/// A job that takes no time and remembers its due times.
fn noting(name: &str, text: &str, runs: &Arc<Mutex<Vec<String>>>) -> Job {
    let runs = Arc::clone(runs);
    Job::new(name, cron(text), move |run: Run| {
        runs.lock().unwrap().push(run.due.format("%d %H:%M").to_string());
        async { Ok::<_, BoxError>(String::new()) }
    })
}

const HOUR: Duration = Duration::from_secs(3600);
const MINUTE: Duration = Duration::from_secs(60);

/// Lets virtual time pass.
async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}
