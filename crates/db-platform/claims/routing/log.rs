//! What this process logs: the monitors work in threads of their own, so one subscriber hears all of it.

use std::sync::{Mutex, Once, PoisonError};

use tracing::field::{Field, Visit};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

/// A line of information or more, of one of our crates.
pub(super) struct Line {
    pub(super) level: tracing::Level,
    pub(super) message: String,
}

static LINES: Mutex<Vec<Line>> = Mutex::new(Vec::new());

/// The lines since it was opened.
pub(super) struct Log;

impl Log {
    /// Begins to listen; claims run one after another, so what earlier ones have logged is forgotten.
    pub(super) fn open() -> Self {
        static LISTENING: Once = Once::new();
        LISTENING.call_once(|| {
            tracing::subscriber::set_global_default(tracing_subscriber::registry().with(Listener)).unwrap();
        });
        LINES.lock().unwrap_or_else(PoisonError::into_inner).clear();
        Log
    }

    /// How many lines there are of a kind.
    pub(super) fn count(&self, is_wanted: impl Fn(&Line) -> bool) -> usize {
        let lines = LINES.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().filter(|line| is_wanted(line)).count()
    }
}

struct Listener;

impl<S: tracing::Subscriber> Layer<S> for Listener {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        let level = *event.metadata().level();
        if !event.metadata().target().starts_with("db_") || level > tracing::Level::INFO {
            return;
        }
        let mut message = Message(String::new());
        event.record(&mut message);
        LINES.lock().unwrap_or_else(PoisonError::into_inner).push(Line { level, message: message.0 });
    }
}

struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}
