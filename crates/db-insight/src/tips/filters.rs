//! Rows that are read only to be dropped: by a scan of a whole table, behind an index, by a recheck.

use super::view::{View, condition, index_columns, of, percent, shown, table_name};
use super::{Severity, Tip, TipCode};
use crate::condition::Expr;
use crate::plan::{Node, count};

/// Which part of the rows must be dropped.
pub(super) const MOST: f64 = 0.9;
/// How many rows must be dropped in all.
pub(super) const MANY: f64 = 10_000.0;
/// How many rows one execution must drop: what is on a few pages is read as fast as an index.
pub(super) const MORE_THAN_PAGES: f64 = 1_000.0;

/// What a filter did.
pub(super) struct Dropped {
    pub(super) dropped: f64,
    pub(super) kept: f64,
}

impl Dropped {
    pub(super) fn by(node: &Node, field: &str) -> Option<Self> {
        let dropped = node.sum(field);
        (dropped > 0.0).then(|| Dropped { dropped, kept: node.total_rows() })
    }

    pub(super) fn read(&self) -> f64 {
        self.dropped + self.kept
    }

    pub(super) fn is_most(&self) -> bool {
        self.dropped > MOST * self.read()
    }

    pub(super) fn is_many(&self, node: &Node) -> bool {
        self.dropped > MANY && self.dropped / node.loops().max(1.0) > MORE_THAN_PAGES
    }
}

pub(super) fn find(view: &View<'_>, tips: &mut Vec<Tip>) {
    for (at, node) in view.nodes() {
        let tip = match node.kind.as_str() {
            "Seq Scan" => seq_scan(view, at, node, tips),
            "Index Scan" | "Index Only Scan" | "Bitmap Heap Scan" => index_scan(view, at, node),
            "Foreign Scan" => foreign_scan(view, at, node),
            _ => None,
        };
        tips.extend(tip);
        tips.extend(recheck(view, at, node));
        tips.extend(heap_fetches(view, at, node));
        tips.extend(lossy(view, at, node));
    }
}

fn seq_scan(view: &View<'_>, at: usize, node: &Node, tips: &[Tip]) -> Option<Tip> {
    let dropped = Dropped::by(node, "Rows Removed by Filter")?;
    if !(dropped.is_most() && dropped.is_many(node)) {
        return None;
    }
    let evidence = format!(
        "reads {} rows{} and drops {} by {}",
        count(dropped.read()),
        times(node),
        percent(dropped.dropped, dropped.read()),
        shown(node, "Filter"),
    );
    // What explains it better is told already.
    let is_explained = tips.iter().any(|tip| tip.at == Some(at) && tip.severity > Severity::Info);
    let most = if is_explained { Severity::Info } else { Severity::Critical };
    let fix = index_fix(view, node, "Filter");
    view.tip_at_most(most, TipCode::SeqScanFilterRemovesMost, at, view.own(at), evidence, fix)
}

/// What to index for the condition of this field.
pub(super) fn index_fix(view: &View<'_>, node: &Node, field: &str) -> String {
    let table = table_name(node);
    let Some(filter) = condition(node, field) else { return String::new() };
    let columns = index_columns(&filter);
    if let (Some(facts), Some(first)) = (view.table(node), columns.first())
        && let Some(index) = facts.index_on(first.trim_matches('"'))
    {
        let partial =
            index.predicate.as_ref().map(|it| format!(", but only of rows with {it}")).unwrap_or_default();
        return format!(
            "{} begins with {first}{partial}, and the planner did not take it: see whether the condition is selective, \
             the statistics are fresh (ANALYZE {table}), and random_page_cost fits the disk",
            index.name
        );
    }
    if !columns.is_empty() {
        return format!("CREATE INDEX CONCURRENTLY ON {table} ({})", columns.join(", "));
    }
    if let Expr::Or(arms) = &filter {
        let each: Vec<String> = arms
            .iter()
            .map(index_columns)
            .filter(|columns| !columns.is_empty())
            .map(|columns| format!("CREATE INDEX CONCURRENTLY ON {table} ({})", columns.join(", ")))
            .collect();
        if each.len() == arms.len() {
            return format!("an index for each side of the OR: {}", each.join("; "));
        }
    }
    let what = crate::plan::masked(node.fields.text(field).unwrap_or_default());
    format!("an index that serves {what}: on the expression, or a partial one of the rows that match")
}

fn times(node: &Node) -> String {
    if node.loops() > 1.0 { format!(" in {} executions", count(node.loops())) } else { String::new() }
}

