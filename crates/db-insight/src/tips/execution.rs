//! What is no single node's fault: compiling, planning, workers that did not come, and the disk.

use super::view::View;
use super::{Severity, Tip, TipCode};
use crate::plan::{Node, count};

/// Which part of the query compiling may take.
const JIT: f64 = 0.3;
/// How long planning may take, in milliseconds, where running takes less.
const PLANNING: (f64, f64) = (5.0, 12.0);
/// Which part of the time may go into reading.
const READING: f64 = 0.5;
/// With this part of the time in reading, a query is bound by it wherever the pages come from.
const MOSTLY_READING: f64 = 0.75;
/// And so with this many milliseconds.
const LONG: f64 = 50.0;
/// How long a page from the system's cache takes at most, in milliseconds.
const CACHED_PAGE: f64 = 0.01;
/// Fewer pages than these are read once, and stay in memory.
const FEW_PAGES: f64 = 1000.0;
/// Reading a table of which all is wanted may take as long, in milliseconds.
const LONG_READ: f64 = 1000.0;

pub(super) fn find(view: &View<'_>, tips: &mut Vec<Tip>) {
    tips.extend(jit(view));
    tips.extend(planning(view));
    tips.extend(reading(view));
    for (at, node) in view.nodes() {
        if node.is_gather() {
            tips.extend(workers(view, at, node));
        }
    }
    tips.extend(unbounded(view));
}

/// A finding that has no node.
fn beside(
    view: &View<'_>,
    code: TipCode,
    severity: Severity,
    node: &str,
    ms: f64,
    says: (String, &str),
) -> Tip {
    let evidence = format!("{}; {}", says.0, view.cost(ms));
    Tip { code, severity, node: node.to_owned(), evidence, fix: says.1.to_owned(), at: None, ms }
}

fn jit(view: &View<'_>) -> Option<Tip> {
    let ms = view.plan.jit_ms.filter(|_| view.ran)?;
    let share = view.times.share(ms);
    if share < JIT || ms < 5.0 {
        return None;
    }
    let functions = view
        .plan
        .fields
        .value("JIT")
        .and_then(|jit| jit.get("Functions"))
        .and_then(serde_json::Value::as_f64);
    let what = functions
        .map(|n| format!("compiles {} functions", count(n)))
        .unwrap_or("compiles expressions".to_owned());
    let fix = "SET jit = off for this query or role, or raise jit_above_cost: it pays for itself in queries of many seconds";
    Some(beside(view, TipCode::JitOverhead, view.severity(ms)?, "JIT", ms, (what, fix)))
}

fn planning(view: &View<'_>) -> Option<Tip> {
    let (planning, execution) = (view.plan.planning_ms?, view.plan.execution_ms?);
    if planning < PLANNING.0 || planning < execution {
        return None;
    }
    let severity = if planning >= PLANNING.1 { Severity::Warning } else { Severity::Info };
    let tables = view.nodes().filter(|(_, node)| node.is_scan()).count();
    let evidence =
        format!("planning takes {planning:.1} ms, running {execution:.1} ms; {tables} scans in the plan");
    let fix = "prepare the statement and run it again and again (plan_cache_mode = force_generic_plan where values do not \
               matter); fewer partitions, joins or indexes to weigh";
    Some(Tip {
        code: TipCode::PlanningTime,
        severity,
        node: "Planning".to_owned(),
        evidence,
        fix: fix.to_owned(),
        at: None,
        ms: planning,
    })
}

fn workers(view: &View<'_>, at: usize, node: &Node) -> Option<Tip> {
    let planned = node.fields.number("Workers Planned")?;
    let launched = node.fields.number("Workers Launched")?;
    if launched >= planned || node.never_executed() {
        return None;
    }
    let evidence = format!("{} workers were planned and {} started", count(planned), count(launched));
    let fix = "raise max_parallel_workers and max_worker_processes if the machine has the cores, or lower \
               max_parallel_workers_per_gather so that fewer queries share them";
    view.tip(TipCode::WorkersNotLaunched, at, view.with_below(at), evidence, fix.to_owned())
}

/// Milliseconds of reading data files, this node's and of what it ran.
fn read_ms(node: &Node) -> f64 {
    let number = |field: &str| node.fields.number(field).unwrap_or_default();
    number("I/O Read Time") + number("Shared I/O Read Time") + number("Local I/O Read Time")
}

fn reading(view: &View<'_>) -> Option<Tip> {
    if !view.ran || !view.times.are_measured {
        return None;
    }
    // Of processes that read at once the times add up: a node's share of its own time is what tells.
    let mut total = 0.0;
    let mut most: Option<(usize, f64)> = None;
    for (at, node) in view.nodes() {
        let below: f64 = node.children.iter().filter_map(|child| view.node(*child)).map(read_ms).sum();
        let own = (read_ms(node) - below).max(0.0).min(view.own(at));
        total += own;
        if most.is_none_or(|(_, before)| own > before) {
            most = Some((at, own));
        }
    }
    let (at, _) = most?;
    let reader = view.node(at)?;
    if view.times.share(total) < READING || total < 5.0 {
        return None;
    }
    let root = view.node(0)?;
    let pages = root.fields.number("Shared Read Blocks").unwrap_or_default();
    // A page from the system's cache takes microseconds: the query is as slow as memory, not as a disk.
    let is_short = view.times.share(total) < MOSTLY_READING && total < LONG;
    let from_cache = total < pages * CACHED_PAGE;
    // Of a whole table that is wanted, no index reads less.
    let dropped = reader.sum("Rows Removed by Filter");
    let is_wanted = reader.is("Seq Scan") && dropped <= reader.total_rows() && total < LONG_READ;
    let is_light = from_cache && is_short || pages < FEW_PAGES && total < LONG || is_wanted;
    let most = if is_light { Severity::Info } else { Severity::Critical };
    let evidence = format!(
        "{} pages ({:.0} MB) are read from {}",
        count(pages),
        pages / 128.0,
        if from_cache { "the system's cache" } else { "disk" }
    );
    let fix = "read fewer pages: an index, narrower rows, an index-only scan (INCLUDE); or keep them in memory: \
               shared_buffers, effective_io_concurrency for bitmaps";
    view.tip_at_most(most, TipCode::IoBound, at, total, evidence, fix.to_owned())
}

fn unbounded(view: &View<'_>) -> Option<Tip> {
    let root = view.node(0)?;
    let rows = root.total_rows();
    let returns = !root.is("ModifyTable") && !view.nodes().any(|(_, node)| node.is("Limit"));
    if !(view.ran && returns && rows >= 100_000.0) {
        return None;
    }
    let evidence = format!("returns {} rows", count(rows));
    let fix = "take pages (WHERE key > last ORDER BY key LIMIT n) or a cursor; add up on the server what the caller adds up";
    view.tip_at_most(
        Severity::Info,
        TipCode::UnboundedResult,
        0,
        view.times.whole_ms,
        evidence,
        fix.to_owned(),
    )
}
