//! Where the planner expected other numbers of rows than came, and why.

use super::view::{View, condition, shown, table_name};
use super::{Severity, Tip, TipCode};
use crate::condition::Expr;
use crate::plan::{Node, count};

/// How many times more or fewer rows.
const TIMES: f64 = 10.0;
/// How many rows, expected or real.
const ROWS: f64 = 1000.0;

pub(super) fn find(view: &View<'_>, tips: &mut Vec<Tip>) {
    for (at, node) in view.nodes() {
        if let Some(wrong) = misestimate(view, at, node) {
            tips.extend(stale(view, at, node, wrong));
            tips.extend(at_source(view, at, node, wrong));
        }
    }
}

/// Expected and real rows of one execution.
#[derive(Clone, Copy)]
struct Wrong {
    expected: f64,
    came: f64,
}

impl Wrong {
    fn text(self) -> String {
        let (more, word) = if self.came > self.expected {
            (self.came / self.expected, "more")
        } else {
            (self.expected / self.came, "fewer")
        };
        format!(
            "{} rows came where {} were expected, {} times {word}",
            count(self.came),
            count(self.expected),
            count(more.round())
        )
    }
}

fn misestimate(view: &View<'_>, at: usize, node: &Node) -> Option<Wrong> {
    let actual = node.actual.filter(|actual| actual.loops > 0.0)?;
    let makes_rows = node.is_join()
        || matches!(node.kind.as_str(), "Aggregate" | "Group" | "Unique")
        || (node.kind.ends_with("Scan") && !node.is("Bitmap Index Scan") && !node.is("WorkTable Scan"));
    // A partial aggregate's groups are each process's.
    if !makes_rows || node.fields.text("Partial Mode") == Some("Partial") {
        return None;
    }
    let (expected, came) = (node.estimate.rows.max(1.0), actual.rows.max(1.0));
    if came > expected {
        let is_much = actual.rows >= ROWS || node.total_rows() >= TIMES * ROWS;
        return (came > TIMES * expected && is_much).then_some(Wrong { expected, came });
    }
    let is_much = expected > TIMES * came && expected >= ROWS;
    (is_much && !view.plan.may_end_early(at)).then_some(Wrong { expected, came })
}

/// Told where it begins: no node below is as wrong in the same direction.
fn at_source(view: &View<'_>, at: usize, node: &Node, wrong: Wrong) -> Option<Tip> {
    let same_way = |below: usize| {
        view.node(below)
            .and_then(|node| misestimate(view, below, node))
            .is_some_and(|below| (below.came > below.expected) == (wrong.came > wrong.expected))
    };
    let is_other_query = |child: &usize| {
        view.node(*child).is_some_and(|node| node.relates_as("SubPlan") || node.relates_as("InitPlan"))
    };
    let direct = node.children.iter().copied().filter(|child| !is_other_query(child));
    let by_cte = node
        .fields
        .text("CTE Name")
        .and_then(|name| view.nodes().find(|(_, node)| node.cte_declared() == Some(name)).map(|(at, _)| at));
    if direct.chain(by_cte).any(|child| view.plan.subtree(child).into_iter().any(same_way)) {
        return None;
    }
    let join = view.join_above(at).or(Some(at).filter(|_| node.is_join() && view.join_above(at).is_some()));
    // What runs because of it: the join above and its other side.
    let (ms, most) = match join {
        Some(join) => ((view.with_below(join) - view.with_below(at)).max(view.own(join)), Severity::Critical),
        None => (view.own(at), Severity::Info),
    };
    let feeds = join.map(|join| format!(", below {}", view.plan.label(join))).unwrap_or_default();
    let evidence = wrong.text() + &feeds;
    view.tip_at_most(most, TipCode::RowMisestimate, at, ms, evidence, fix(view, node))
}

