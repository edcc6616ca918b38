//! One node of a plan: what it is, what the planner expected and what came.

use serde_json::{Map, Value};

/// One node of a plan.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// `Node Type`, such as `Seq Scan`.
    pub kind: String,
    /// The node above; none of the root.
    pub parent: Option<usize>,
    /// The nodes below.
    pub children: Vec<usize>,
    /// `Parent Relationship`: `Outer`, `Inner`, `Member`, `Subquery`, `InitPlan` or `SubPlan`.
    pub relationship: Option<String>,
    /// `Subplan Name`, such as `CTE latest`, `InitPlan 1 (returns $0)` or `SubPlan 2`.
    pub subplan: Option<String>,
    /// The table that is read or written.
    pub relation: Option<String>,
    /// The table's schema, with `EXPLAIN (VERBOSE)`.
    pub schema: Option<String>,
    /// What the statement calls it.
    pub alias: Option<String>,
    /// The index that is read.
    pub index: Option<String>,
    /// What the planner expected of one execution.
    pub estimate: Estimate,
    /// What came, on average of all executions; none without `ANALYZE`.
    pub actual: Option<Actual>,
    /// What each parallel worker says of itself.
    pub workers: Vec<Fields>,
    /// All that the server said of the node, but for the nodes below and the workers.
    pub fields: Fields,
}

/// What the planner expected of one execution of a node.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Estimate {
    /// Cost until the first row.
    pub startup_cost: f64,
    /// Cost until the last row.
    pub total_cost: f64,
    /// Rows; of a node that runs in several processes, each one's.
    pub rows: f64,
    /// Bytes a row.
    pub width: f64,
}

/// What came, on average of all executions of a node.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Actual {
    /// Rows an execution; a fraction from PostgreSQL 18 on.
    pub rows: f64,
    /// How often the node was executed, in all processes; 0 if never.
    pub loops: f64,
    /// Milliseconds until the last row, an execution; none with `TIMING OFF`.
    pub total_ms: Option<f64>,
}

impl Node {
    /// Rows of all executions; 0 where nothing ran.
    #[must_use]
    pub fn total_rows(&self) -> f64 {
        self.actual.map_or(0.0, |actual| actual.rows * actual.loops)
    }

    /// How often the node was executed; 0 where nothing ran.
    #[must_use]
    pub fn loops(&self) -> f64 {
        self.actual.map_or(0.0, |actual| actual.loops)
    }

    /// Whether the plan ran and this node did not.
    #[must_use]
    pub fn never_executed(&self) -> bool {
        self.actual.is_some_and(|actual| actual.loops == 0.0)
    }

    /// The name of the CTE that the node's rows make, if it is one.
    #[must_use]
    pub fn cte_declared(&self) -> Option<&str> {
        self.subplan.as_deref()?.strip_prefix("CTE ")
    }

    /// Whether it is of this kind.
    pub(crate) fn is(&self, kind: &str) -> bool {
        self.kind == kind
    }

    pub(crate) fn is_join(&self) -> bool {
        matches!(self.kind.as_str(), "Nested Loop" | "Hash Join" | "Merge Join")
    }

    pub(crate) fn is_scan(&self) -> bool {
        self.relation.is_some() && self.kind.ends_with("Scan")
    }

    pub(crate) fn is_index_scan(&self) -> bool {
        matches!(self.kind.as_str(), "Index Scan" | "Index Only Scan")
    }

    pub(crate) fn is_gather(&self) -> bool {
        matches!(self.kind.as_str(), "Gather" | "Gather Merge")
    }

    pub(crate) fn relates_as(&self, relationship: &str) -> bool {
        self.relationship.as_deref() == Some(relationship)
    }

    /// Of a figure that is an average of all executions: the sum.
    pub(crate) fn sum(&self, field: &str) -> f64 {
        self.fields.number(field).unwrap_or_default() * self.loops().max(1.0)
    }

    /// Of a figure that the node and its workers each count for themselves: the sum.
    pub(crate) fn with_workers(&self, field: &str) -> f64 {
        let own = self.fields.number(field).unwrap_or_default();
        own + self.workers.iter().filter_map(|worker| worker.number(field)).sum::<f64>()
    }
}

/// Named values as the server sent them.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Fields(pub(crate) Map<String, Value>);

impl Fields {
    /// The text of this name.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_str()
    }

    /// The number of this name; also one that is written as text.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<f64> {
        let number = match self.0.get(name)? {
            Value::String(text) => text.trim().parse().ok()?,
            value => value.as_f64()?,
        };
        f64::is_finite(number).then_some(number)
    }

    /// Whether the flag of this name is set.
    #[must_use]
    pub fn flag(&self, name: &str) -> bool {
        self.0.get(name).and_then(Value::as_bool).unwrap_or(false)
    }

    /// The value of this name.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// All names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// All texts, those in lists too.
    pub(crate) fn texts(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().flat_map(|(name, value)| {
            let list = match value {
                Value::Array(list) => list.as_slice(),
                one => std::slice::from_ref(one),
            };
            list.iter().filter_map(move |one| Some((name.as_str(), one.as_str()?)))
        })
    }
}
