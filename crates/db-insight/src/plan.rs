//! A plan as `EXPLAIN (FORMAT JSON)` of PostgreSQL 15 to 19 writes it, typed, with nothing lost.

mod early;
mod label;
mod mask;
mod node;
mod read;
mod run_by;
mod shape;
mod times;
mod tree;

pub(crate) use label::quoted;
pub use mask::masked;
pub use node::{Actual, Estimate, Fields, Node};
pub use read::NotAPlan;
pub use shape::Shape;
pub use times::Times;
pub(crate) use tree::count;

use std::collections::BTreeMap;

use serde_json::Value;

/// One plan: its nodes, and what the server says beside them.
///
/// Node 0 is the root, and a parent comes before its children. Fields that this version of the crate does not
/// know are kept as they came, in [`Node::fields`] and [`Plan::fields`].
///
/// ```
/// use db_insight::Plan;
///
/// let text = r#"[{"Plan": {"Node Type": "Seq Scan", "Relation Name": "big", "Alias": "b", "Startup Cost": 0.0,
///     "Total Cost": 35.5, "Plan Rows": 2550, "Plan Width": 4}}]"#;
/// let plan: Plan = text.parse()?;
/// assert_eq!(plan.label(0), "Seq Scan on big b");
/// assert!(!plan.is_analyzed());
/// # Ok::<(), db_insight::NotAPlan>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The nodes, the root first; [`Node::children`] are positions here.
    pub nodes: Vec<Node>,
    /// How long planning took, in milliseconds, where the server measured it.
    pub planning_ms: Option<f64>,
    /// How long execution took, triggers included, in milliseconds; only of a plan that ran.
    pub execution_ms: Option<f64>,
    /// The triggers that ran.
    pub triggers: Vec<Trigger>,
    /// What compiling expressions took, in milliseconds, of all processes; where anything was compiled.
    pub jit_ms: Option<f64>,
    /// The settings that differ from their defaults (`EXPLAIN (SETTINGS)`).
    pub settings: BTreeMap<String, String>,
    /// The statement's identifier in `pg_stat_statements` (`EXPLAIN (VERBOSE)` with `compute_query_id`).
    pub query_id: Option<i64>,
    /// Everything beside the nodes as it came.
    pub fields: Fields,
}

/// A trigger that ran for a statement.
#[derive(Debug, Clone, PartialEq)]
pub struct Trigger {
    /// Its name.
    pub name: String,
    /// The constraint that it upholds, if it does.
    pub constraint: Option<String>,
    /// The table that it is on.
    pub relation: Option<String>,
    /// How long all its calls took, in milliseconds; not known with `TIMING OFF`.
    pub ms: Option<f64>,
    /// How often it was called.
    pub calls: f64,
}

impl Trigger {
    /// As PostgreSQL's text has it: `Trigger for constraint orders_customer_id_fkey on customers`.
    #[must_use]
    pub fn label(&self) -> String {
        let what = match &self.constraint {
            Some(constraint) => format!("Trigger for constraint {constraint}"),
            None => format!("Trigger {}", self.name),
        };
        match &self.relation {
            Some(relation) => format!("{what} on {relation}"),
            None => what,
        }
    }
}

impl Plan {
    /// Whether the statement ran, so that rows were counted.
    #[must_use]
    pub fn is_analyzed(&self) -> bool {
        self.nodes.first().is_some_and(|root| root.actual.is_some())
    }

    /// The node as PostgreSQL's text format names it, such as `Index Scan using orders_pkey on orders o`.
    ///
    /// Empty if there is no node `at`.
    #[must_use]
    pub fn label(&self, at: usize) -> String {
        self.nodes.get(at).map(label::label).unwrap_or_default()
    }

    /// Where the time went. Each node's own time is never negative, and all of them with
    /// [`outside_ms`](Times::outside_ms) are the whole.
    #[must_use]
    pub fn times(&self) -> Times {
        times::of(self)
    }

    /// What stays the same as long as the server runs the statement the same way.
    #[must_use]
    pub fn shape(&self) -> Shape {
        shape::of(self)
    }

    /// The plan as a tree of text, a node a line with its rows and its own time, and `notes` below their
    /// nodes.
    #[must_use]
    pub fn tree(&self, notes: &BTreeMap<usize, Vec<String>>) -> String {
        tree::tree(self, notes)
    }

    /// The node's parent, the parent's parent and so on, each with the child from which it was reached.
    pub(crate) fn ancestors(&self, at: usize) -> impl Iterator<Item = (usize, usize)> {
        let parent = |child: usize| self.nodes.get(child)?.parent.map(|parent| (child, parent));
        std::iter::successors(parent(at), move |(_, node)| parent(*node))
    }

    /// The node and all below it, parents first.
    pub(crate) fn subtree(&self, at: usize) -> Vec<usize> {
        let mut found = Vec::new();
        let mut open = vec![at];
        while let Some(next) = open.pop() {
            if let Some(node) = self.nodes.get(next) {
                found.push(next);
                open.extend(node.children.iter().rev());
            }
        }
        found
    }

    /// The child of this relationship, such as `Outer`.
    pub(crate) fn child(&self, at: usize, relationship: &str) -> Option<usize> {
        let node = self.nodes.get(at)?;
        node.children.iter().copied().find(|child| {
            self.nodes.get(*child).and_then(|child| child.relationship.as_deref()) == Some(relationship)
        })
    }

    /// The scans of the CTE of this name that can see the one declared at `declared`.
    pub(crate) fn cte_scans(&self, cte: usize) -> Vec<usize> {
        let Some(name) = self.nodes.get(cte).and_then(Node::cte_declared) else { return Vec::new() };
        let Some(declared_at) = self.nodes.get(cte).and_then(|node| node.parent) else { return Vec::new() };
        let own = self.subtree(cte);
        let reads = |at: &usize| {
            self.nodes
                .get(*at)
                .is_some_and(|node| node.kind == "CTE Scan" && node.fields.text("CTE Name") == Some(name))
                && !own.contains(at)
        };
        self.subtree(declared_at).into_iter().filter(reads).collect()
    }
}

impl Plan {
    /// Reads a file as it is: UTF-8, or UTF-16 as some terminals write it.
    ///
    /// # Errors
    /// [`NotAPlan`] says what the file is instead, and how to get a plan.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, NotAPlan> {
        read::from_text(&read::decoded(bytes))
    }
}

impl std::str::FromStr for Plan {
    type Err = NotAPlan;

    /// Reads what `EXPLAIN (FORMAT JSON)` answered: the array or the object, also as psql prints it, as
    /// `auto_explain` logs it, and as rows that a tool exported.
    fn from_str(text: &str) -> Result<Self, NotAPlan> {
        read::from_text(text)
    }
}

impl TryFrom<Value> for Plan {
    type Error = NotAPlan;

    fn try_from(value: Value) -> Result<Self, NotAPlan> {
        read::from_value(value)
    }
}
