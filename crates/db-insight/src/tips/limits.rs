//! LIMIT: rows skipped by OFFSET, hopes to end early that failed, and sorts of everything for a few rows.

use super::filters::{Dropped, MANY, MORE_THAN_PAGES};
use super::view::{View, condition, index_columns, shown, table_name};
use super::{Severity, Tip, TipCode};
use crate::plan::{Node, count, masked};

/// How many rows may be skipped.
const SKIPPED: f64 = 200.0;
/// How many times more rows than returned.
const TIMES: f64 = 10.0;
/// How many rows may be sorted for a few.
const SORTED: f64 = 100_000.0;

pub(super) fn find(view: &View<'_>, tips: &mut Vec<Tip>) {
    for (at, node) in view.nodes() {
        if !node.is("Limit") {
            continue;
        }
        let Some(child) = node.children.iter().copied().find(|child| {
            view.node(*child)
                .is_some_and(|child| !child.relates_as("InitPlan") && !child.relates_as("SubPlan"))
        }) else {
            continue;
        };
        tips.extend(offset(view, at, node, child));
        tips.extend(abort_early(view, at, node, child));
        tips.extend(sort_for_few(view, child, node));
    }
}

fn offset(view: &View<'_>, at: usize, node: &Node, child: usize) -> Option<Tip> {
    let below = view.node(child)?;
    let (returned, skipped) = if view.ran {
        let executions = node.loops().max(1.0);
        let returned = node.total_rows() / executions;
        (returned, below.total_rows() / executions - returned)
    } else {
        // OFFSET makes the limit's first row as dear as the rows before it.
        let range = below.estimate.total_cost - below.estimate.startup_cost;
        let part = (node.estimate.startup_cost - below.estimate.startup_cost) / range.max(f64::MIN_POSITIVE);
        (node.estimate.rows, (part * below.estimate.rows).round())
    };
    if skipped < SKIPPED || skipped < TIMES * returned {
        return None;
    }
    let evidence = format!("makes {} rows and skips {} of them", count(skipped + returned), count(skipped));
    let keys = sort_keys(view, child).unwrap_or_else(|| "the order's columns".to_owned());
    let fix = format!(
        "go on behind the last row that was shown: WHERE ({keys}) > (…) ORDER BY {keys} LIMIT n, with an index in that \
         order; OFFSET makes every row that it skips"
    );
    view.tip(TipCode::OffsetPagination, at, view.with_below(at), evidence, fix)
}

/// The columns of the order that the LIMIT takes from.
fn sort_keys(view: &View<'_>, from: usize) -> Option<String> {
    let mut at = from;
    loop {
        let node = view.node(at)?;
        let keys: Vec<&str> =
            node.fields.texts().filter(|(field, _)| *field == "Sort Key").map(|(_, text)| text).collect();
        if !keys.is_empty() {
            let plain = |key: &&str| masked(key.trim_end_matches(" DESC").trim_end_matches(" NULLS LAST"));
            return Some(keys.iter().map(plain).collect::<Vec<_>>().join(", "));
        }
        at = *node.children.first()?;
    }
}

/// The rows come in an order from which the planner hoped to take the first few that match.
fn abort_early(view: &View<'_>, at: usize, node: &Node, child: usize) -> Option<Tip> {
    let (scan_at, scan) = leading_scan(view, child)?;
    let dropped = Dropped::by(scan, "Rows Removed by Filter");
    let read = dropped.as_ref().map_or(scan.total_rows(), Dropped::read);
    let returned = node.total_rows();
    let filtered = dropped.as_ref().is_some_and(|it| it.is_most() && it.dropped > MORE_THAN_PAGES);
    // Rows that the scan gave and that a join above dropped.
    let joined_away =
        scan_at != child && scan.total_rows() > MANY && scan.total_rows() > 100.0 * returned.max(1.0);
    // OFFSET asks for rows; that is another matter.
    let skipped = view.node(child)?.total_rows() > 10.0 * returned.max(1.0) + 100.0;
    let hoped = node.estimate.total_cost < 0.5 * view.node(child)?.estimate.total_cost;
    if skipped || !(hoped && (filtered || joined_away)) {
        return None;
    }
    let evidence = format!(
        "the planner expected to find {} rows early, but {} were read by {}",
        count(node.estimate.rows),
        count(read),
        view.plan.label(scan_at)
    );
    let columns = condition(scan, "Filter").map(|filter| index_columns(&filter)).unwrap_or_default();
    let fix = if columns.is_empty() {
        format!(
            "an index that serves {} and gives the order; or keep the planner off the order's index: ORDER BY column + 0",
            if filtered { shown(scan, "Filter") } else { "the join's condition".to_owned() }
        )
    } else {
        format!(
            "CREATE INDEX CONCURRENTLY ON {} ({}, the ORDER BY's columns): the condition first, then the order",
            table_name(scan),
            columns.join(", ")
        )
    };
    view.tip(TipCode::LimitAbortEarly, at, view.with_below(at), evidence, fix)
}

/// The scan from which a LIMIT takes rows one by one.
fn leading_scan<'a>(view: &View<'a>, from: usize) -> Option<(usize, &'a Node)> {
    let mut at = from;
    loop {
        let node = view.node(at)?;
        match node.kind.as_str() {
            "Index Scan" | "Index Only Scan" | "Seq Scan" => return Some((at, node)),
            "Nested Loop" | "Merge Join" | "Hash Join" => at = view.plan.child(at, "Outer")?,
            "Subquery Scan" | "Result" | "Gather Merge" | "Gather" | "ProjectSet" | "LockRows"
            | "Incremental Sort" | "Unique" => {
                at = *node.children.first()?;
            }
            _ => return None,
        }
    }
}

fn sort_for_few(view: &View<'_>, child: usize, limit: &Node) -> Option<Tip> {
    let sort = view.node(child).filter(|node| node.is("Sort"))?;
    let below_at = *sort.children.first()?;
    let below = view.node(below_at).filter(|below| below.is_scan())?;
    let rows = below.total_rows();
    if rows < SORTED || rows < 100.0 * limit.total_rows().max(1.0) {
        return None;
    }
    let keys: Vec<&str> =
        sort.fields.texts().filter(|(field, _)| *field == "Sort Key").map(|(_, text)| text).collect();
    let keys = masked(&keys.join(", "));
    let evidence = format!("reads and sorts {} rows to return {}", count(rows), count(limit.total_rows()));
    let fix = format!(
        "CREATE INDEX CONCURRENTLY ON {} ({keys}), from which the first rows are read",
        table_name(below)
    );
    let ms = view.own(child) + view.own(below_at);
    view.tip_at_most(Severity::Info, TipCode::SortForFew, child, ms, evidence, fix)
}
