//! What the agent knows of backups besides its jobs: sizes, durations, and what the last rehearsal measured.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use chrono::Utc;
use db_platform::backup::rehearse::Rehearsal;
use db_platform::backup::wal::ArchiveStatus;
use db_platform::backup::{Backups, Summary};

use super::exposition::{Exposition, float, unix};

/// Figures as of the last run that knew them.
#[derive(Default)]
pub(super) struct Figures(Mutex<Known>);

#[derive(Default)]
struct Known {
    /// The newest backup of each kind.
    newest: BTreeMap<&'static str, Newest>,
    rpo_seconds: Option<f64>,
    rto_seconds: Option<f64>,
    /// When the last rehearsal began, and whether it showed that the backup restores.
    rehearsed: Option<(f64, bool)>,
    /// How many backups there are of each kind, and how many bytes their objects take.
    counts: BTreeMap<&'static str, (u64, u64)>,
    /// The archive at the last look, and when that was.
    archive: Option<(ArchiveStatus, f64)>,
    /// When the receiver was last known to have stored all that had come.
    received: Option<f64>,
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
        known.rehearsed = Some((unix(verdict.began), verdict.holds()));
    }

    /// What the repository has, whichever host has put it there.
    pub(super) fn listed(&self, backups: &Backups, rehearsal: Option<&Rehearsal>) {
        backups.whole.iter().for_each(|summary| self.taken(summary));
        if let Some(verdict) = rehearsal {
            self.rehearsed(verdict);
        }
        let mut counts = BTreeMap::new();
        for summary in backups.whole.iter().chain(&backups.expiring) {
            let (count, bytes): &mut (u64, u64) = counts.entry(summary.kind.as_str()).or_default();
            (*count, *bytes) = (*count + 1, bytes.saturating_add(summary.figures.stored_bytes));
        }
        self.known().counts = counts;
    }

    /// The archive was looked at.
    pub(super) fn archived(&self, status: &ArchiveStatus) {
        self.known().archive = Some((status.clone(), unix(Utc::now())));
    }

    /// The receiver has stored what had come, and told the server.
    pub(super) fn received(&self) {
        self.known().received = Some(unix(Utc::now()));
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
        let counted = |figure: fn((u64, u64)) -> u64| {
            let samples = known.counts.iter().map(move |(kind, of)| ((*kind).to_owned(), float(figure(*of))));
            samples.collect::<Vec<_>>()
        };
        text.family(
            gauge("db_backup_backups", "How many backups there are."),
            "kind",
            counted(|(count, _)| count),
        );
        let stored = known.counts.values().map(|(_, bytes)| *bytes).fold(0, u64::saturating_add);
        let log = known.archive.iter().flat_map(|(status, _)| &status.timelines);
        let log = log.map(|timeline| timeline.bytes).fold(0, u64::saturating_add);
        let parts = [("backups", stored, !known.counts.is_empty()), ("log", log, known.archive.is_some())];
        text.family(
            gauge("db_backup_repository_size_bytes", "How many bytes the objects of this cluster take."),
            "part",
            parts
                .into_iter()
                .filter(|(.., is_known)| *is_known)
                .map(|(part, bytes, _)| (part.to_owned(), float(bytes))),
        );
        if let Some((status, at)) = &known.archive {
            archive(text, status, *at);
        }
        text.family(
            gauge(
                "db_backup_received_timestamp_seconds",
                "When the receiver had last stored all that had come; at least every 5 s.",
            ),
            "",
            known.received.map(|at| (String::new(), at)),
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
        text.family(
            gauge("db_backup_rehearsed_timestamp_seconds", "When the last rehearsal began."),
            "backup",
            measured(known.rehearsed.map(|(at, _)| at)),
        );
        text.family(
            gauge("db_backup_rehearsed_holds", "Whether the last rehearsal showed that the backup restores."),
            "backup",
            measured(known.rehearsed.map(|(_, holds)| f64::from(u8::from(holds)))),
        );
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How far the archive is behind the server, and what is wrong with it.
fn archive(text: &mut Exposition, status: &ArchiveStatus, at: f64) {
    let server = status.server.as_ref();
    let one = |figure: Option<f64>| figure.map(|figure| (String::new(), figure));
    let gauge = |name, help| (name, help, "gauge");
    text.family(
        gauge("db_backup_archive_looked_timestamp_seconds", "When the archive was last looked at."),
        "",
        one(Some(at)),
    );
    text.family(
        gauge(
            "db_backup_archive_lag_bytes",
            "Log that the server has written and the archive does not have.",
        ),
        "",
        one(server.map(|server| float(server.lag_bytes))),
    );
    text.family(
        gauge(
            "db_backup_archive_lag_seconds",
            "How long the oldest finished file has waited; 0 where none does.",
        ),
        "",
        one(server.and_then(|server| server.waiting_seconds).map(float)),
    );
    text.family(
        gauge("db_backup_archive_last_success_timestamp_seconds", "When the server last archived a file."),
        "",
        one(server.and_then(|server| server.since_last_seconds).map(|ago| at - float(ago))),
    );
    text.family(
        (
            "db_backup_archive_failures_total",
            "How often archive_command has failed, as the server counts.",
            "counter",
        ),
        "",
        one(server.and_then(|server| server.failures).map(float)),
    );
    let mut findings: BTreeMap<&str, u64> = FINDINGS.iter().map(|kind| (*kind, 0)).collect();
    for finding in &status.findings {
        *findings.entry(finding.kind()).or_default() += 1;
    }
    text.family(
        gauge("db_backup_archive_findings", "What is wrong with the archive: 0 is what one wants to see."),
        "finding",
        findings.into_iter().map(|(kind, count)| (kind.to_owned(), float(count))),
    );
}

/// The kinds of findings, so that an alert has a figure to look at while there is none.
const FINDINGS: [&str; 7] = ["branch", "disputed", "failing", "foreign", "gap", "late", "no-history"];
