//! Partitions that are read in vain, because the condition does not say which.

use std::collections::HashMap;

use super::view::View;
use super::{Severity, Tip, TipCode};
use crate::plan::{Node, count};

/// How many partitions may be read.
const PARTITIONS: usize = 4;

pub(super) fn find(view: &View<'_>, tips: &mut Vec<Tip>) {
    for (at, node) in view.nodes() {
        if matches!(node.kind.as_str(), "Append" | "Merge Append") {
            tips.extend(append(view, at, node));
        }
    }
}

fn append(view: &View<'_>, at: usize, node: &Node) -> Option<Tip> {
    let scans: Vec<(usize, &Node)> =
        node.children.iter().filter_map(|child| partition_scan(view, *child)).collect();
    let first = scans.first()?.1;
    let prefix = numbered(first)?;
    // The sides of a UNION ALL are different tables.
    let is_one_table =
        scans.len() == node.children.len() && scans.iter().all(|(_, scan)| numbered(scan) == Some(prefix));
    let removed = node.fields.number("Subplans Removed").unwrap_or_default();
    let has_condition = |scan: &Node| {
        ["Filter", "Index Cond", "Recheck Cond"].iter().any(|field| scan.fields.text(field).is_some())
    };
    if !is_one_table || removed > 0.0 || !scans.iter().any(|(_, scan)| has_condition(scan)) {
        return None;
    }
    let read: Vec<&(usize, &Node)> =
        scans.iter().filter(|(_, scan)| !view.ran || scan.loops() > 0.0).collect();
    let in_vain: Vec<usize> =
        read.iter().filter(|(_, scan)| scan.total_rows() == 0.0).map(|(at, _)| *at).collect();
    if read.len() < PARTITIONS {
        return None;
    }
    let rows: f64 = read.iter().map(|(_, scan)| scan.total_rows()).sum();
    let dropped: f64 = read.iter().map(|(_, scan)| scan.sum("Rows Removed by Filter")).sum();
    let most_in_vain = in_vain.len() * 4 >= read.len() * 3;
    // Each may hold some of what is wanted; then only much dropping tells.
    let little_everywhere = read.len() >= 8 && dropped > 10_000.0 && dropped > 9.0 * rows;
    if view.ran && !most_in_vain && !little_everywhere {
        return None;
    }
    let ms: f64 = if most_in_vain || !view.ran {
        in_vain.iter().map(|at| view.with_below(*at)).sum()
    } else {
        read.iter().map(|(at, _)| view.with_below(*at)).sum()
    };
    let evidence = if view.ran {
        format!("{} partitions are read, and {} of them have no row that matches", read.len(), in_vain.len())
    } else {
        format!("{} partitions are read, none is ruled out", read.len())
    };
    let evidence =
        if rows == 0.0 || !view.ran { evidence } else { format!("{evidence}; {} rows match", count(rows)) };
    let fix = "compare the partition key itself with constants or parameters (no function or cast around it), or look the \
               key up first and add it to the condition";
    view.tip(TipCode::PartitionsNotPruned, at, ms, evidence, fix.to_owned())
}

/// Findings of one kind in several partitions of a table as one, at the first.
pub(super) fn merged(view: &View<'_>, tips: Vec<Tip>) -> Vec<Tip> {
    let mut groups: HashMap<(TipCode, usize), usize> = HashMap::new();
    let mut kept: Vec<(Tip, usize)> = Vec::with_capacity(tips.len());
    for tip in tips {
        let place = tip.at.and_then(|at| append_above(view, at)).map(|append| (tip.code, append));
        if let Some(place) = place {
            if let Some((first, others)) = groups.get(&place).and_then(|at| kept.get_mut(*at)) {
                first.ms += tip.ms;
                first.severity = first.severity.max(tip.severity);
                *others += 1;
                continue;
            }
            groups.insert(place, kept.len());
        }
        kept.push((tip, 0));
    }
    let told = |(mut tip, others): (Tip, usize)| {
        if others > 0 {
            tip.evidence += &format!("; the same in {others} other partitions, {} in all", view.cost(tip.ms));
            // Together they may weigh what none does alone.
            let whole = view.severity(tip.ms).unwrap_or(tip.severity);
            let is_capped = tip.severity == Severity::Info && tip.code != TipCode::FunctionOnIndexedColumn;
            tip.severity = if is_capped { tip.severity } else { whole.max(tip.severity) };
        }
        tip
    };
    kept.into_iter().map(told).collect()
}

/// The Append above a partition's scan.
fn append_above(view: &View<'_>, at: usize) -> Option<usize> {
    numbered(view.node(at)?)?;
    let appends = |above: &usize| {
        view.node(*above).is_some_and(|node| matches!(node.kind.as_str(), "Append" | "Merge Append"))
    };
    view.plan.ancestors(at).map(|(_, above)| above).find(appends)
}

/// The scan of a partition, below what may stand between.
fn partition_scan<'a>(view: &View<'a>, child: usize) -> Option<(usize, &'a Node)> {
    let mut at = child;
    loop {
        let node = view.node(at)?;
        if node.is_scan() {
            return Some((at, node));
        }
        if !matches!(node.kind.as_str(), "Sort" | "Aggregate" | "Result" | "Subquery Scan") {
            return None;
        }
        at = *node.children.first()?;
    }
}

/// What a partition's alias begins with: the server counts them through, `events_1`, `events_2`.
fn numbered(scan: &Node) -> Option<&str> {
    let alias = scan.alias.as_deref()?;
    let head = alias.trim_end_matches(|c: char| c.is_ascii_digit());
    head.strip_suffix('_').filter(|_| head != alias)
}
