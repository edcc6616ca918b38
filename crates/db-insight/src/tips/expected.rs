//! What can be known of a plan that did not run: by its estimates, and by the catalogue.

use super::filters::{MANY, MOST, index_fix};
use super::view::{View, percent, shown, table_name};
use super::{Severity, Tip, TipCode};
use crate::plan::{Node, count};

/// How often an inner side may be read as a whole.
const READS: f64 = 100.0;

/// The rows that an inner side has at least, for a word.
const INNER_ROWS: f64 = 1_000.0;

pub(super) fn find(view: &View<'_>, tips: &mut Vec<Tip>) {
    if view.ran {
        return;
    }
    for (at, node) in view.nodes() {
        let tip = match node.kind.as_str() {
            "Seq Scan" => seq_scan(view, at, node, tips),
            "Nested Loop" => nested_loop(view, at, node),
            _ => None,
        };
        tips.extend(tip);
        tips.extend(stale(view, at, node));
        tips.extend(foreign_keys(view, at, node));
    }
}

fn seq_scan(view: &View<'_>, at: usize, node: &Node, tips: &[Tip]) -> Option<Tip> {
    let rows = view.table(node).map(|facts| facts.rows).filter(|rows| *rows >= MANY)?;
    let kept = node.estimate.rows;
    // What explains it better is told already.
    let is_explained = tips.iter().any(|tip| tip.at == Some(at));
    if is_explained || node.fields.text("Filter").is_none() || kept > rows * (1.0 - MOST) {
        return None;
    }
    let evidence = format!(
        "would read {} rows, and {} is expected to drop {} of them",
        count(rows),
        shown(node, "Filter"),
        percent(rows - kept, rows)
    );
    let fix = index_fix(view, node, "Filter");
    view.tip_at_most(Severity::Info, TipCode::SeqScanFilterRemovesMost, at, 0.0, evidence, fix)
}

/// The inner side is read as a whole for each row of the outer one.
fn nested_loop(view: &View<'_>, at: usize, node: &Node) -> Option<Tip> {
    let outer = view.node(view.plan.child(at, "Outer")?)?;
    let mut inner_at = view.plan.child(at, "Inner")?;
    if view.node(inner_at)?.is("Materialize") {
        // It spares the table, and not the work on each pair of rows.
        inner_at = view.plan.child(inner_at, "Outer")?;
    }
    let inner = view.node(inner_at)?;
    let reads = outer.estimate.rows;
    let rows = view.table(inner).map(|facts| facts.rows)?;
    if !inner.is("Seq Scan") || reads < READS || rows < INNER_ROWS {
        return None;
    }
    let evidence = format!(
        "would go through {} as a whole about {} times, {} rows each",
        view.plan.label(inner_at),
        count(reads),
        count(rows)
    );
    let on = ["Join Filter"].iter().find_map(|field| node.fields.text(field)).map(crate::plan::masked);
    let fix = match on {
        Some(on) => format!("an index on {} that serves {on}, or a condition of equality", table_name(inner)),
        None => "a condition of equality between both sides, which can be hashed or looked up".to_owned(),
    };
    view.tip_at_most(Severity::Info, TipCode::NestedLoopExplosion, at, 0.0, evidence, fix)
}

fn stale(view: &View<'_>, at: usize, node: &Node) -> Option<Tip> {
    let facts = view.table(node).filter(|facts| facts.is_stale())?;
    let table = table_name(node);
    let evidence = if facts.was_analyzed {
        format!(
            "{} rows of {table} have changed since ANALYZE: the estimates may be wrong",
            count(facts.changed_since_analyze)
        )
    } else {
        format!("{table} was never analyzed: the estimates are guesses")
    };
    view.tip_at_most(Severity::Info, TipCode::StaleStatistics, at, 0.0, evidence, format!("ANALYZE {table}"))
}

/// Removing a row, or changing its key, looks for those that refer to it; no plan shows that.
fn foreign_keys(view: &View<'_>, at: usize, node: &Node) -> Option<Tip> {
    let operation = node.fields.text("Operation").filter(|_| node.is("ModifyTable"))?;
    if operation != "Delete" {
        return None;
    }
    let table = table_name(node);
    let keys = &view.table(node)?.foreign_keys;
    let key = keys.iter().find(|key| !key.has_index && key.table != table)?;
    let evidence = format!("each removed row would read all of {}, for {}", key.table, key.name);
    let fix = format!("CREATE INDEX CONCURRENTLY ON {} ({})", key.table, key.columns.join(", "));
    view.tip_at_most(Severity::Info, TipCode::MissingFkIndex, at, 0.0, evidence, fix)
}
