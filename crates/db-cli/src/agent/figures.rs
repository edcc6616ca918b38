//! What the agent knows of backups besides its jobs: sizes, durations, and what the last rehearsal measured.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use db_platform::backup::Summary;
use db_platform::backup::rehearse::Rehearsal;

use super::page::{Exposition, float, unix};

/// Figures as of the last run that knew them.
#[derive(Default)]
pub(super) struct Figures(Mutex<Known>);

#[derive(Default)]
struct Known {
    /// The newest backup of each kind.
    newest: BTreeMap<&'static str, Newest>,
    rpo_seconds: Option<f64>,
    rto_seconds: Option<f64>,
}

struct Newest {
    ended: f64,
    seconds: f64,
    bytes: u64,
    stored_bytes: u64,
}

impl Figures {
    /// A backup was taken, or found in the repository.
    pub(super) fn taken(&self, summary: &Summary) {
        let newest = Newest {
            ended: unix(summary.ended),
            seconds: (summary.ended - summary.began).to_std().unwrap_or_default().as_secs_f64(),
            bytes: summary.figures.plain_bytes,
            stored_bytes: summary.figures.stored_bytes,
        };
        self.known().newest.insert(summary.kind.as_str(), newest);
    }

    /// A rehearsal has measured.
    pub(super) fn rehearsed(&self, verdict: &Rehearsal) {
        let mut known = self.known();
        (known.rpo_seconds, known.rto_seconds) = (verdict.rpo_seconds, verdict.rto_seconds);
    }

    /// Writes them as Prometheus reads them.
    pub(super) fn write(&self, text: &mut Exposition) {
        let known = self.known();
        let of = |figure: fn(&Newest) -> f64| {
            let samples = known.newest.iter().map(move |(kind, newest)| ((*kind).to_owned(), figure(newest)));
            samples.collect::<Vec<_>>()
        };
        let gauge = |name, help| (name, help, "gauge");
        text.family(
            gauge("db_backup_last_success_timestamp_seconds", "When the newest backup was done."),
            "kind",
            of(|newest| newest.ended),
        );
        text.family(
            gauge("db_backup_last_duration_seconds", "How long it took."),
            "kind",
            of(|newest| newest.seconds),
        );
        text.family(
            gauge("db_backup_last_size_bytes", "How many bytes its files have."),
            "kind",
            of(|newest| float(newest.bytes)),
        );
        text.family(
            gauge("db_backup_last_stored_bytes", "How many bytes it takes in the store."),
            "kind",
            of(|newest| float(newest.stored_bytes)),
        );
        let measured = |figure: Option<f64>| figure.map(|figure| ("newest".to_owned(), figure));
        text.family(
            gauge("db_backup_rehearsed_rpo_seconds", "How old the newest commit of the last rehearsal was."),
            "backup",
            measured(known.rpo_seconds),
        );
        text.family(
            gauge(
                "db_backup_rehearsed_rto_seconds",
                "From nothing to the first query in the last rehearsal.",
            ),
            "backup",
            measured(known.rto_seconds),
        );
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
