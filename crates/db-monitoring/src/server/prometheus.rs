//! A snapshot as Prometheus' text, under the names of postgres_exporter, so that existing boards and rules
//! work.
//!
//! What is skipped has no samples: a figure that is not known must not look like one that stands still. Our
//! own names begin with `dbp_`, in base units.

mod activity;
mod replication;
mod tables;
mod text;
mod whole;

use std::time::SystemTime;

use crate::server::section::unix_seconds;
use crate::server::snapshot::server_sections;
use crate::server::{Section, Skipped, Snapshot};

pub(crate) use text::Exposition;

/// What `/metrics` answers, as `Content-Type`.
pub const METRICS_CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The text of a snapshot for Prometheus. It asks no server.
///
/// ```
/// use db_monitoring::server::{Snapshot, metrics_text};
///
/// let text = metrics_text(&Snapshot::default());
/// assert!(text.contains("pg_up 0\n")); // nobody has answered yet
/// ```
pub fn metrics_text(snapshot: &Snapshot) -> String {
    metrics_text_at(snapshot, SystemTime::now())
}

/// The same, with the ages that its parts have at `now`.
pub fn metrics_text_at(snapshot: &Snapshot, now: SystemTime) -> String {
    let mut text = text_of_now(snapshot, now);
    text.push_str(&SlowText::of(snapshot).text);
    text
}

/// The text of what is read a minute apart or more: tables, indexes, sequences, statements and settings. It
/// is most of all, and the same until one of them is read again.
#[derive(Debug, Default)]
pub(crate) struct SlowText {
    of: SlowKey,
    pub(crate) text: String,
    #[cfg(feature = "axum")]
    gzip: std::sync::OnceLock<Vec<u8>>,
}

/// What a text was written from: when each part was read or failed, and the names that stand in it.
#[derive(Debug, Default, PartialEq)]
struct SlowKey {
    parts: Vec<(Option<SystemTime>, bool)>,
    names: Vec<String>,
}

impl SlowText {
    pub(crate) fn of(snapshot: &Snapshot) -> Self {
        let mut text = Exposition::default();
        whole::write_slow(&mut text, snapshot);
        tables::write(&mut text, snapshot);
        SlowText {
            of: SlowKey::of(snapshot),
            text: text.into_text(),
            #[cfg(feature = "axum")]
            gzip: std::sync::OnceLock::new(),
        }
    }

    pub(crate) fn is_of(&self, snapshot: &Snapshot) -> bool {
        self.of == SlowKey::of(snapshot)
    }

    /// The text as one member of gzip's format; members behind each other are one text.
    #[cfg(feature = "axum")]
    pub(crate) fn gzip(&self) -> &[u8] {
        self.gzip.get_or_init(|| gzip(self.text.as_bytes()))
    }
}

/// The fastest level: it is a tenth of the text already.
#[cfg(feature = "axum")]
pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    // A vector takes all that is written to it.
    let _ = encoder.write_all(bytes);
    encoder.finish().unwrap_or_default()
}

impl SlowKey {
    fn of(snapshot: &Snapshot) -> Self {
        fn part<T>(section: &Section<T>) -> (Option<SystemTime>, bool) {
            (section.at(), section.get().is_ok())
        }
        let mut parts =
            vec![part(&snapshot.settings), part(&snapshot.statements), part(&snapshot.statements_info)];
        let databases = snapshot.databases.get().into_iter().flatten().map(|database| &database.datname);
        let server = snapshot.server.get().map(|server| server.endpoint.to_string());
        let mut names: Vec<_> = databases.cloned().chain(server).collect();
        for (name, database) in &snapshot.by_database {
            names.push(name.clone());
            parts.extend([part(&database.tables), part(&database.indexes), part(&database.sequences)]);
        }
        SlowKey { parts, names }
    }
}

/// Everything else: what is read each second or each quarter of a minute, and ages.
pub(crate) fn text_of_now(snapshot: &Snapshot, now: SystemTime) -> String {
    let mut text = Exposition::default();
    ages(&mut text, snapshot, now);
    whole::write(&mut text, snapshot);
    activity::write(&mut text, snapshot);
    replication::write(&mut text, snapshot, unix_seconds(now));
    text.into_text()
}

/// Whether the server answers, how old each part is, and what is not known.
fn ages(text: &mut Exposition, snapshot: &Snapshot, now: SystemTime) {
    let up = snapshot.server.get().is_ok();
    text.single("pg_up", "Whether the server answers.", "gauge", f64::from(u8::from(up)));
    text.single(
        "dbp_leader",
        "Whether this process looks into the databases.",
        "gauge",
        f64::from(u8::from(snapshot.is_leader)),
    );
    let parts = parts(snapshot, now);
    text.family("dbp_snapshot_age_seconds", "How old a part of what is shown here is.", "gauge");
    for (section, database, age, _) in &parts {
        if let Some(age) = age {
            text.sample(&[("section", section), ("datname", database)], *age);
        }
    }
    text.family("dbp_section_skipped", "Whether a part is not known, and why.", "gauge");
    for (section, database, _, skipped) in &parts {
        if let Some(skipped) = skipped {
            text.sample(
                &[("section", section), ("datname", database), ("reason", skipped.reason.as_str())],
                1.0,
            );
        }
    }
}

type Part<'a> = (&'static str, &'a str, Option<f64>, Option<&'a Skipped>);

fn parts(snapshot: &Snapshot, now: SystemTime) -> Vec<Part<'_>> {
    fn part<'a, T>(
        name: &'static str,
        database: &'a str,
        section: &'a Section<T>,
        now: SystemTime,
    ) -> Part<'a> {
        (name, database, section.age(now).map(|age| age.as_secs_f64()), section.get().err())
    }
    macro_rules! of_server {
        ($($name:ident),*) => { vec![$(part(stringify!($name), "", &snapshot.$name, now)),*] };
    }
    let mut parts = server_sections!(of_server);
    for (name, database) in &snapshot.by_database {
        parts.extend([
            part("tables", name, &database.tables, now),
            part("indexes", name, &database.indexes, now),
            part("sequences", name, &database.sequences, now),
            part("extensions", name, &database.extensions, now),
        ]);
    }
    parts
}
