//! Indexes on expressions that the server would refuse, and those that spare the table by columns of their
//! own.

use std::collections::HashMap;

use super::AdviceError;
use super::candidate::Subject;
use super::catalog::Table;
use super::evaluate::Evaluator;
use super::select::{Choice, share_of};
use super::spec::{Key, Spec};

impl Evaluator<'_, '_> {
    /// Whether the expressions in these indexes can be keys: the server refuses those that depend on
    /// settings.
    pub(crate) async fn can_be_keys(
        &mut self,
        specs: &[Spec],
        table: &Table,
        known: &mut HashMap<(i64, String), bool>,
    ) -> bool {
        let mut keys: Vec<(&Spec, &Key)> = Vec::new();
        for spec in specs {
            keys.extend(spec.keys.iter().map(|key| (spec, key)));
        }
        for (spec, key) in keys {
            // An operator class of an extension that is not there yet cannot be tried.
            let absent = key.opclass.as_deref().is_some_and(|class| class.contains("trgm"));
            if key.column.is_some() || absent {
                continue;
            }
            let name = (table.oid, format!("{} {}", spec.method, key.sql));
            let can = match known.get(&name) {
                Some(can) => *can,
                None => {
                    let one = Spec {
                        predicate: None,
                        include: Vec::new(),
                        keys: vec![key.clone()],
                        ..spec.clone()
                    };
                    let can = self.session.can_be_made(table, &one).await;
                    known.insert(name, can);
                    can
                }
            };
            if !can {
                return false;
            }
        }
        true
    }

    /// Adds the best B-trees with the columns that spare the table, where that halves what is left.
    pub(crate) async fn with_includes(
        &mut self,
        subject: &Subject<'_>,
        table: &Table,
        choices: &mut Vec<Choice>,
    ) -> Result<(), AdviceError> {
        let visible = table.visible_pages / table.pages.max(1.0);
        let needed = &subject.scan.needed;
        if visible < 0.5 || needed.is_empty() || needed.len() > 6 {
            return Ok(());
        }
        let best = choices.iter().map(|choice| choice.saved).max_by(f64::total_cmp).unwrap_or(0.0);
        let mut wider = Vec::new();
        for choice in &*choices {
            if choice.saved < 0.5 * best {
                continue;
            }
            let [spec] = choice.specs.as_slice() else { continue };
            // The planner does not see that an expression spares its columns.
            if spec.method != "btree" || spec.has_expression() {
                continue;
            }
            let held = |name: &String| spec.keys.iter().any(|key| key.column.as_ref() == Some(name));
            let include: Vec<String> = needed.iter().filter(|name| !held(name)).cloned().collect();
            let width: f64 = include.iter().map(|name| table.width(name)).sum();
            if include.is_empty() || include.len() > 3 || width > 64.0 {
                continue;
            }
            let spec = Spec { include, ..spec.clone() };
            let saved = self.saved(subject, std::slice::from_ref(&spec)).await?;
            let left = |saved: f64| (subject.scan.cost * subject.scan.loops - saved).max(0.0);
            if left(saved) <= 0.5 * left(choice.saved) && saved - choice.saved >= 50.0 {
                let size = spec.entry_bytes(table) * share_of(subject, &spec);
                wider.push(Choice { specs: vec![spec], saved, size });
            }
        }
        choices.extend(wider);
        Ok(())
    }
}
