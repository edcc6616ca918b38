//! What watching a statement for repeats costs the process: its time, and its allocations.

use std::hint::black_box;
use std::panic::Location;
use std::sync::Arc;
use std::time::{Duration, Instant};

use db_core::{BindHashes, Caller, Checkout, Endpoint, Observe, QueryEvent, WorkScope};
use db_insight::repeats::{Label, RepeatsMode, RepeatsWatch};
use db_testkit::claims::{Figure, Size};
use serde_json::json;

const LIMIT_NS: f64 = 100.0;
/// Statements of one request.
const STATEMENTS: usize = 20;
/// Requests at a time.
const REQUESTS: usize = 100;

pub(crate) fn measure(size: Size) -> Figure {
    let rounds = if size == Size::Nightly { 5_000 } else { 500 };
    let told = Told::new();
    let best = (0..3).map(|_| told.nanoseconds(rounds)).fold(f64::INFINITY, f64::min);
    let allocations = told.allocations();
    let planted = told.planted();
    Figure {
        value: best,
        unit: "ns a statement, best of three medians",
        holds: best <= LIMIT_NS && allocations == 0 && planted,
        detail: json!({
            "allocations": allocations, "of_statements": REQUESTS * STATEMENTS, "planted_found": planted,
            "requests_at_a_time": REQUESTS, "rounds": rounds,
        }),
    }
}

/// What a pool tells the watch, of many requests that run at a time.
struct Told {
    watch: RepeatsWatch,
    observer: Arc<dyn Observe>,
    endpoint: Endpoint,
    texts: Vec<String>,
}

impl Told {
    fn new() -> Self {
        // As diesel writes them: about 200 characters.
        let text = |table| {
            format!(
                "SELECT \"t{table}\".\"id\", \"t{table}\".\"email\", \"t{table}\".\"status\", \"t{table}\".\"created_at\" \
                 FROM \"t{table}\" WHERE ((\"t{table}\".\"status\" = $1) AND (\"t{table}\".\"deleted_at\" IS NULL)) \
                 ORDER BY \"t{table}\".\"id\" LIMIT $2"
            )
        };
        let watch = RepeatsWatch::new(RepeatsMode::Metric);
        let observer = watch.observer();
        let texts = (0..STATEMENTS).map(text).collect();
        let told = Told { watch, observer, endpoint: Endpoint::new("db", 5432), texts };
        // The first requests grow what later ones find.
        told.round(&callers());
        assert_eq!(told.watch.findings(), []);
        told
    }

    /// All requests run all their statements, in turns; none repeats one.
    fn round(&self, callers: &[Caller]) {
        for text in &self.texts {
            for caller in callers {
                self.tell(caller, text, 7);
            }
        }
    }

    /// One statement, with its two parameters hashed as the pool does it.
    fn tell(&self, caller: &Caller, text: &str, value: u64) {
        let mut binds = BindHashes::default();
        binds.push(Some(&value.to_be_bytes()));
        binds.push(Some(b"paid"));
        let mut event = QueryEvent::new(&self.endpoint, text, Instant::now(), Duration::from_micros(300));
        (event.caller, event.rows, event.binds) = (Some(caller), Some(1), Some(binds));
        self.observer.on_query(black_box(&event));
    }

    fn nanoseconds(&self, rounds: usize) -> f64 {
        let mut times: Vec<f64> = (0..rounds)
            .map(|_| {
                let callers = callers();
                let begun = Instant::now();
                self.round(&callers);
                let took = begun.elapsed().as_nanos() as f64 / (REQUESTS * STATEMENTS) as f64;
                assert_eq!(self.watch.findings(), []);
                took
            })
            .collect();
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    }

    fn allocations(&self) -> u64 {
        let callers = callers();
        allocation_counter::measure(|| self.round(&callers)).count_total
    }

    /// Whether among these requests the one that asks for each of ten rows alone is found, and no other.
    fn planted(&self) -> bool {
        let callers = callers();
        self.round(&callers);
        (0..10).for_each(|id| self.tell(&callers[17], &self.texts[3], id));
        let found = self.watch.findings();
        self.watch.clear();
        found.len() == 1 && found[0].label == Label::NPlusOne && found[0].scope == "GET /17"
    }
}

fn callers() -> Vec<Caller> {
    (0..REQUESTS)
        .map(|request| {
            let mut caller = Caller::now(Checkout(request as u64), Location::caller());
            caller.scope = Some(WorkScope::named(format!("GET /{request}")));
            caller
        })
        .collect()
}
