//! Subqueries that run for each row, lists that NOT IN reads for each row, and CTEs made whole to read
//! little.

use super::filters::MOST;
use super::view::{View, percent, shown};
use super::{Severity, Tip, TipCode};
use crate::plan::{Node, count};

/// How often a subquery may run.
const RUNS: f64 = 10.0;
/// How many rows a CTE may make in vain.
const ROWS: f64 = 10_000.0;

pub(super) fn find(view: &View<'_>, tips: &mut Vec<Tip>) {
    for (at, node) in view.nodes() {
        if node.relates_as("SubPlan") {
            tips.extend(subplan(view, at, node));
        }
        if let Some(name) = node.cte_declared() {
            tips.extend(cte(view, at, node, name));
        }
    }
}

fn subplan(view: &View<'_>, at: usize, node: &Node) -> Option<Tip> {
    let host_at = node.parent?;
    let host = view.node(host_at)?;
    let name = node.subplan.as_deref().unwrap_or("SubPlan");
    let is_not_in = is_not_in(host, name, !depends_on_outer(view, at));
    let is_hashed = view.plan.is_hashed_subplan(at);
    let ms = view.with_below(at);
    let runs = node.loops();
    if is_not_in && is_hashed {
        let evidence = format!("NOT IN hashes the {} rows of {name}", count(node.total_rows()));
        return view.tip_at_most(
            Severity::Info,
            TipCode::NotInSubplan,
            host_at,
            ms,
            evidence,
            NOT_EXISTS.to_owned(),
        );
    }
    if is_hashed || (view.ran && runs < RUNS) {
        return None;
    }
    if is_not_in {
        // The list is gone through in the node itself.
        let evidence = if view.ran {
            format!(
                "NOT IN goes through the rows of {name} {} times: {} in all",
                count(runs),
                count(node.total_rows())
            )
        } else {
            format!("NOT IN goes through the {} rows of {name} for each row", count(node.estimate.rows))
        };
        return view.tip(
            TipCode::NotInSubplan,
            host_at,
            ms + view.own(host_at),
            evidence,
            NOT_EXISTS.to_owned(),
        );
    }
    let reads = view
        .plan
        .subtree(at)
        .into_iter()
        .find(|below| view.node(*below).is_some_and(|node| node.is("Seq Scan")));
    let what = reads.map(|scan| format!(", each time by {}", view.plan.label(scan))).unwrap_or_default();
    let evidence = if view.ran {
        format!("{name} runs {} times{what}", count(runs))
    } else {
        format!("{name} runs for each row{what}")
    };
    let join = "join the table and group it, or LEFT JOIN LATERAL; of many rows a join by hash reads it once";
    let fix = match reads.and_then(|scan| view.node(scan)) {
        Some(scan) if scan.relation.is_some() => {
            format!("{join}; for few rows an index that serves {}", shown(scan, "Filter"))
        }
        _ => join.to_owned(),
    };
    view.tip(TipCode::CorrelatedSubquery, host_at, ms, evidence, fix)
}

const NOT_EXISTS: &str = "write NOT EXISTS (SELECT … WHERE inner.x = outer.x): it becomes an anti-join. NOT IN cannot, and \
    with one NULL in the list it returns no row";

/// Whether a condition in the subplan names a table that is not in it.
fn depends_on_outer(view: &View<'_>, subplan: usize) -> bool {
    let inside: Vec<&Node> = view.plan.subtree(subplan).into_iter().filter_map(|at| view.node(at)).collect();
    let aliases: Vec<&str> = inside.iter().filter_map(|node| node.alias.as_deref()).collect();
    let conditions = inside
        .iter()
        .flat_map(|node| node.fields.texts())
        .filter(|(field, _)| field.ends_with("Cond") || field.ends_with("Filter"));
    let mut names = conditions.flat_map(|(_, text)| {
        let word = |c: char| !(c.is_alphanumeric() || c == '_' || c == '"' || c == '.');
        text.split(word).filter_map(|word| word.split_once('.')).map(|(name, _)| name.trim_matches('"'))
    });
    names.any(|name| {
        !name.is_empty() && !name.starts_with(|c: char| c.is_ascii_digit()) && !aliases.contains(&name)
    })
}

/// `NOT (SubPlan 1)` until 16, where NOT EXISTS looks the same, but for what it depends on;
/// `NOT (ANY (x = (SubPlan 1).col1))` from 17 on.
fn is_not_in(host: &Node, name: &str, is_independent: bool) -> bool {
    let texts = || host.fields.texts().map(|(_, text)| text);
    let says = |words: String| texts().any(|text| text.contains(&words));
    if says(format!("NOT (hashed {name})")) {
        return true;
    }
    if says(format!("NOT ({name})")) {
        return is_independent;
    }
    let negates = |text: &str| {
        let at = text.find(&format!("({name})")).or_else(|| text.find(&format!("hashed {name})")));
        at.and_then(|at| text.get(..at)).is_some_and(|before| {
            before.rfind("NOT (ANY (").is_some_and(|not| !before.get(not..).unwrap_or_default().contains(')'))
                || before.contains("<> ALL (")
        })
    };
    texts().any(negates)
}

fn cte(view: &View<'_>, at: usize, node: &Node, name: &str) -> Option<Tip> {
    let needs_it = node.is("Recursive Union") || node.is("ModifyTable");
    let scans: Vec<usize> = view.plan.cte_scans(at);
    let made = if view.ran { node.total_rows() } else { node.estimate.rows };
    if needs_it || scans.is_empty() || made < ROWS {
        return None;
    }
    let scan_nodes = || scans.iter().filter_map(|scan| view.node(*scan));
    let dropped: f64 = scan_nodes().map(|scan| scan.sum("Rows Removed by Filter")).sum();
    let kept: f64 = scan_nodes().map(Node::total_rows).sum();
    let has_filter = scan_nodes().any(|scan| scan.fields.text("Filter").is_some());
    let is_most = dropped > MOST * (dropped + kept);
    // Read once, the server would have merged it with the query, had it not been told otherwise.
    let is_told = scans.len() == 1;
    // A join that takes little of it would have looked it up in the tables.
    let joined_away = is_told
        && node.is_scan()
        && scans
            .first()
            .and_then(|scan| view.join_above(*scan))
            .and_then(|join| view.node(join))
            .is_some_and(|join| join.total_rows() < (1.0 - MOST) * kept);
    let is_in_vain = joined_away
        || if view.ran { is_most || (is_told && has_filter && dropped > kept) } else { has_filter };
    // An aggregate that a filter cannot go below costs the same either way.
    if !is_in_vain {
        return None;
    }
    let ms = view.with_below(at) + scans.iter().map(|scan| view.own(*scan)).sum::<f64>();
    let first = *scans.first()?;
    let evidence = if view.ran {
        format!(
            "{name} makes {} rows, and of those that are read {} are dropped",
            count(made),
            percent(dropped, dropped + kept)
        )
    } else {
        format!("{name} makes {} rows before {} is applied", count(made), shown(view.node(first)?, "Filter"))
    };
    let fix = format!(
        "WITH {name} AS NOT MATERIALIZED (…), so that conditions reach the tables and their indexes; or write the condition \
         into {name}"
    );
    view.tip(TipCode::MaterializedCte, first, ms, evidence, fix)
}
