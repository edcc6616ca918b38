//! What one statement has cost so far, whoever ran it and with whatever values.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use db_core::{Histogram, QueryEvent, Timings};
use db_statement::{Fingerprint, Summary, fingerprint, normalize, summary};

/// The longest text of a statement that is kept, in bytes.
const LONGEST_TEXT: usize = 4 * 1024;

/// One statement, and what it has cost. Recording takes no lock and allocates nothing.
#[derive(Debug)]
pub(crate) struct Statement {
    pub(crate) fingerprint: Fingerprint,
    pub(crate) text: Arc<str>,
    pub(crate) summary: Summary,
    durations: Histogram,
    longest_nanos: AtomicU64,
    rows: AtomicU64,
    bytes: AtomicU64,
    /// How often it had a row, and how long these took to come, added up.
    with_rows: AtomicU64,
    first_row_nanos: AtomicU64,
    errors: AtomicU64,
    cancelled: AtomicU64,
    /// When it last ended, since the clock began.
    last_nanos: AtomicU64,
    #[cfg(feature = "otel")]
    pub(crate) attributes: crate::otel::Attributes,
}

/// When monitoring began, by both clocks: statements are timed by one, and people read the other.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    monotonic: Instant,
    wall: SystemTime,
}

impl Clock {
    pub(crate) fn now() -> Self {
        Clock { monotonic: Instant::now(), wall: SystemTime::now() }
    }

    pub(crate) fn at(&self, moment: Instant) -> SystemTime {
        self.wall + moment.saturating_duration_since(self.monotonic)
    }
}

impl Statement {
    pub(crate) fn of(text: &str) -> Self {
        let mut normal = normalize(text);
        if normal.len() > LONGEST_TEXT {
            let end = (0..=LONGEST_TEXT).rev().find(|end| normal.is_char_boundary(*end)).unwrap_or(0);
            normal.truncate(end);
            normal.push_str(" …");
        }
        Statement::new(fingerprint(text), normal.into(), summary(text))
    }

    /// What stands for all statements that there is no room for.
    pub(crate) fn others() -> Self {
        Statement::new(Fingerprint::new(0), "(other statements)".into(), summary(""))
    }

    fn new(fingerprint: Fingerprint, text: Arc<str>, summary: Summary) -> Self {
        Statement {
            fingerprint,
            text,
            summary,
            durations: Histogram::default(),
            longest_nanos: AtomicU64::new(0),
            rows: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            with_rows: AtomicU64::new(0),
            first_row_nanos: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            cancelled: AtomicU64::new(0),
            last_nanos: AtomicU64::new(0),
            #[cfg(feature = "otel")]
            attributes: crate::otel::Attributes::default(),
        }
    }

    /// Counts one execution.
    pub(crate) fn record(&self, event: &QueryEvent<'_>, clock: &Clock) {
        self.durations.record(event.elapsed);
        let elapsed = nanos(event.elapsed);
        // Seldom longer than the longest: looking costs less than writing.
        if elapsed > self.longest_nanos.load(Ordering::Relaxed) {
            self.longest_nanos.fetch_max(elapsed, Ordering::Relaxed);
        }
        if let Some(first_row) = event.first_row {
            self.with_rows.fetch_add(1, Ordering::Relaxed);
            self.first_row_nanos.fetch_add(nanos(first_row), Ordering::Relaxed);
            self.rows.fetch_add(event.rows.unwrap_or(0), Ordering::Relaxed);
            self.bytes.fetch_add(event.bytes.unwrap_or(0), Ordering::Relaxed);
        }
        if event.failed {
            self.errors.fetch_add(1, Ordering::Relaxed);
            self.cancelled.fetch_add(u64::from(event.cancelled), Ordering::Relaxed);
        }
        let ended = nanos(event.sent.saturating_duration_since(clock.monotonic)).saturating_add(elapsed);
        self.last_nanos.store(ended, Ordering::Relaxed);
    }

    /// How long it took, each time that it ran.
    pub(crate) fn durations(&self) -> Timings {
        self.durations.read()
    }

    /// What it has cost so far; none where it never ran.
    pub(crate) fn read(&self, clock: &Clock) -> Option<StatementStats> {
        let durations = self.durations.read();
        if durations.count() == 0 {
            return None;
        }
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let mean_first_row = read(&self.first_row_nanos).checked_div(read(&self.with_rows));
        Some(StatementStats {
            fingerprint: self.fingerprint,
            text: Arc::clone(&self.text),
            summary: self.summary.clone(),
            max: Duration::from_nanos(read(&self.longest_nanos)),
            rows: read(&self.rows),
            bytes: read(&self.bytes),
            mean_first_row: mean_first_row.map(Duration::from_nanos),
            errors: read(&self.errors),
            cancelled: read(&self.cancelled),
            last: clock.wall + Duration::from_nanos(read(&self.last_nanos)),
            durations,
        })
    }
}

/// What one statement has cost since the start, whatever its values.
///
/// ```
/// use db_monitoring::{Monitor, MonitoringConfig};
///
/// let monitor = Monitor::new(MonitoringConfig::default());
/// for statement in monitor.statements() {
///     println!("{} × {}, p99 {:?}", statement.durations.count(), statement.summary, statement.durations.quantile(0.99));
/// }
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct StatementStats {
    /// What all its executions have in common.
    pub fingerprint: Fingerprint,
    /// Its normal form: neither bind values nor constants. `(other statements)` stands for all that there was
    /// no room for.
    pub text: Arc<str>,
    /// What it does, in a few words.
    pub summary: Summary,
    /// How long it took, from sending to the end of the answer: those that failed and were cancelled
    /// included.
    pub durations: Timings,
    /// The longest that it took.
    pub max: Duration,
    /// Rows that came back.
    pub rows: u64,
    /// Bytes of these rows on the wire.
    pub bytes: u64,
    /// How long the first row took to come on average, of those executions that had one.
    pub mean_first_row: Option<Duration>,
    /// How often it failed, cancelled ones included.
    pub errors: u64,
    /// How often it was cancelled.
    pub cancelled: u64,
    /// When it last ended.
    pub last: SystemTime,
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
