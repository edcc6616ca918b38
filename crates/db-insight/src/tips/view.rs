//! What all rules look at: the plan, where its time went, and the catalogue.

use super::catalog::{Catalog, TableFacts};
use super::{Severity, Tip, TipCode};
use crate::condition::Expr;
use crate::plan::{Node, Plan, Times, count, masked, quoted};

/// What a finding must cost to be a warning: this part of the query and this many milliseconds.
const WARNING: (f64, f64) = (0.1, 5.0);
/// What makes it critical.
const CRITICAL: (f64, f64) = (0.5, 1000.0);
/// What costs less than this part of a query is not told.
const NEGLIGIBLE: f64 = 0.01;

pub(super) struct View<'a> {
    pub(super) plan: &'a Plan,
    pub(super) times: Times,
    pub(super) catalog: &'a Catalog,
    pub(super) ran: bool,
}

impl<'a> View<'a> {
    pub(super) fn new(plan: &'a Plan, catalog: &'a Catalog) -> Self {
        View { plan, times: plan.times(), catalog, ran: plan.is_analyzed() }
    }

    pub(super) fn nodes(&self) -> impl Iterator<Item = (usize, &'a Node)> + use<'a> {
        self.plan.nodes.iter().enumerate()
    }

    pub(super) fn node(&self, at: usize) -> Option<&'a Node> {
        self.plan.nodes.get(at)
    }

    /// How grave something is that costs so much; none if it is not worth a word.
    pub(super) fn severity(&self, ms: f64) -> Option<Severity> {
        if !self.ran {
            return Some(Severity::Info);
        }
        let share = self.times.share(ms);
        let reaches = |(least_share, least_ms): (f64, f64)| share >= least_share && ms >= least_ms;
        match () {
            () if reaches(CRITICAL) => Some(Severity::Critical),
            () if reaches(WARNING) => Some(Severity::Warning),
            () if share >= NEGLIGIBLE => Some(Severity::Info),
            () => None,
        }
    }

    /// A finding at a node that costs `ms`, unless that is negligible.
    pub(super) fn tip(
        &self,
        code: TipCode,
        at: usize,
        ms: f64,
        evidence: String,
        fix: String,
    ) -> Option<Tip> {
        self.tip_at_most(Severity::Critical, code, at, ms, evidence, fix)
    }

    /// The same, of something that is never graver than `most`.
    pub(super) fn tip_at_most(
        &self,
        most: Severity,
        code: TipCode,
        at: usize,
        ms: f64,
        evidence: String,
        fix: String,
    ) -> Option<Tip> {
        let severity = self.severity(ms)?.min(most);
        let evidence = if self.ran { format!("{evidence}; {}", self.cost(ms)) } else { evidence };
        Some(Tip { code, severity, node: self.plan.label(at), evidence, fix, at: Some(at), ms })
    }

    /// `45.3 ms, 92 % of the query`.
    pub(super) fn cost(&self, ms: f64) -> String {
        let share = self.times.share(ms) * 100.0;
        let how = if self.times.are_measured { "" } else { " by cost" };
        format!("{ms:.1} ms, {share:.0} % of the query{how}")
    }

    pub(super) fn own(&self, at: usize) -> f64 {
        self.times.own_ms(at)
    }

    pub(super) fn with_below(&self, at: usize) -> f64 {
        self.times.with_below_ms(at)
    }

    /// What the catalogue says of the node's table.
    pub(super) fn table(&self, node: &Node) -> Option<&'a TableFacts> {
        self.catalog.table(node.schema.as_deref(), node.relation.as_deref()?)
    }

    /// The next join above, not across a subplan.
    pub(super) fn join_above(&self, at: usize) -> Option<usize> {
        if self.node(at).is_some_and(|node| node.relates_as("InitPlan") || node.relates_as("SubPlan")) {
            return None;
        }
        for (child, above) in self.plan.ancestors(at) {
            let child_node = self.node(child)?;
            if child_node.relates_as("InitPlan") || child_node.relates_as("SubPlan") {
                return None;
            }
            if self.node(above)?.is_join() {
                return Some(above);
            }
        }
        None
    }
}

/// The table's name as SQL has it.
pub(super) fn table_name(node: &Node) -> String {
    let relation = node.relation.as_deref().map(quoted).unwrap_or_default();
    match node.schema.as_deref() {
        Some(schema) if schema != "public" => format!("{}.{relation}", quoted(schema)),
        _ => relation,
    }
}

/// `12 of 300,000 rows`.
pub(super) fn of(part: f64, whole: f64) -> String {
    format!("{} of {} rows", count(part), count(whole))
}

/// A percentage that is only 100 if it is all.
pub(super) fn percent(part: f64, whole: f64) -> String {
    let percent = if whole > 0.0 { part / whole * 100.0 } else { 0.0 };
    match percent {
        all if all >= 99.95 && part < whole => "over 99.9 %".to_owned(),
        percent => format!("{percent:.1} %"),
    }
}

/// The condition of this field, read.
pub(super) fn condition(node: &Node, field: &str) -> Option<Expr> {
    node.fields.text(field).map(Expr::read)
}

/// The condition of this field, without values.
pub(super) fn shown(node: &Node, field: &str) -> String {
    node.fields.text(field).map(masked).unwrap_or_default()
}

/// What an index for this condition would hold: columns compared for equality, then one of a range.
pub(super) fn index_columns(condition: &Expr) -> Vec<String> {
    let mut equal = Vec::new();
    let mut range = Vec::new();
    for part in condition.conjuncts() {
        let (column, is_equality) = match part {
            Expr::Operator(left, operator, right) => {
                let column = match (left.bare_column(), right.bare_column()) {
                    (Some(column), None) if right.columns().is_empty() => column,
                    (None, Some(column)) if left.columns().is_empty() => column,
                    _ => continue,
                };
                match operator.as_str() {
                    "=" => (column, true),
                    "<" | ">" | "<=" | ">=" => (column, false),
                    _ => continue,
                }
            }
            Expr::Column(flag) => (flag.as_str(), true),
            Expr::Not(inner) => match inner.bare_column() {
                Some(flag) => (flag, true),
                None => continue,
            },
            _ => continue,
        };
        let list = if is_equality { &mut equal } else { &mut range };
        if !list.contains(&quoted(column)) {
            list.push(quoted(column));
        }
    }
    range.retain(|column| !equal.contains(column));
    range.truncate(1);
    equal.extend(range);
    equal
}
