//! Triggers that take much of a statement: the user's own, and those of foreign keys.

use super::view::View;
use super::{Severity, Tip, TipCode};
use crate::plan::{Trigger, count};

/// A lookup by index takes less than this for each row, in milliseconds.
const LOOKUP: f64 = 0.5;

pub(super) fn find(view: &View<'_>, tips: &mut Vec<Tip>) {
    tips.extend(view.plan.triggers.iter().filter_map(|trigger| slow(view, trigger)));
}

fn slow(view: &View<'_>, trigger: &Trigger) -> Option<Tip> {
    let ms = trigger.ms?;
    let each = ms / trigger.calls.max(1.0);
    if view.times.share(ms) < 0.1 {
        return None;
    }
    let severity = view.severity(ms)?;
    // `a` stands on the table that is referred to, `c` on the one that refers.
    let is_parent = trigger.name.starts_with("RI_ConstraintTrigger_a");
    let is_child = trigger.name.starts_with("RI_ConstraintTrigger_c");
    let evidence = format!("{} calls, {each:.3} ms each; {}", count(trigger.calls), view.cost(ms));
    let constraint = trigger.constraint.as_deref().unwrap_or(&trigger.name);
    let (code, severity, fix) = if is_parent && each >= LOOKUP {
        (TipCode::MissingFkIndex, severity, missing_index(view, constraint))
    } else if is_parent {
        let fix =
            "each removed row looks for its children: remove the children first in one statement".to_owned();
        (TipCode::SlowTrigger, severity.min(Severity::Info), fix)
    } else if is_child && each < LOOKUP {
        let fix = "each row looks up its parent: that is what the constraint costs; load in bulk before it is added".to_owned();
        (TipCode::SlowTrigger, severity.min(Severity::Info), fix)
    } else if is_child {
        let fix =
            "looking up a parent should take microseconds: is its row locked by others, or its key bloated?"
                .to_owned();
        (TipCode::SlowTrigger, severity, fix)
    } else {
        let fix = "make it a statement trigger with transition tables (REFERENCING NEW TABLE), add a WHEN condition, or move \
                   its work to a job"
            .to_owned();
        (TipCode::SlowTrigger, severity, fix)
    };
    Some(Tip { code, severity, node: trigger.label(), evidence, fix, at: None, ms })
}

fn missing_index(view: &View<'_>, constraint: &str) -> String {
    match view.catalog.foreign_key(constraint) {
        Some(key) if key.has_index => {
            format!("{} has an index for {constraint}: is it bloated, or are the children many?", key.table)
        }
        Some(key) => format!("CREATE INDEX CONCURRENTLY ON {} ({})", key.table, key.columns.join(", ")),
        None => format!(
            "CREATE INDEX CONCURRENTLY on the columns of {constraint}, in the table that refers: each removed or changed \
             parent reads all of it"
        ),
    }
}
