//! Where a plan's time went: each node's own share, never negative, together the whole.
//!
//! A node's time includes what it ran, is an average over executions, and below a Gather one over processes
//! that ran at once. So it is multiplied by the executions, divided by the processes, and what a node ran is
//! taken off it, wherever that hangs in the tree. What rounding or workers that waited leave over is cut from
//! the children in proportion.

use super::Plan;
use super::run_by::{self, RunBy};

/// Where a plan's time went, in milliseconds.
///
/// ```
/// use db_insight::Plan;
///
/// let node = |kind: &str, ms: f64, below: &str| {
///     format!(r#"{{"Node Type": "{kind}", "Actual Rows": 1, "Actual Loops": 1, "Actual Total Time": {ms}, "Plans": [{below}]}}"#)
/// };
/// let text = format!(r#"{{"Plan": {}, "Execution Time": 11.0}}"#, node("Sort", 10.0, &node("Seq Scan", 7.0, "")));
/// let times = text.parse::<Plan>()?.times();
/// assert_eq!(times.own_ms(0), 3.0);
/// assert_eq!((times.own_ms(1), times.outside_ms, times.whole_ms), (7.0, 1.0, 11.0));
/// # Ok::<(), db_insight::NotAPlan>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Times {
    /// Each node's own time.
    own: Vec<f64>,
    /// Each node's time with all that it ran.
    with_below: Vec<f64>,
    /// The whole: what the server says that execution took, or the root's time where it does not.
    pub whole_ms: f64,
    /// What no node took: starting and ending, triggers after the rows.
    pub outside_ms: f64,
    /// How much of children's time did not fit into their parents, and was cut: rounding, and processes that
    /// ran at once.
    pub cut_ms: f64,
    /// Whether the server measured it; if not, all are 0, or the whole shared out by cost.
    pub are_measured: bool,
}

impl Times {
    /// The node's own time, without what it ran.
    #[must_use]
    pub fn own_ms(&self, at: usize) -> f64 {
        self.own.get(at).copied().unwrap_or_default()
    }

    /// The node's time with all that it ran, averaged over processes that ran at once.
    #[must_use]
    pub fn with_below_ms(&self, at: usize) -> f64 {
        self.with_below.get(at).copied().unwrap_or_default()
    }

    /// Which part of the whole this is, from 0 to 1.
    #[must_use]
    pub fn share(&self, ms: f64) -> f64 {
        if self.whole_ms > 0.0 { (ms / self.whole_ms).clamp(0.0, 1.0) } else { 0.0 }
    }
}

pub(super) fn of(plan: &Plan) -> Times {
    let processes = processes(plan);
    let are_measured =
        plan.nodes.iter().any(|node| node.actual.is_some_and(|actual| actual.total_ms.is_some()));
    let mut wall = walls(plan, &processes);
    if !are_measured {
        share_out(plan, &processes, &mut wall);
    }
    let run_by = run_by::all(plan, &wall);
    let root = wall.first().copied().unwrap_or_default();
    let whole_ms = plan.execution_ms.unwrap_or(root).max(root);
    let elsewhere: f64 = run_by.iter().map(|by| by.outside).sum();
    // What a CTE that nobody read took was taken after the root was done.
    let room = whole_ms - root;
    let fits = if elsewhere > room { room / elsewhere } else { 1.0 };
    let (own, with_below, cut_ms) = allot(plan, &wall, &run_by, fits);
    let outside_ms = (whole_ms - own.iter().sum::<f64>()).max(0.0);
    Times {
        own,
        with_below,
        whole_ms,
        outside_ms,
        cut_ms: cut_ms + (elsewhere - room).max(0.0),
        are_measured,
    }
}

/// How many processes ran each node at once.
fn processes(plan: &Plan) -> Vec<f64> {
    let mut processes: Vec<f64> = Vec::with_capacity(plan.nodes.len());
    for node in &plan.nodes {
        let parent = node.parent.and_then(|at| Some((plan.nodes.get(at)?, *processes.get(at)?)));
        let runs = parent.map_or(1.0, |(parent, above)| {
            // What hangs below a Gather as InitPlan ran before its workers were there.
            if parent.is_gather() && !node.relates_as("InitPlan") && parent.loops() > 0.0 {
                (node.loops() / parent.loops()).max(1.0)
            } else {
                above
            }
        });
        processes.push(runs);
    }
    processes
}

fn walls(plan: &Plan, processes: &[f64]) -> Vec<f64> {
    let wall = |(at, processes): (usize, &f64)| {
        let node = plan.nodes.get(at)?;
        let actual = node.actual?;
        // An InitPlan is run by one process, also where it hangs among those of many.
        let at_once =
            if node.relates_as("InitPlan") { processes.min(actual.loops).max(1.0) } else { *processes };
        Some(actual.total_ms? * actual.loops / at_once)
    };
    processes.iter().enumerate().map(|one| wall(one).unwrap_or_default()).collect()
}

/// Without clocks: what execution took, shared out by the planner's costs and the executions.
fn share_out(plan: &Plan, processes: &[f64], wall: &mut [f64]) {
    let (Some(whole), Some(root)) = (plan.execution_ms, plan.nodes.first()) else { return };
    let root_cost = root.estimate.total_cost.max(f64::MIN_POSITIVE);
    for ((node, processes), wall) in plan.nodes.iter().zip(processes).zip(wall.iter_mut()) {
        *wall = whole * node.estimate.total_cost * node.loops() / processes / root_cost;
    }
    if let Some(root) = wall.first_mut() {
        *root = whole;
    }
}

/// Hands the root's time down: each node keeps what those that it ran did not take.
fn allot(plan: &Plan, wall: &[f64], run_by: &[RunBy], fits: f64) -> (Vec<f64>, Vec<f64>, f64) {
    let count = plan.nodes.len();
    let mut runs: Vec<Vec<(usize, f64)>> = vec![Vec::new(); count];
    let mut waits_for = vec![0_usize; count];
    for (at, by) in run_by.iter().enumerate() {
        for (host, part) in &by.nodes {
            if let Some(runs) = runs.get_mut(*host) {
                runs.push((at, *part));
                if let Some(waits) = waits_for.get_mut(at) {
                    *waits += 1;
                }
            }
        }
    }
    let mut given: Vec<f64> = run_by.iter().map(|by| by.outside * fits).collect();
    if let (Some(given), Some(root)) = (given.first_mut(), wall.first()) {
        *given = *root;
    }
    let mut own = vec![0.0; count];
    let mut cut = 0.0;
    let mut ready: Vec<usize> = (0..count).filter(|at| waits_for.get(*at) == Some(&0)).collect();
    while let Some(at) = ready.pop() {
        let has = given.get(at).copied().unwrap_or_default();
        let before = wall.get(at).copied().unwrap_or_default();
        let runs = runs.get(at).map_or(&[][..], Vec::as_slice);
        let below: f64 = runs.iter().map(|(_, part)| part).sum();
        let scale = if below > before {
            has / below
        } else if before > 0.0 {
            has / before
        } else {
            0.0
        };
        cut += (below - before).max(0.0);
        for (child, part) in runs {
            if let Some(given) = given.get_mut(*child) {
                *given += part * scale;
            }
            if let Some(waits) = waits_for.get_mut(*child) {
                *waits -= 1;
                if *waits == 0 {
                    ready.push(*child);
                }
            }
        }
        if let Some(own) = own.get_mut(at) {
            *own = (has - below * scale).max(0.0);
        }
    }
    (own, given, cut)
}
