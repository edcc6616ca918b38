//! What is kept of a statement's plans: no constants, and no more than a page of each.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::plan::{Plan, Shape};

/// How often a statement's plan is remembered: two weeks of hours.
const MOST_SEEN: usize = 336;
/// How many of a statement's plans are kept with their text.
const MOST_PLANS: usize = 8;

/// What the executions of a statement cost over some time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Window {
    /// How many there were.
    pub calls: u64,
    /// How long one took on average, in milliseconds.
    pub mean_ms: f64,
    /// How many rows all returned or changed.
    pub rows: u64,
}

impl Window {
    /// Rows of one execution.
    #[must_use]
    pub fn rows_a_call(&self) -> f64 {
        self.rows as f64 / self.calls.max(1) as f64
    }
}

/// One look at a statement's plan.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Seen {
    /// When.
    pub at: SystemTime,
    /// The plan's shape.
    pub shape: u64,
    /// What the executions before cost.
    pub window: Window,
}

/// A plan that is kept: its shape, and its tree without constants.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredPlan {
    /// The shape.
    pub shape: u64,
    /// The tree, as [`Plan::tree`] draws it.
    pub tree: String,
}

impl StoredPlan {
    /// Of a plan.
    #[must_use]
    pub fn of(plan: &Plan) -> Self {
        StoredPlan { shape: plan.shape().value(), tree: plan.tree(&BTreeMap::new()) }
    }
}

/// A statement that is run another way and takes another time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Flip {
    /// The statement's fingerprint.
    pub statement: String,
    /// How it was run before.
    pub before: StoredPlan,
    /// How it is run now.
    pub after: StoredPlan,
    /// How long an execution took before, in milliseconds.
    pub before_ms: f64,
    /// How long it takes now.
    pub after_ms: f64,
}

impl Flip {
    /// Whether it got slower.
    #[must_use]
    pub fn is_regression(&self) -> bool {
        self.after_ms > self.before_ms
    }

    /// Both plans side by side, in columns of `width` characters.
    #[must_use]
    pub fn side_by_side(&self, width: usize) -> String {
        let (mut left, mut right) = (self.before.tree.lines(), self.after.tree.lines());
        let cut = |line: &str| line.chars().take(width).collect::<String>();
        let mut text = format!(
            "{:<width$} | {}\n",
            format!("before: {:.1} ms", self.before_ms),
            format_args!("after: {:.1} ms", self.after_ms)
        );
        loop {
            let (before, after) = (left.next(), right.next());
            if before.is_none() && after.is_none() {
                return text;
            }
            let (before, after) = (cut(before.unwrap_or_default()), cut(after.unwrap_or_default()));
            text += format!("{before:<width$} | {after}").trim_end();
            text.push('\n');
        }
    }
}

/// What is known of one statement.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Statement {
    pub(super) seen: Vec<Seen>,
    plans: Vec<StoredPlan>,
    /// The shape of which a flip was told last.
    #[serde(default)]
    pub(super) told: Option<u64>,
}

impl Statement {
    pub(super) fn keep(&mut self, plan: &Plan, seen: Seen) {
        // What comes back later may be told again.
        if self.told != Some(seen.shape) {
            self.told = None;
        }
        if self.seen.len() >= MOST_SEEN {
            self.seen.remove(0);
        }
        self.seen.push(seen);
        self.plans.retain(|known| known.shape != seen.shape);
        if self.plans.len() >= MOST_PLANS {
            self.plans.remove(0);
        }
        self.plans.push(StoredPlan::of(plan));
    }

    pub(super) fn plan(&self, shape: u64) -> StoredPlan {
        let found = self.plans.iter().find(|plan| plan.shape == shape);
        found.cloned().unwrap_or_else(|| StoredPlan { shape, tree: format!("{}\n", Shape(shape)) })
    }

    /// The looks before the statement was last run another way than in this shape.
    pub(super) fn before(&self, shape: u64) -> &[Seen] {
        let until = self.seen.iter().rposition(|seen| seen.shape != shape).map_or(0, |last| last + 1);
        self.seen.get(..until).unwrap_or_default()
    }

    /// How long an execution typically took in this shape: the median of these looks.
    pub(super) fn typical(looks: &[Seen], shape: u64) -> Option<f64> {
        let looks = looks.iter().filter(|seen| seen.shape == shape);
        let mut times: Vec<f64> = looks.map(|seen| seen.window.mean_ms).collect();
        times.sort_by(f64::total_cmp);
        times.get(times.len() / 2).copied()
    }
}
