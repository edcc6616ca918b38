//! How the server was over time: rings in memory, from ten seconds apart to a quarter of an hour.
//!
//! A time in which nobody could look is a gap, never a zero, and a point is of one server only: a failover,
//! a promotion and a restart begin the next one.

mod figures;
mod load;
mod point;
pub(crate) mod store;
mod trend;

use std::collections::VecDeque;
use std::sync::Arc;

use crate::LookAtPools;
use crate::server::Snapshot;

use figures::Figures;
use load::LoadSum;
pub use point::{HistoryPoint, LoadPart, RelationPoint};
pub use store::HistoryConfig;
pub use trend::Trend;

/// How far the points of a ring are apart, and how far back they reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Resolution {
    /// Ten seconds, for an hour.
    TenSeconds,
    /// A minute, for a day.
    Minute,
    /// A quarter of an hour, for thirty days.
    Quarter,
}

impl Resolution {
    /// All of them, the finest first.
    pub const ALL: [Resolution; 3] = [Resolution::TenSeconds, Resolution::Minute, Resolution::Quarter];

    /// How far two points are apart, in seconds.
    pub fn seconds(self) -> f64 {
        match self {
            Resolution::TenSeconds => 10.0,
            Resolution::Minute => 60.0,
            Resolution::Quarter => 900.0,
        }
    }

    fn most(self) -> usize {
        match self {
            Resolution::TenSeconds => 360,
            Resolution::Minute => 1_440,
            Resolution::Quarter => 2_880,
        }
    }
}

/// A gap from here on, in seconds: what lies in between was not seen.
const LONGEST_STEP: f64 = 5.0;

/// So many points keep what is known of tables and indexes.
const WITH_RELATIONS: usize = 96;

/// Points that are to be kept for longer than the process lives.
pub(crate) type Finished = Vec<(Resolution, Arc<HistoryPoint>)>;

/// What was seen, oldest first, at each resolution.
#[derive(Default)]
pub(crate) struct History {
    rings: [VecDeque<Arc<HistoryPoint>>; 3],
    /// Points of the next finer ring that are not in this one yet.
    pending: [Vec<Arc<HistoryPoint>>; 3],
    load: LoadSum,
    figures: Figures,
    server: String,
    began: f64,
    last: Option<f64>,
}

impl History {
    /// Takes in what is known now. `now` is in seconds since 1970.
    ///
    /// Answers the points that were finished and are to be kept for longer than the process lives.
    pub(crate) fn sample(&mut self, now: f64, snapshot: &Snapshot, pools: Option<&LookAtPools>) -> Finished {
        let mut finished = Vec::new();
        let (Ok(server), Ok(backends)) = (snapshot.server.get(), snapshot.activity.get()) else {
            self.last = None;
            return finished;
        };
        let server = point::identity(server);
        let step = Resolution::TenSeconds.seconds();
        let is_another = !self.server.is_empty() && self.server != server;
        if is_another || (now / step).floor() != (self.began / step).floor() {
            self.finish(&mut finished);
            self.began = now;
        }
        if is_another {
            self.figures = Figures::default();
        }
        self.server = server;
        // The first look of a stretch stands for no time before it.
        let elapsed = self.last.map_or(0.0, |last| now - last);
        self.last = Some(now);
        if elapsed > 0.0 && elapsed <= LONGEST_STEP {
            self.load.add(elapsed, backends);
        }
        self.figures.look(snapshot, pools);
        finished
    }

    /// Ends the point under way.
    fn finish(&mut self, finished: &mut Finished) {
        if let Some((seconds, load)) = self.load.take() {
            let (at, server, figures) = (self.began, self.server.clone(), self.figures.take());
            let point = HistoryPoint { at, seconds, server, figures, load, relations: Vec::new() };
            self.push(0, Arc::new(point), finished);
        }
    }

    /// Puts a point into its ring. One of another span or server ends the point of the next coarser ring.
    fn push(&mut self, place: usize, point: Arc<HistoryPoint>, finished: &mut Finished) {
        if let Some(&coarser) = Resolution::ALL.get(place + 1) {
            let span = |point: &HistoryPoint| (point.at / coarser.seconds()).floor();
            let pending = &mut self.pending[place + 1];
            if pending.first().is_some_and(|one| span(one) != span(&point) || one.server != point.server)
                && let Some(mut merged) = point::merge(&std::mem::take(pending))
            {
                if coarser == Resolution::Quarter {
                    merged.relations = self.figures.relations();
                }
                let merged = Arc::new(merged);
                finished.push((coarser, Arc::clone(&merged)));
                self.push(place + 1, merged, finished);
            }
            self.pending[place + 1].push(Arc::clone(&point));
        }
        let ring = &mut self.rings[place];
        ring.push_back(point);
        while ring.len() > Resolution::ALL[place].most() {
            ring.pop_front();
        }
        // Tables and indexes are many: in memory they are kept for a day.
        if let Some(old) = ring.len().checked_sub(WITH_RELATIONS + 1).and_then(|old| ring.get_mut(old))
            && !old.relations.is_empty()
        {
            *old = Arc::new(HistoryPoint { relations: Vec::new(), ..(**old).clone() });
        }
    }

    /// Puts what an earlier process kept in front of what this one saw.
    pub(crate) fn restore(&mut self, resolution: Resolution, mut kept: Vec<HistoryPoint>) {
        let place = Resolution::ALL.iter().position(|one| *one == resolution).unwrap_or_default();
        let ring = &mut self.rings[place];
        if let Some(first) = ring.front() {
            kept.retain(|point| point.at < first.at);
        }
        for point in kept.into_iter().rev() {
            if ring.len() < resolution.most() {
                ring.push_front(Arc::new(point));
            }
        }
    }

    pub(crate) fn points(&self, resolution: Resolution) -> Vec<Arc<HistoryPoint>> {
        let place = Resolution::ALL.iter().position(|one| *one == resolution).unwrap_or_default();
        self.rings[place].iter().cloned().collect()
    }
}

#[cfg(test)]
#[path = "history/tests.rs"]
mod tests;
