//! What of a plan is its shape: how the server runs the statement, not with which values or how many rows.

use std::fmt;

use super::Plan;
use super::mask::masked;
use super::node::Node;

/// The shape of a plan: equal as long as the server runs the statement the same way.
///
/// It is a hash of the kinds of nodes, joins, the tables and the columns that are read by index, from the
/// root down. Names of indexes are not in it, nor values, costs, workers, and how many partitions there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Shape(pub(crate) u64);

impl Shape {
    /// The hash.
    #[must_use]
    pub fn value(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

pub(super) fn of(plan: &Plan) -> Shape {
    // Children come behind their parents, so from the end each finds its children done.
    let mut shapes: Vec<u64> = vec![0; plan.nodes.len()];
    for (at, node) in plan.nodes.iter().enumerate().rev() {
        let mut words = own(plan, at, node);
        let below = node.children.iter().filter_map(|child| shapes.get(*child).copied());
        let mut below: Vec<u64> = below.collect();
        if is_append(node) {
            // A new partition is read as the others are.
            below.sort_unstable();
            below.dedup();
            // One partition left of many has no Append above it.
            if let ([only], false) = (below.as_slice(), node.is("Merge Append")) {
                let only = *only;
                if let Some(slot) = shapes.get_mut(at) {
                    *slot = only;
                }
                continue;
            }
        }
        for child in below {
            words.push_str(&format!("({child:x})"));
        }
        if let Some(slot) = shapes.get_mut(at) {
            *slot = fnv(words.as_bytes());
        }
    }
    Shape(shapes.first().copied().unwrap_or_default())
}

fn is_append(node: &Node) -> bool {
    matches!(node.kind.as_str(), "Append" | "Merge Append")
}

fn own(plan: &Plan, at: usize, node: &Node) -> String {
    let field = |name: &str| node.fields.text(name).unwrap_or_default();
    let mut words = node.kind.clone();
    for name in ["Strategy", "Partial Mode", "Join Type", "Operation", "Command", "Scan Direction"] {
        words.push_str(&format!("|{}", field(name)));
    }
    if node.relates_as("InitPlan") || node.relates_as("SubPlan") {
        words.push_str("|sub");
    }
    let below_append = plan.ancestors(at).any(|(_, above)| plan.nodes.get(above).is_some_and(is_append));
    if let Some(alias) = &node.alias {
        // Partitions are counted through: `events_1`, `events_2`. One that is left alone has the table's own
        // alias.
        let numbered = alias.trim_end_matches(|c: char| c.is_ascii_digit());
        let alias = numbered.strip_suffix('_').filter(|_| below_append && numbered != alias).unwrap_or(alias);
        words.push_str(&format!("|{alias}"));
    }
    for name in ["Index Cond", "Hash Cond", "Merge Cond", "Sort Key", "Group Key", "Presorted Key"] {
        for (_, text) in node.fields.texts().filter(|(field, _)| *field == name) {
            words.push_str(&format!("|{}", without_parameters(&unqualified(&masked(text)))));
        }
    }
    words
}

/// Without the names before columns: those of partitions are counted through.
fn unqualified(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for piece in text.split_inclusive(|c: char| !(c.is_alphanumeric() || c == '_')) {
        if !piece.ends_with('.') {
            out.push_str(piece);
        }
    }
    out
}

/// With `?` for parameters and for constants of any type: a plan made for known values has constants in the
/// place of parameters.
fn without_parameters(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['$', '?']) {
        out.push_str(rest.get(..at).unwrap_or_default());
        out.push('?');
        rest = rest.get(at + 1..).unwrap_or_default().trim_start_matches(|c: char| c.is_ascii_digit());
        if let Some(typed) = rest.strip_prefix("::") {
            rest =
                typed.trim_start_matches(|c: char| c.is_alphanumeric() || matches!(c, '_' | ' ' | '[' | ']'));
        }
    }
    out + rest
}

/// FNV-1a, 64 bits: the same on every platform and in every release.
fn fnv(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
