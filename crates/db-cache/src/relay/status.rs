//! What a relay has done, and how it is.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use db_core::{Condition, Measure, MeasureKind, PartHealth};

use super::verdict::{Accident, Way};

/// What one process's relay has done, and how it is. One process leads; the others wait to take over.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct RelayStatus {
    /// Whether the database has what transactions need to tell the relay what they touched.
    pub is_installed: bool,
    /// Whether this process leads.
    pub is_leader: bool,
    /// How it is told of commits, where it leads.
    pub way: Option<Way>,
    /// Whether its last look found nothing left to do.
    pub is_caught_up: bool,
    /// Log that the slot holds back, in bytes, where it leads and reads one.
    pub retained_bytes: Option<u64>,
    /// How many times it has looked.
    pub looks: u64,
    /// How many messages it has read.
    pub messages: u64,
    /// How many of them it left alone, because writer had bumped by itself.
    pub confirmed: u64,
    /// How often commits may have been missed, so that the whole cache got a fresh epoch, by cause.
    pub accidents: BTreeMap<Accident, u64>,
    /// Why it does not do its work now.
    pub problem: Option<String>,
}

impl RelayStatus {
    /// How it is, as a health check says it.
    pub fn health(&self) -> PartHealth {
        match &self.problem {
            None => PartHealth::up(),
            Some(problem) => PartHealth::new(Condition::Degraded, problem.clone()),
        }
    }

    /// What it reports.
    pub fn measures(&self) -> Vec<Measure> {
        let counter = |name, unit, value: u64| Measure::new(name, MeasureKind::Counter, unit, value as f64);
        let gauge = |name, unit, value: u64| Measure::new(name, MeasureKind::Gauge, unit, value as f64);
        let accidents = Accident::ALL.iter().map(|accident| {
            let count = self.accidents.get(accident).copied().unwrap_or_default();
            counter("db.cache.relay.accidents", "{accident}", count).with("cause", accident.as_str())
        });
        let mut all = vec![
            gauge("db.cache.relay.leader", "{process}", self.is_leader.into()),
            gauge("db.cache.relay.caught_up", "{process}", self.is_caught_up.into()),
            gauge("db.cache.relay.retained", "By", self.retained_bytes.unwrap_or_default()),
            counter("db.cache.relay.looks", "{look}", self.looks),
            counter("db.cache.relay.messages", "{message}", self.messages),
            counter("db.cache.relay.confirmed", "{message}", self.confirmed),
        ];
        all.extend(accidents);
        all
    }
}

/// The status that a relay's clones share.
#[derive(Debug, Default)]
pub(crate) struct Shared(Mutex<RelayStatus>);

impl Shared {
    pub(crate) fn lock(&self) -> MutexGuard<'_, RelayStatus> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
