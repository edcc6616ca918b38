//! What is wrong with a plan: each finding with its node, evidence, weight and the way out.

mod catalog;
mod code;
mod estimates;
mod execution;
mod expected;
mod expressions;
mod filters;
mod joins;
mod limits;
mod memory;
mod partitions;
mod subqueries;
mod text;
mod triggers;
mod view;

pub use catalog::{Catalog, ForeignKeyFacts, IndexFacts, TableFacts};
pub use code::{Severity, TipCode};
pub use text::tips_on_text;

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::plan::Plan;
use view::View;

/// One finding in a plan.
///
/// ```
/// use db_insight::{Plan, Severity, TipCode, tips};
///
/// let text = r#"{"Plan": {"Node Type": "Seq Scan", "Relation Name": "big", "Alias": "big", "Plan Rows": 9,
///     "Actual Rows": 10, "Actual Loops": 1, "Actual Total Time": 40.0, "Total Cost": 9000.0,
///     "Filter": "(customer_id = 17)", "Rows Removed by Filter": 299990}, "Execution Time": 41.0}"#;
/// let tips = tips(&text.parse::<Plan>()?);
/// assert_eq!(tips[0].code, TipCode::SeqScanFilterRemovesMost);
/// assert_eq!((tips[0].severity, tips[0].node.as_str()), (Severity::Warning, "Seq Scan on big"));
/// assert!(tips[0].fix.contains("ON big (customer_id)"), "{}", tips[0].fix);
/// assert!(!tips[0].evidence.contains("17)"), "no value is told: {}", tips[0].evidence);
/// # Ok::<(), db_insight::NotAPlan>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Tip {
    /// What it is.
    pub code: TipCode,
    /// How much it matters here.
    pub severity: Severity,
    /// The node, as PostgreSQL's text format names it, such as `Seq Scan on big`; of what is no node, its
    /// name: `Planning`, `JIT`, `Trigger for constraint …`, or `Statement` of what its text alone says.
    pub node: String,
    /// What was seen, in numbers. No value of a row or of the statement is in it.
    pub evidence: String,
    /// What to do.
    pub fix: String,
    /// The node's position in [`Plan::nodes`], where it is one.
    #[serde(skip)]
    pub at: Option<usize>,
    /// What it costs, in milliseconds; 0 where nothing was measured.
    #[serde(skip)]
    pub ms: f64,
}

/// In one line: what, where, what to do, and what was seen.
impl fmt::Display for Tip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}: {} ({})", self.code, self.node, self.fix, self.evidence)
    }
}

impl Plan {
    /// The plan as a tree of text, with these tips at their nodes, and below it those that have none.
    #[must_use]
    pub fn tree_with_tips(&self, tips: &[Tip]) -> String {
        let line = |tip: &Tip| format!("{}: {}: {}\nfix: {}", tip.severity, tip.code, tip.evidence, tip.fix);
        let mut notes: BTreeMap<usize, Vec<String>> = BTreeMap::new();
        for tip in tips {
            if let Some(at) = tip.at {
                notes.entry(at).or_default().push(line(tip));
            }
        }
        let mut text = self.tree(&notes);
        for tip in tips.iter().filter(|tip| tip.at.is_none()) {
            text += &format!("{}\n  >> {}\n", tip.node, line(tip).replace('\n', "\n     "));
        }
        text
    }
}

/// What is wrong with a plan, by the plan alone; the gravest first.
///
/// Only of a plan that ran (`EXPLAIN ANALYZE`) anything is told as more than [`Severity::Info`].
#[must_use]
pub fn tips(plan: &Plan) -> Vec<Tip> {
    tips_with(plan, &Catalog::default())
}

/// What is wrong with a plan, with what the database's catalogue says of its tables.
#[must_use]
pub fn tips_with(plan: &Plan, catalog: &Catalog) -> Vec<Tip> {
    let view = View::new(plan, catalog);
    let mut tips = Vec::new();
    expressions::find(&view, &mut tips);
    filters::find(&view, &mut tips);
    estimates::find(&view, &mut tips);
    memory::find(&view, &mut tips);
    joins::find(&view, &mut tips);
    subqueries::find(&view, &mut tips);
    limits::find(&view, &mut tips);
    partitions::find(&view, &mut tips);
    execution::find(&view, &mut tips);
    triggers::find(&view, &mut tips);
    expected::find(&view, &mut tips);
    let mut tips = partitions::merged(&view, tips);
    tips.sort_by(|a: &Tip, b: &Tip| b.severity.cmp(&a.severity).then(b.ms.total_cmp(&a.ms)));
    tips
}
