//! A plan as a tree of text, with notes at its nodes.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::Plan;
use super::mask::masked;

/// What is shown below a node, in this order.
const CONDITIONS: [&str; 9] = [
    "Index Cond",
    "Recheck Cond",
    "Hash Cond",
    "Merge Cond",
    "Join Filter",
    "Filter",
    "One-Time Filter",
    "Sort Key",
    "Group Key",
];

/// How deep the tree is drawn; deeper nodes are drawn at this depth.
const DEEPEST: usize = 40;

pub(super) fn tree(plan: &Plan, notes: &BTreeMap<usize, Vec<String>>) -> String {
    let times = plan.times();
    let mut out = String::new();
    let mut depths: Vec<usize> = Vec::with_capacity(plan.nodes.len());
    for (at, node) in plan.nodes.iter().enumerate() {
        let depth = node.parent.and_then(|parent| depths.get(parent)).map_or(0, |depth| depth + 1);
        depths.push(depth);
        let indent = "  ".repeat(depth.min(DEEPEST));
        if let Some(name) = &node.subplan {
            let _ = writeln!(out, "{indent}{name}");
        }
        let arrow = if at == 0 { "" } else { "-> " };
        let _ = write!(out, "{indent}{arrow}{}", plan.label(at));
        match node.actual {
            Some(actual) if actual.loops == 0.0 => out.push_str("  (never executed)"),
            Some(actual) => {
                let _ = write!(out, "  ({} rows, {} expected", count(actual.rows), count(node.estimate.rows));
                if actual.loops > 1.0 {
                    let _ = write!(out, ", {} times", count(actual.loops));
                }
                if times.are_measured {
                    let own = times.own_ms(at);
                    let _ = write!(out, "; {own:.1} ms own, {:.0} %", times.share(own) * 100.0);
                }
                out.push(')');
            }
            None => {
                let cost = node.estimate.total_cost;
                let _ = write!(out, "  ({} rows expected, cost {cost:.0})", count(node.estimate.rows));
            }
        }
        out.push('\n');
        for name in CONDITIONS {
            for (_, text) in node.fields.texts().filter(|(field, _)| *field == name) {
                let _ = writeln!(out, "{indent}     {name}: {}", masked(text));
            }
        }
        for note in notes.get(&at).into_iter().flatten() {
            for (number, line) in note.lines().enumerate() {
                let mark = if number == 0 { "  >> " } else { "     " };
                let _ = writeln!(out, "{indent}{mark}{line}");
            }
        }
    }
    out
}

/// A number of rows for people: `1,234,567`; fractions only below ten.
pub(crate) fn count(number: f64) -> String {
    if number < 10.0 && number.fract() > 0.004 {
        return format!("{number:.2}");
    }
    let digits = format!("{number:.0}");
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    out
}
