//! What there is already: an index that is not usable yet, and those that partitions have without their
//! parent.

use super::Selector;
use crate::indexes::Note;
use crate::indexes::catalog::{Table, TableIndex};
use crate::indexes::spec::Spec;
use crate::indexes::workload::Query;

/// Says how an index becomes usable that would serve a statement and is not valid.
pub(super) fn unusable(query: &Query, index: &TableIndex) -> Note {
    let name = &index.shown;
    if index.missing.is_empty() {
        let message = format!("{name} would serve it and is INVALID: REINDEX INDEX CONCURRENTLY {name}");
        return Note { case: query.id.clone(), code: "invalid_index", message };
    }
    let message = format!(
        "{name} would serve it, and these partitions lack their part of it: {}. On each, CREATE INDEX CONCURRENTLY \
         with the same definition, then ALTER INDEX {name} ATTACH PARTITION",
        index.missing.join(", ")
    );
    Note { case: query.id.clone(), code: "incomplete_index", message }
}

impl Selector<'_> {
    /// Whether all partitions have it, each for itself: then it serves, and only the partitions to come lack
    /// it.
    pub(super) fn each_leaf_has_it(
        &self,
        specs: &[Spec],
        table: &Table,
        equal: &impl Fn(&Spec) -> usize,
        query: &Query,
        notes: &mut Vec<Note>,
    ) -> bool {
        if table.kind != "p" || self.catalog.leaves(table).next().is_none() {
            return false;
        }
        let has =
            |spec: &Spec, leaf: &Table| spec.existing(leaf, equal(spec)).is_some_and(|index| index.valid);
        let all = specs.iter().all(|spec| {
            let on_parent = spec.existing(table, equal(spec)).is_some_and(|index| index.valid);
            on_parent || self.catalog.leaves(table).all(|leaf| has(spec, leaf))
        });
        if all {
            let note = Note {
                case: query.id.clone(),
                code: "leaf_indexes",
                message: format!(
                    "each partition of {0} has an index that serves it, and {0} itself has none: a new partition will \
                     lack it. CREATE INDEX … ON ONLY {0}, then ATTACH PARTITION for each",
                    table.shown
                ),
            };
            if !notes.contains(&note) {
                notes.push(note);
            }
        }
        all
    }
}
