//! What pages draw of the collector's history: the load by what sessions wait for, and figures over time.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::panel::Plot;
use crate::server::{Collector, HistoryPoint, Resolution, Snapshot};

/// What sessions wait for, in the server's words, in the order of the colours. The first is none of them: it
/// works.
const WAITS: [&str; 10] =
    ["CPU", "IO", "Lock", "LWLock", "BufferPin", "Client", "IPC", "Timeout", "Extension", "Other"];
/// A plot has at most so many points.
const MOST_POINTS: f64 = 750.0;
/// So many texts of statements are kept.
const MOST_TEXTS: usize = 1_000;

/// Sessions on average, by statement, if there is one, and by the colour of what they wait for.
pub(crate) type ByStatement = HashMap<(Option<i64>, usize), f64>;

/// The points between two moments, and when each was; where nobody looked there is none.
pub(super) struct Seen {
    points: Vec<Option<Arc<HistoryPoint>>>,
    times: Vec<f64>,
    range: (f64, f64),
}

/// A line of a plot: the figure's name, what people call it, and its colour.
pub(super) type Line = (&'static str, &'static str, usize);

impl Seen {
    pub(super) fn between(collector: &Collector, from: SystemTime, to: SystemTime) -> Self {
        let (from, to) = (unix(from), unix(to));
        let now = unix(SystemTime::now());
        let fits = |resolution: &Resolution| {
            let reach = match resolution {
                Resolution::TenSeconds => 3_600.0,
                Resolution::Minute => 86_400.0,
                Resolution::Quarter => f64::INFINITY,
            };
            now - from <= reach + 60.0 && (to - from) / resolution.seconds() <= MOST_POINTS
        };
        let resolution = Resolution::ALL.into_iter().find(fits).unwrap_or(Resolution::Quarter);
        let mut points = collector.history(resolution);
        // A coarser ring has no point in the first minutes of a process.
        if points.is_empty() {
            points = collector.history(Resolution::TenSeconds);
        }
        points.retain(|point| point.at + point.seconds >= from && point.at <= to);
        Seen::of(points, resolution.seconds(), (from, to))
    }

    fn of(points: Vec<Arc<HistoryPoint>>, step: f64, range: (f64, f64)) -> Self {
        let (mut all, mut times) = (Vec::with_capacity(points.len()), Vec::with_capacity(points.len()));
        let mut end: Option<f64> = None;
        for point in points {
            if let Some(end) = end.filter(|end| point.at - end > step * 1.5) {
                all.push(None);
                times.push(round(f64::midpoint(end, point.at)));
            }
            end = Some(point.at + point.seconds);
            times.push(round(point.at));
            all.push(Some(point));
        }
        Seen { points: all, times, range }
    }

    /// The load, stacked by what sessions wait for.
    pub(super) fn load(&self) -> Plot {
        let title = "Average active sessions by what they wait for";
        let mut plot = Plot::new("load", title, "sessions").over(self.times.clone()).stacked();
        plot.range = Some(self.range);
        for (colour, name) in WAITS.iter().enumerate() {
            let sessions = |point: &HistoryPoint| {
                let parts = point.load.iter().filter(|part| colour_of(&part.wait) == colour);
                parts.map(|part| part.sessions).sum::<f64>()
            };
            let values = self.values(|point| Some(sessions(point)));
            if values.iter().flatten().any(|value| *value > 0.0) {
                plot = plot.series(*name, colour, values);
            }
        }
        plot
    }

    /// Figures over time; one that was never seen has no line.
    pub(super) fn figures(&self, key: &str, title: &str, unit: &str, lines: &[Line]) -> Plot {
        let mut plot = Plot::new(key, title, unit).over(self.times.clone());
        plot.range = Some(self.range);
        for (figure, name, colour) in lines {
            let values = self.values(|point| point.figures.get(*figure).copied());
            if values.iter().any(Option::is_some) {
                plot = plot.series(*name, *colour, values);
            }
        }
        plot
    }

    /// The share of blocks that were found in shared buffers.
    pub(super) fn hits(&self) -> Plot {
        let share = |point: &HistoryPoint| {
            let of = |name: &str| point.figures.get(name).copied();
            let (hit, read) = (of("blocks_hit_per_second")?, of("blocks_read_per_second")?);
            (hit + read > 0.0).then(|| hit * 100.0 / (hit + read))
        };
        let mut plot = Plot::new("hits", "Buffer hit ratio", "percent").over(self.times.clone()).series(
            "hits",
            0,
            self.values(share),
        );
        plot.range = Some(self.range);
        plot
    }

