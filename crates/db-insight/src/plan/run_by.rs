//! Which node runs a subplan: where its time is counted.
//!
//! The server hangs CTEs and InitPlans below the top of their query, but a CTE runs when a CTE Scan asks for
//! its rows, and an InitPlan when an expression first needs its value: the time is within the node that asks.

use super::Plan;
use super::node::Node;

/// Where a node's time is counted.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct RunBy {
    /// The nodes within whose time it lies, with the milliseconds in each.
    pub(super) nodes: Vec<(usize, f64)>,
    /// Milliseconds outside all nodes: after the last row was sent, or unknown.
    pub(super) outside: f64,
}

/// How much of an InitPlan's time must fit into a node for it to have been run there.
const FITS: f64 = 0.9;

/// For each node, who runs it. `wall` is each node's time with all that it runs, in milliseconds.
pub(super) fn all(plan: &Plan, wall: &[f64]) -> Vec<RunBy> {
    let ms = |at: usize| wall.get(at).copied().unwrap_or_default();
    let mut run_by: Vec<RunBy> = (0..plan.nodes.len())
        .map(|at| {
            let parent = plan.nodes.get(at).and_then(|node| node.parent);
            RunBy { nodes: parent.map(|parent| (parent, ms(at))).into_iter().collect(), outside: 0.0 }
        })
        .collect();
    // What is left of each node's time for its own work and for what hangs elsewhere.
    let mut left = wall.to_vec();
    for (at, node) in plan.nodes.iter().enumerate() {
        if let Some(parent) = node.parent.filter(|_| !is_elsewhere(node)) {
            take(&mut left, parent, ms(at));
        }
    }
    // Inner ones come later in the list and are run by scans of those before them.
    for at in (0..plan.nodes.len()).rev() {
        let Some(node) = plan.nodes.get(at).filter(|node| is_elsewhere(node)) else { continue };
        let found = if node.cte_declared().is_some() {
            by_cte_scans(plan, at, ms(at), &left)
        } else {
            by_expression(plan, at, node, ms(at), &left)
        };
        for (host, part) in &found.nodes {
            take(&mut left, *host, *part);
        }
        if let Some(slot) = run_by.get_mut(at) {
            *slot = found;
        }
    }
    run_by
}

fn is_elsewhere(node: &Node) -> bool {
    node.parent.is_some() && node.relates_as("InitPlan")
}

fn take(left: &mut [f64], at: usize, ms: f64) {
    if let Some(left) = left.get_mut(at) {
        *left -= ms;
    }
}

/// The scan that asked first paid for most, so the one with the most time takes what fits into it, then the
/// next.
fn by_cte_scans(plan: &Plan, cte: usize, ms: f64, left: &[f64]) -> RunBy {
    let room = |at: &usize| left.get(*at).copied().unwrap_or_default().max(0.0);
    let mut scans = plan.cte_scans(cte);
    scans.sort_by(|a, b| room(b).total_cmp(&room(a)));
    let mut rest = ms;
    let mut nodes = Vec::new();
    for scan in scans {
        let part = room(&scan).min(rest);
        rest -= part;
        if part > 0.0 {
            nodes.push((scan, part));
        }
    }
    RunBy { nodes, outside: rest.max(0.0) }
}

/// An InitPlan is run by the node whose expression reads it; with a Gather on the way, by that, before it
/// starts its workers. Where no printed expression reads it, by the uppermost node that has the time.
fn by_expression(plan: &Plan, at: usize, node: &Node, ms: f64, left: &[f64]) -> RunBy {
    let Some(parent) = node.parent else { return RunBy { nodes: Vec::new(), outside: 0.0 } };
    let own = plan.subtree(at);
    let near: Vec<usize> = plan.subtree(parent).into_iter().filter(|one| !own.contains(one)).collect();
    let room = |at: usize| left.get(at).copied().unwrap_or_default();
    let reads = |one: &usize| {
        let reader = plan.nodes.get(*one);
        reader.is_some_and(|reader| reads_any(reader, &names(node.subplan.as_deref().unwrap_or_default())))
    };
    let by_gather = |one: usize| {
        let way = plan.ancestors(one).map(|(_, above)| above).take_while(|above| *above != parent);
        let gather = |above: &usize| plan.nodes.get(*above).is_some_and(Node::is_gather);
        way.filter(gather)
            .last()
            .or(Some(parent).filter(|parent| *parent != one && gather(parent)))
            .unwrap_or(one)
    };
    let mut readers: Vec<usize> = near.iter().copied().filter(reads).map(by_gather).collect();
    readers.sort_by(|a, b| room(*b).total_cmp(&room(*a)));
    let fits = |one: &usize| room(*one) >= ms * FITS;
    let roomiest = near.iter().copied().max_by(|a, b| room(*a).total_cmp(&room(*b)));
    let host = readers
        .iter()
        .copied()
        .find(fits)
        .or_else(|| near.iter().copied().map(by_gather).find(fits))
        .or_else(|| readers.first().copied())
        .or(roomiest)
        .unwrap_or(parent);
    RunBy { nodes: vec![(host, ms)], outside: 0.0 }
}

/// What expressions call a subplan: `$0` of `InitPlan 1 (returns $0)`, or `(InitPlan 1)` from 17 on.
fn names(subplan: &str) -> Vec<String> {
    match subplan.split_once(" (returns ") {
        Some((_, list)) => list.trim_end_matches(')').split(',').map(str::to_owned).collect(),
        None => vec![format!("({subplan})")],
    }
}

fn reads_any(node: &Node, names: &[String]) -> bool {
    let is_expression = |field: &str| !matches!(field, "Subplan Name" | "Alias" | "Relation Name");
    let params = node.fields.texts().filter(|(field, _)| is_expression(field));
    let mut texts = params.map(|(_, text)| text);
    texts.any(|text| names.iter().any(|name| mentions(text, name)))
}

fn mentions(text: &str, name: &str) -> bool {
    text.match_indices(name).any(|(at, _)| {
        let behind = text.get(at + name.len()..).unwrap_or_default();
        !behind.starts_with(|next: char| next.is_ascii_digit())
    })
}
