//! A point of history: what it says, and how several become one.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::server::ServerIdentity;
use crate::server::history::load::bounded;

/// How a server was for a while. The names in JSON stay.
///
/// Sizes of the database, of the process and the like are averages; what ends in `_per_second` is a rate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HistoryPoint {
    /// When it begins, in seconds since 1970.
    pub at: f64,
    /// Over how many seconds somebody looked.
    pub seconds: f64,
    /// Which server it is of: its system identifier, endpoint, role and timeline.
    pub server: String,
    /// Figures by name.
    pub figures: BTreeMap<String, f64>,
    /// Average active sessions.
    pub load: Vec<LoadPart>,
    /// Tables and indexes, the largest; in the coarsest ring only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub relations: Vec<RelationPoint>,
}

/// A part of the load.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LoadPart {
    /// `CPU`, or what was waited for, such as `Lock:transactionid`; `others` is the rest.
    pub wait: String,
    /// The statement, where the server tells it.
    pub query_id: Option<i64>,
    /// How many sessions on average.
    pub sessions: f64,
}

/// A table or an index, at one time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RelationPoint {
    /// Its database.
    pub database: String,
    /// Its name with its schema.
    pub name: String,
    /// The table of an index; none where it is a table itself.
    pub table: Option<String>,
    /// Its size in bytes as of the last VACUUM or ANALYZE.
    pub bytes: i64,
    /// How often it was scanned since the counters began.
    pub scans: i64,
}

impl HistoryPoint {
    /// Average active sessions as a whole.
    pub fn active_sessions(&self) -> f64 {
        self.load.iter().map(|part| part.sessions).sum()
    }
}

pub(super) fn identity(server: &ServerIdentity) -> String {
    let system = server.system_identifier.as_deref().unwrap_or("unknown");
    let timeline = server.timeline.unwrap_or_default();
    format!("{system}/{}/{}/{timeline}", server.endpoint, server.role.as_str())
}

/// Several points of one server as one: averages, weighed by the time in which somebody looked.
pub(super) fn merge(points: &[Arc<HistoryPoint>]) -> Option<HistoryPoint> {
    let first = points.first()?;
    let seconds: f64 = points.iter().map(|point| point.seconds).sum();
    let mut figures: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
    let mut load: HashMap<(&str, Option<i64>), f64> = HashMap::new();
    for point in points {
        for (name, value) in &point.figures {
            let (sum, weight) = figures.entry(name).or_default();
            *sum += value * point.seconds;
            *weight += point.seconds;
        }
        for part in &point.load {
            *load.entry((&part.wait, part.query_id)).or_default() += part.sessions * point.seconds;
        }
    }
    let figure =
        |(name, (sum, weight)): (&str, (f64, f64))| (weight > 0.0).then(|| (name.to_owned(), sum / weight));
    let part = |((wait, query_id), sum): ((&str, Option<i64>), f64)| LoadPart {
        wait: wait.to_owned(),
        query_id,
        sessions: if seconds > 0.0 { sum / seconds } else { 0.0 },
    };
    Some(HistoryPoint {
        at: first.at,
        seconds,
        server: first.server.clone(),
        figures: figures.into_iter().filter_map(figure).collect(),
        load: bounded(load.into_iter().map(part).collect()),
        relations: Vec::new(),
    })
}