    /// The load by statement.
    pub(super) fn by_statement(&self) -> ByStatement {
        let seconds: f64 = self.points.iter().flatten().map(|point| point.seconds).sum();
        let mut by_statement = ByStatement::new();
        for point in self.points.iter().flatten() {
            for part in &point.load {
                let share = part.sessions * point.seconds / seconds.max(f64::MIN_POSITIVE);
                *by_statement.entry((part.query_id, colour_of(&part.wait))).or_default() += share;
            }
        }
        by_statement
    }

    /// When another server answered than before: a failover, a restart of the series.
    pub(super) fn changes_of_server(&self) -> Vec<(f64, String)> {
        let known: Vec<&Arc<HistoryPoint>> = self.points.iter().flatten().collect();
        let changes = known.windows(2).filter(|two| two[0].server != two[1].server);
        changes.map(|two| (two[1].at, "another server".to_owned())).collect()
    }

    fn values(&self, of: impl Fn(&HistoryPoint) -> Option<f64>) -> Vec<Option<f64>> {
        let value = |point: &Option<Arc<HistoryPoint>>| of(point.as_deref()?).map(round);
        self.points.iter().map(value).collect()
    }
}

/// The texts of statements by the server's number for them, as they were seen running: `pg_stat_statements`
/// may not be
/// there.
#[derive(Debug, Default)]
pub(super) struct Texts(Mutex<HashMap<i64, Arc<str>>>);

impl Texts {
    /// Takes in what runs now.
    pub(super) fn look(&self, snapshot: &Snapshot) {
        let Ok(backends) = snapshot.activity.get() else { return };
        let mut texts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if texts.len() > MOST_TEXTS {
            let running: HashSet<i64> = backends.iter().filter_map(|backend| backend.query_id).collect();
            texts.retain(|id, _| running.contains(id));
        }
        for (id, text) in backends.iter().filter_map(|one| one.query_id.zip(one.query.as_deref())) {
            texts.entry(id).or_insert_with(|| text.into());
        }
    }

    pub(super) fn get(&self, id: i64, snapshot: &Snapshot) -> Option<Arc<str>> {
        let seen = || self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned();
        snapshot.statement_texts.get(&id).cloned().or_else(seen)
    }

    /// A statement that was seen running, by what its text has in common with others.
    pub(super) fn find(&self, wanted: db_statement::Fingerprint) -> Option<Arc<str>> {
        let texts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        texts.values().find(|text| db_statement::fingerprint(text) == wanted).cloned()
    }
}

/// The colour of a wait such as `Lock:transactionid`.
fn colour_of(wait: &str) -> usize {
    let kind = wait.split(':').next().unwrap_or_default();
    WAITS.iter().position(|name| *name == kind).unwrap_or(WAITS.len() - 1)
}

fn unix(at: SystemTime) -> f64 {
    at.duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

/// A thousandth is enough, and shorter to send.
fn round(number: f64) -> f64 {
    (number * 1_000.0).round() / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::LoadPart;

    fn point(at: f64, server: &str, load: &[(&str, Option<i64>, f64)]) -> Arc<HistoryPoint> {
        let part = |(wait, query_id, sessions): &(&str, Option<i64>, f64)| {
            serde_json::from_value::<LoadPart>(
                serde_json::json!({ "wait": wait, "query_id": query_id, "sessions": sessions }),
            )
        };
        Arc::new(HistoryPoint {
            at,
            seconds: 10.0,
            server: server.to_owned(),
            figures: [("connections".to_owned(), at)].into(),
            load: load.iter().map(part).collect::<Result<_, _>>().unwrap(),
            relations: Vec::new(),
        })
    }

    #[test]
    fn waits_are_stacked_in_their_colours_and_a_gap_is_a_gap() {
        let points = vec![
            point(1_000.0, "a", &[("CPU", Some(7), 1.0), ("Lock:relation", Some(8), 2.0)]),
            point(1_010.0, "a", &[("Lock:tuple", Some(8), 4.0), ("others", None, 0.5)]),
            point(1_100.0, "b", &[]),
        ];
        let seen = Seen::of(points, 10.0, (900.0, 1_200.0));
        let plot = seen.load();
        assert_eq!(plot.times, [1_000.0, 1_010.0, 1_060.0, 1_100.0]);
        let names: Vec<_> = plot.series.iter().map(|series| (&*series.name, series.colour)).collect();
        assert_eq!(names, [("CPU", 0), ("Lock", 2), ("Other", 9)]);
        assert_eq!(plot.series[1].values, [Some(2.0), Some(4.0), None, Some(0.0)]);
        assert!((seen.by_statement()[&(Some(8), 2)] - 2.0).abs() < 1e-9);
        assert_eq!(seen.changes_of_server().len(), 1);
        let lines = [("connections", "connected", 1), ("nothing", "nothing", 2)];
        assert_eq!(seen.figures("c", "C", "sessions", &lines).series.len(), 1);
    }
}
