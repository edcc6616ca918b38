//! Nested loops that run their inner side too often, and caches of inner rows that find nothing.

use super::view::{View, index_columns, percent, shown, table_name};
use super::{Tip, TipCode};
use crate::plan::{Node, count};

/// How many pairs of rows a join may look at without a condition to look up.
const PAIRS: f64 = 100_000.0;
/// How often the inner side may run if the planner expected a tenth of that.
const UNEXPECTED_LOOPS: f64 = 1_000.0;
/// How often it may run at all before another kind of join is better.
const LOOPS: f64 = 100_000.0;

pub(super) fn find(view: &View<'_>, tips: &mut Vec<Tip>) {
    for (at, node) in view.nodes() {
        if node.is("Nested Loop") {
            tips.extend(nested_loop(view, at, node));
        }
        if node.is("Memoize") {
            tips.extend(memoize(view, at, node));
        }
    }
}

fn nested_loop(view: &View<'_>, at: usize, node: &Node) -> Option<Tip> {
    let (outer_at, inner_at) = (view.plan.child(at, "Outer")?, view.plan.child(at, "Inner")?);
    let (outer, inner) = (view.node(outer_at)?, view.node(inner_at)?);
    let ms = view.own(at) + view.with_below(inner_at);
    let tip = |evidence: String, fix: String| view.tip(TipCode::NestedLoopExplosion, at, ms, evidence, fix);
    if !view.ran {
        let pairs = outer.estimate.rows * inner.estimate.rows;
        let scanned = read_again(view, inner_at);
        let evidence =
            format!("{} pairs of rows are expected, without an index for the inner side", count(pairs));
        return (pairs >= PAIRS * 10.0 && scanned.is_some()).then(|| {
            tip(evidence, scanned.and_then(|at| view.node(at)).map(inner_index).unwrap_or_default())
        })?;
    }
    if node.never_executed() {
        return None;
    }
    let dropped = node.sum("Rows Removed by Join Filter");
    let pairs = dropped + node.total_rows();
    if dropped >= PAIRS && dropped > 0.9 * pairs {
        let filter = shown(node, "Join Filter");
        let evidence = format!(
            "looks at {} pairs of rows and drops {} by {filter}",
            count(pairs),
            percent(dropped, pairs)
        );
        let fix = read_again(view, inner_at)
            .and_then(|scan| view.node(scan))
            .filter(|scan| scan.relation.is_some())
            .map(|scan| {
                format!(
                    "an index on {} that serves {filter}, or an equality that can be hashed; ",
                    table_name(scan)
                )
            })
            .unwrap_or_default();
        return tip(evidence, format!("{fix}OR over two tables is best split into a UNION"));
    }
    if let Some(scan) = read_again(view, inner_at).and_then(|scan| view.node(scan)) {
        let read = scan.total_rows() + scan.sum("Rows Removed by Filter");
        if scan.loops() >= 10.0 && read >= PAIRS {
            let what = scan.relation.as_ref().map_or("its inner side".to_owned(), |_| table_name(scan));
            let evidence = format!("reads {what} {} times, {} rows in all", count(scan.loops()), count(read));
            return tip(evidence, inner_index(scan));
        }
    }
    let no_condition = node.fields.text("Join Filter").is_none() && !is_looked_up(view, inner_at);
    if no_condition && node.total_rows() >= PAIRS * 10.0 {
        let evidence =
            format!("makes {} rows without a condition between its sides", count(node.total_rows()));
        return tip(evidence, "is a join condition missing? A cross join makes every pair".to_owned());
    }
    let runs = inner.loops();
    let outer_rows = outer.actual.map_or(0.0, |actual| actual.rows);
    let unexpected = outer_rows >= 10.0 * outer.estimate.rows.max(1.0) && runs >= UNEXPECTED_LOOPS;
    if view.times.share(ms) >= 0.25 && (unexpected || runs >= LOOPS) {
        let expected = outer.estimate.rows * node.loops().max(1.0);
        let evidence =
            format!("runs its inner side {} times, {} were expected", count(runs), count(expected));
        let fix = if unexpected {
            "let the planner know how many rows come from the outer side: ANALYZE its tables, or CREATE STATISTICS where \
             columns depend on each other; it would hash instead"
        } else {
            "a hash or merge join reads the inner side once: see why it was not taken (enable_hashjoin, work_mem, a \
             condition that is no equality)"
        };
        return tip(evidence, fix.to_owned());
    }
    None
}

/// A scan on the inner side that reads everything each time: not by index, and not from a cache.
fn read_again(view: &View<'_>, inner: usize) -> Option<usize> {
    let mut at = inner;
    loop {
        let node = view.node(at)?;
        match node.kind.as_str() {
            "Seq Scan" | "CTE Scan" | "Function Scan" | "Foreign Scan" => return Some(at),
            "Materialize" | "Subquery Scan" | "Result" | "Sort" | "Gather" | "Limit" | "Aggregate"
            | "Unique" => {
                at = *node.children.first()?;
            }
            _ => return None,
        }
    }
}

/// Whether something on the inner side depends on the outer row.
fn is_looked_up(view: &View<'_>, inner: usize) -> bool {
    let cond = |at: usize| {
        view.node(at).is_some_and(|node| {
            node.is("Memoize")
                || node
                    .fields
                    .texts()
                    .any(|(field, text)| field.ends_with("Cond") || field == "Filter" && text.contains('.'))
        })
    };
    view.plan.subtree(inner).into_iter().any(cond)
}

fn inner_index(scan: &Node) -> String {
    let columns = super::view::condition(scan, "Filter").map(|filter| {
        let columns = index_columns(&filter);
        if columns.is_empty() {
            filter.columns().into_iter().map(crate::plan::quoted).collect()
        } else {
            columns
        }
    });
    match columns.filter(|columns| !columns.is_empty() && scan.relation.is_some()) {
        Some(columns) => format!(
            "an index on {} for what the join looks up, such as ({}), or an equality that can be hashed",
            table_name(scan),
            columns.join(", ")
        ),
        None => "a join condition that is an equality can be hashed; rows of a CTE or function have no index: a temporary \
                 table with an index has"
            .to_owned(),
    }
}

fn memoize(view: &View<'_>, at: usize, node: &Node) -> Option<Tip> {
    let hits = node.with_workers("Cache Hits");
    let misses = node.with_workers("Cache Misses");
    let evicted = node.with_workers("Cache Evictions") + node.with_workers("Cache Overflows");
    if misses < 1000.0 || evicted < misses / 10.0 || hits > misses {
        return None;
    }
    let evidence = format!(
        "{} of {} lookups missed the cache, which dropped {}",
        count(misses),
        count(hits + misses),
        count(evicted)
    );
    let fix = "SET LOCAL work_mem higher so that the cache holds all keys, or ANALYZE: the planner expected fewer keys";
    view.tip(TipCode::MemoizeMisses, at, view.own(at), evidence, fix.to_owned())
}
