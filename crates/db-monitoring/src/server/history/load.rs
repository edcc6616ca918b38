//! Average active sessions: how many sessions were at work or waited, by what they waited for and by
//! statement.

use std::collections::HashMap;

use crate::server::Backend;
use crate::server::history::LoadPart;

/// So many parts of one point are told apart; the rest is one.
const MOST_PARTS: usize = 40;

/// What is not told apart.
pub(crate) const OTHERS: &str = "others";

/// Session seconds by what was waited for and by statement.
#[derive(Default)]
pub(crate) struct LoadSum {
    seconds: f64,
    by: HashMap<(String, Option<i64>), f64>,
}

impl LoadSum {
    /// These sessions were seen, and stand for so many seconds.
    pub(crate) fn add(&mut self, seconds: f64, backends: &[Backend]) {
        self.seconds += seconds;
        for backend in backends.iter().filter(|backend| is_at_work(backend)) {
            *self.by.entry((waits_for(backend), backend.query_id)).or_default() += seconds;
        }
    }

    /// The averages, and over how many seconds; none where nobody looked.
    pub(crate) fn take(&mut self) -> Option<(f64, Vec<LoadPart>)> {
        let LoadSum { seconds, by } = std::mem::take(self);
        if seconds <= 0.0 {
            return None;
        }
        let parts = by.into_iter().map(|((wait, query_id), sum)| LoadPart {
            wait,
            query_id,
            sessions: sum / seconds,
        });
        Some((seconds, bounded(parts.collect())))
    }
}

/// The greatest parts, and the rest as one.
pub(crate) fn bounded(mut parts: Vec<LoadPart>) -> Vec<LoadPart> {
    parts.sort_by(|one, other| {
        other.sessions.total_cmp(&one.sessions).then_with(|| one.wait.cmp(&other.wait))
    });
    if parts.len() > MOST_PARTS {
        let rest: f64 = parts.drain(MOST_PARTS - 1..).map(|part| part.sessions).sum();
        parts.push(LoadPart { wait: OTHERS.to_owned(), query_id: None, sessions: rest });
    }
    parts
}

/// Whether a session does something or waits in the middle of it. A process that waits for work does not.
fn is_at_work(backend: &Backend) -> bool {
    backend.state.as_deref() == Some("active")
        && backend.backend_type.as_deref() != Some("walsender")
        && backend.wait_event_type.as_deref() != Some("Activity")
}

fn waits_for(backend: &Backend) -> String {
    match (&backend.wait_event_type, &backend.wait_event) {
        (Some(kind), Some(event)) => format!("{kind}:{event}"),
        _ => "CPU".to_owned(),
    }
}