fn index_scan(view: &View<'_>, at: usize, node: &Node) -> Option<Tip> {
    let dropped = Dropped::by(node, "Rows Removed by Filter")?;
    if !(dropped.is_most() && dropped.dropped > MORE_THAN_PAGES) {
        return None;
    }
    let evidence = format!(
        "the index finds {} rows{}, and {} drops {} of them",
        count(dropped.read()),
        times(node),
        shown(node, "Filter"),
        percent(dropped.dropped, dropped.read()),
    );
    let found_by: Vec<String> = match (condition(node, "Index Cond"), condition(node, "Recheck Cond")) {
        (Some(found), _) | (None, Some(found)) => index_columns(&found),
        (None, None) => Vec::new(),
    };
    let filter = condition(node, "Filter").map(|filter| index_columns(&filter)).unwrap_or_default();
    let table = table_name(node);
    let fix = if filter.is_empty() {
        format!("an index on {table} that serves {}", shown(node, "Filter"))
    } else {
        let columns: Vec<String> =
            filter.iter().chain(found_by.iter().filter(|column| !filter.contains(column))).cloned().collect();
        format!("CREATE INDEX CONCURRENTLY ON {table} ({})", columns.join(", "))
    };
    // A bitmap's rows were found below it.
    let below = if node.is("Bitmap Heap Scan") { view.with_below(at) } else { view.own(at) };
    view.tip(TipCode::IndexFilterRemovesMost, at, below, evidence, fix)
}

fn foreign_scan(view: &View<'_>, at: usize, node: &Node) -> Option<Tip> {
    let dropped = Dropped::by(node, "Rows Removed by Filter")?;
    if !(dropped.is_most() && dropped.is_many(node)) {
        return None;
    }
    let evidence = format!(
        "fetches {} rows from the other server and drops {} here by {}",
        count(dropped.read()),
        percent(dropped.dropped, dropped.read()),
        shown(node, "Filter"),
    );
    let fix =
        "write the condition so that the other server can judge it: functions and types that both have \
               (postgres_fdw: the option extensions)"
            .to_owned();
    view.tip(TipCode::SeqScanFilterRemovesMost, at, view.own(at), evidence, fix)
}

/// Pages of a bitmap that were too many to remember the rows of.
fn lossy(view: &View<'_>, at: usize, node: &Node) -> Option<Tip> {
    let lossy = node.with_workers("Lossy Heap Blocks");
    let exact = node.with_workers("Exact Heap Blocks");
    if !node.is("Bitmap Heap Scan") || lossy < 100.0 || lossy < (lossy + exact) / 10.0 {
        return None;
    }
    // BRIN knows pages only, and says ten rows for each: more memory would change nothing.
    let index = view.plan.child(at, "Outer").and_then(|child| view.node(child))?;
    let is_brin = exact == 0.0 && (index.total_rows() - lossy * 10.0).abs() < lossy;
    if is_brin {
        return None;
    }
    let rechecked = node.sum("Rows Removed by Index Recheck");
    let evidence = format!(
        "{} of {} pages are lossy, and {} rows were looked at in vain",
        count(lossy),
        count(lossy + exact),
        count(rechecked)
    );
    let megabytes = super::memory::next_size((lossy + exact) * 50.0 / 1_048_576.0);
    let fix =
        format!("SET LOCAL work_mem = '{megabytes}MB' for this query, or a condition that finds fewer rows");
    view.tip(TipCode::LossyBitmap, at, view.own(at), evidence, fix)
}

/// Rows that an index gave and that do not match: trigrams, GiST boxes, BRIN.
fn recheck(view: &View<'_>, at: usize, node: &Node) -> Option<Tip> {
    let dropped = Dropped::by(node, "Rows Removed by Index Recheck")?;
    let lossy = node.with_workers("Lossy Heap Blocks") > 0.0 && node.with_workers("Exact Heap Blocks") > 0.0;
    if lossy || !(dropped.is_most() && dropped.dropped > MANY) {
        return None;
    }
    let evidence = format!(
        "the index gives {} rows, and {} do not match when they are looked at",
        count(dropped.read()),
        percent(dropped.dropped, dropped.read()),
    );
    let fix = format!(
        "an index that knows {} exactly: a B-tree where it is a range, longer patterns for trigrams, rows in the order \
         of the column for BRIN (CLUSTER)",
        shown(node, "Recheck Cond")
    );
    view.tip(TipCode::RecheckRemovesMost, at, view.own(at), evidence, fix)
}

fn heap_fetches(view: &View<'_>, at: usize, node: &Node) -> Option<Tip> {
    let fetches = node.with_workers("Heap Fetches");
    if !node.is("Index Only Scan") || fetches < 1000.0 || fetches < node.total_rows() / 10.0 {
        return None;
    }
    let evidence = format!("{} were looked up in the table", of(fetches, node.total_rows().max(fetches)));
    let fix = format!(
        "VACUUM {}; where it comes back, ALTER TABLE … SET (autovacuum_vacuum_scale_factor = 0.02, \
         autovacuum_vacuum_insert_scale_factor = 0.02)",
        table_name(node)
    );
    view.tip(TipCode::IndexOnlyHeapFetches, at, view.own(at), evidence, fix)
}
