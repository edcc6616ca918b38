//! Writes down what was chosen, and what no plan shows: the foreign keys behind a `DELETE`.

use std::collections::HashMap;

use super::{Chosen, Selector};
use crate::indexes::Advice;
use crate::indexes::catalog::Table;
use crate::indexes::kind::IndexKind;
use crate::indexes::plan::Reading;
use crate::indexes::spec::{Key, Spec};
use crate::indexes::suggestion::{self, Suggestion};

impl Selector<'_> {
    /// A row that is removed is looked for in every table that refers to it: a cost that no plan shows.
    pub(super) fn of_deletes(&self, case: usize, reading: &Reading) -> Vec<Chosen> {
        let mut chosen = Vec::new();
        for (schema, name, rows) in &reading.deletes {
            let Some(parent) = self.catalog.table(schema, name) else { continue };
            for key in self.catalog.foreign_keys.iter().filter(|key| key.referenced == parent.oid) {
                let Some(child) = self.catalog.by_oid(key.table) else { continue };
                let spec = Spec::btree(child.oid, key.columns.iter().map(|name| Key::column(name)).collect());
                let small = child.rows < self.config.fewest_rows || !child.is_analysed();
                let first = key.columns.first().map_or(0.0, |first| child.distinct(first));
                if small || first < 2.0 || spec.existing(child, key.columns.len()).is_some() {
                    continue;
                }
                let costs = &self.catalog.costs;
                let each = child.pages * costs.seq_page + child.rows * (costs.cpu_tuple + costs.cpu_operator);
                if each * rows < self.config.least_saved {
                    continue;
                }
                let after = reading.cost + rows * 3.0 * costs.random_page;
                chosen.push(Chosen {
                    case,
                    bytes: suggestion::bytes(&spec, child, child.rows),
                    spec,
                    cost: [reading.cost + rows * each, after],
                    proof: "model",
                    notes: vec![format!(
                        "the foreign key of {} looks for each row that is removed; EXPLAIN does not show it",
                        child.shown
                    )],
                });
            }
        }
        chosen
    }

    pub(super) fn write_down(&self, chosen: Vec<Chosen>, advice: &mut Advice) {
        let mut names: HashMap<Spec, String> = HashMap::new();
        let mut taken = self.catalog.relations.clone();
        for one in chosen {
            let Some(table) = self.catalog.by_oid(one.spec.table) else { continue };
            let Some((query, _)) = self.read.get(one.case) else { continue };
            let name = names.entry(one.spec.clone()).or_insert_with(|| {
                let taken = taken.entry(table.schema.clone()).or_default();
                let name = one.spec.name(table, taken);
                taken.push(name.clone());
                name
            });
            let (create, undo) = suggestion::statements(&one.spec, table, name, self.catalog);
            let mut requires = Vec::new();
            // Only what no plan shows brings a note along.
            let is_of_foreign_key = !one.notes.is_empty();
            let mut notes = one.notes;
            if one
                .spec
                .keys
                .iter()
                .any(|key| key.opclass.as_deref().is_some_and(|class| class.contains("trgm")))
                && !self.catalog.extensions.contains_key("pg_trgm")
            {
                requires.push("CREATE EXTENSION IF NOT EXISTS pg_trgm".to_owned());
                if !self.catalog.available.iter().any(|name| name == "pg_trgm") {
                    notes.push(
                        "the server has no pg_trgm: install the package of its contrib modules".to_owned(),
                    );
                }
                if !self.catalog.may_extend {
                    notes.push(
                        "this role cannot create the extension pg_trgm: it needs CREATE on the database"
                            .to_owned(),
                    );
                }
            }
            notes.extend(suggestion::notes(&one.spec, table, self.catalog));
            let confidence = confidence(&one.spec, one.proof, table);
            let gain = if one.cost[0] > 0.0 { 1.0 - one.cost[1] / one.cost[0] } else { 0.0 };
            let rows = if one.spec.predicate.is_some() { table.rows * 0.1 } else { table.rows };
            let bytes =
                if one.proof == "model" { suggestion::bytes(&one.spec, table, rows) } else { one.bytes };
            advice.suggestions.push(Suggestion {
                case: query.id.clone(),
                kind: IndexKind::of(&one.spec, table, is_of_foreign_key),
                index: one.spec.definition(&table.shown),
                migration: suggestion::migration(table, name, &create, &undo),
                create,
                gain: (gain.clamp(0.0, 1.0) * 1e4).round() / 1e4,
                confidence,
                proof: one.proof,
                cost: one.cost.map(|cost| (cost * 100.0).round() / 100.0),
                bytes: bytes as u64,
                requires,
                notes,
            });
        }
    }
}

fn confidence(spec: &Spec, proof: &'static str, table: &Table) -> f64 {
    let base: f64 = match (proof, spec.method) {
        ("built", _) => 0.97,
        ("hypopg", _) => 0.9,
        (_, "btree") if !spec.has_expression() => 0.75,
        _ => 0.6,
    };
    // Much has changed since the statistics were taken.
    let stale = table.changed_since_analyze > 0.5 * table.rows.max(1.0);
    if stale { base * 0.7 } else { base }
}
