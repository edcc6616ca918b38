//! Which nodes may have been stopped before their last row, so that fewer rows than expected prove nothing.

use super::Plan;
use super::node::Node;

/// How many CTEs are followed to their scans.
const MOST_CTES: usize = 16;

impl Plan {
    /// Whether something above may have stopped the node before its end: a LIMIT, the shorter side of a merge
    /// join, a semi-join's first match, EXISTS, or the other side of a join without rows.
    pub(crate) fn may_end_early(&self, at: usize) -> bool {
        self.ends_early(at, MOST_CTES)
    }

    fn ends_early(&self, at: usize, ctes: usize) -> bool {
        let Some(node) = self.nodes.get(at) else { return false };
        // The node may itself be what a CTE or an EXISTS runs.
        if let Some(verdict) = self.by_relationship(at, node, ctes) {
            return verdict;
        }
        for (child, above) in self.ancestors(at) {
            let (Some(child_node), Some(parent)) = (self.nodes.get(child), self.nodes.get(above)) else {
                return false;
            };
            if child != at
                && let Some(verdict) = self.by_relationship(child, child_node, ctes)
            {
                return verdict;
            }
            if self.stops(child_node, parent, above) {
                return true;
            }
            if reads_all(parent) {
                return false;
            }
        }
        false
    }

    /// Of a subplan: whether what reads it may stop.
    fn by_relationship(&self, at: usize, node: &Node, ctes: usize) -> Option<bool> {
        match node.relationship.as_deref() {
            Some("InitPlan") if node.cte_declared().is_some() => {
                let scans = self.cte_scans(at);
                Some(ctes > 0 && scans.iter().any(|scan| self.ends_early(*scan, ctes - 1)))
            }
            // EXISTS stops at the first row; a scalar subquery has at most one.
            Some("InitPlan") => Some(node.actual.is_none_or(|actual| actual.rows <= 1.0)),
            Some("SubPlan") => Some(!self.is_hashed_subplan(at)),
            _ => None,
        }
    }

    /// Whether `parent` stops `child` before its end.
    fn stops(&self, child: &Node, parent: &Node, above: usize) -> bool {
        let join = parent.fields.text("Join Type").unwrap_or_default();
        let is_inner = child.relates_as("Inner");
        match parent.kind.as_str() {
            "Limit" | "Merge Join" => true,
            "Nested Loop" => {
                is_inner && (matches!(join, "Semi" | "Anti") || parent.fields.flag("Inner Unique"))
            }
            "Hash Join" if !is_inner => {
                let inner = self.child(above, "Inner").and_then(|inner| self.nodes.get(inner));
                matches!(join, "Inner" | "Right" | "Semi" | "")
                    && inner.is_some_and(|inner| inner.total_rows() == 0.0)
            }
            _ => false,
        }
    }

    /// Whether the subplan's rows are hashed once and looked up, rather than run for each row.
    pub(crate) fn is_hashed_subplan(&self, at: usize) -> bool {
        let Some(node) = self.nodes.get(at) else { return false };
        let (Some(name), Some(parent)) = (node.subplan.as_deref(), node.parent) else { return false };
        let hashed = format!("hashed {name}");
        let mut texts = self.nodes.get(parent).into_iter().flat_map(|parent| parent.fields.texts());
        if texts.any(|(_, text)| text.contains(&hashed)) {
            return true;
        }
        // Only VERBOSE prints what a target list reads.
        node.loops() == 1.0 && self.nodes.get(parent).is_some_and(|parent| parent.total_rows() > 1.0)
    }
}

/// Whether the node takes all rows from below before it gives its first.
fn reads_all(node: &Node) -> bool {
    match node.kind.as_str() {
        "Sort" | "Hash" | "ModifyTable" | "Bitmap Heap Scan" | "BitmapAnd" | "BitmapOr" => true,
        "Aggregate" => node.fields.text("Strategy") != Some("Sorted"),
        "SetOp" => node.fields.text("Strategy") == Some("Hashed"),
        _ => false,
    }
}