fn fix(view: &View<'_>, node: &Node) -> String {
    if node.is("Function Scan") {
        return "say how many rows the function gives: ALTER FUNCTION … ROWS n, or put its rows into a temporary table \
                and ANALYZE it"
            .to_owned();
    }
    if node.relation.is_none() {
        return "ANALYZE the tables below; where groups or joins depend on several columns, CREATE STATISTICS \
                (ndistinct, dependencies) on them"
            .to_owned();
    }
    let table = table_name(node);
    let parts: Vec<Expr> =
        ["Filter", "Index Cond", "Recheck Cond"].iter().filter_map(|field| condition(node, field)).collect();
    let mut columns: Vec<&str> = parts.iter().flat_map(Expr::columns).collect();
    columns.sort_unstable();
    columns.dedup();
    let columns: Vec<String> = columns.into_iter().map(crate::plan::quoted).collect();
    let has_expression = parts.iter().flat_map(Expr::conjuncts).any(|part| match part {
        Expr::Operator(left, _, right) => left.bare_column().is_none() && right.bare_column().is_none(),
        _ => false,
    });
    let stale = view.table(node).is_some_and(super::TableFacts::is_stale);
    if stale {
        return format!("ANALYZE {table}");
    }
    if has_expression {
        let whole = shown(node, if node.fields.text("Filter").is_some() { "Filter" } else { "Index Cond" });
        return format!(
            "CREATE STATISTICS on the expression in {whole} and ANALYZE {table}, so that the planner knows how often it \
             holds"
        );
    }
    match columns.as_slice() {
        [] => format!("ANALYZE {table}"),
        [one] => format!(
            "ANALYZE {table}; if that is not enough, ALTER TABLE {table} ALTER {one} SET STATISTICS 1000"
        ),
        many => format!(
            "the columns depend on each other: CREATE STATISTICS {}_depend (dependencies, mcv) ON {} FROM {table}; \
             ANALYZE {table}",
            many.join("_").replace('"', ""),
            many.join(", ")
        ),
    }
}

/// One column compared with constants: fresh statistics are not ten times wrong about that, nor about a whole
/// table.
fn stale(view: &View<'_>, at: usize, node: &Node, wrong: Wrong) -> Option<Tip> {
    if !node.is_scan() {
        return None;
    }
    let facts = view.table(node);
    if facts.is_some_and(|facts| !facts.is_stale()) {
        return None;
    }
    let conditions: Vec<Expr> =
        ["Filter", "Index Cond", "Recheck Cond"].iter().filter_map(|field| condition(node, field)).collect();
    let parts: Vec<&Expr> = conditions.iter().flat_map(Expr::conjuncts).collect();
    let mut columns = Vec::new();
    for part in &parts {
        columns.push(simple(part)?);
    }
    columns.dedup();
    if columns.len() > 1 {
        return None;
    }
    let table = table_name(node);
    let known = match facts {
        Some(facts) if !facts.was_analyzed => "; it was never analyzed".to_owned(),
        Some(facts) => format!("; {} rows changed since it was analyzed", count(facts.changed_since_analyze)),
        None => String::new(),
    };
    let what = columns
        .first()
        .map_or("the whole table".to_owned(), |column| format!("a condition on {column} alone"));
    let evidence = format!("{}, for {what}{known}", wrong.text());
    let fix = format!(
        "ANALYZE {table}; have autovacuum do it: it may be off, or its threshold too high for this table"
    );
    let ms = view.join_above(at).map_or(view.own(at), |join| view.with_below(join));
    view.tip(TipCode::StaleStatistics, at, ms, evidence, fix)
}

/// The column of a comparison with constants.
fn simple(part: &Expr) -> Option<&str> {
    match part {
        Expr::Operator(left, operator, right) => {
            let is_comparison = matches!(operator.as_str(), "=" | "<" | ">" | "<=" | ">=");
            let column = left.bare_column().filter(|_| is_comparison)?;
            right.constant().map(|_| column)
        }
        Expr::Column(flag) => Some(flag),
        Expr::Not(inner) => inner.bare_column(),
        _ => None,
    }
}
