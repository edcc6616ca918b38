//! Weighs candidates against each other, and tells a statement's own constants from its parameters.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Choice;
use crate::indexes::Note;
use crate::indexes::candidate::Subject;
use crate::indexes::evaluate::plain;
use crate::indexes::spec::Spec;
use crate::indexes::workload::Query;

/// The smallest of those that save nearly as much as the best.
pub(crate) fn smallest_of_best(choices: &[Choice]) -> Option<Choice> {
    let most = choices.iter().map(|choice| choice.saved).max_by(f64::total_cmp)?;
    // A block range index takes a thousandth of the room.
    let enough = |choice: &Choice| {
        let tiny = choice.specs.iter().all(|spec| spec.method == "brin");
        choice.saved >= most * if tiny { 0.75 } else { 0.98 }
    };
    choices
        .iter()
        .filter(|choice| enough(choice))
        .min_by(|a, b| {
            (a.size, -a.saved).partial_cmp(&(b.size, -b.saved)).unwrap_or(std::cmp::Ordering::Equal)
        })
        .cloned()
}

pub(crate) fn share_of(subject: &Subject<'_>, spec: &Spec) -> f64 {
    match (spec.method, &spec.predicate) {
        ("brin", _) => 0.01,
        (_, Some(predicate)) => {
            let at = subject.conditions.iter().position(|condition| plain(&condition.expr) == *predicate);
            at.and_then(|at| subject.shares.get(at).copied()).unwrap_or(0.2).max(0.001)
        }
        _ => 1.0,
    }
}

/// The constants that the text has, as it spells them, without those that a parameter has too.
pub(crate) fn literals(query: &Query) -> BTreeSet<String> {
    let mut found: BTreeSet<String> = BTreeSet::new();
    let text = &query.sql;
    let mut rest = text.as_str();
    while let Some(open) = rest.find('\'') {
        let inner = rest.get(open + 1..).unwrap_or_default();
        let Some(close) = inner.find('\'') else { break };
        found.insert(format!("'{}'", inner.get(..close).unwrap_or_default()));
        rest = inner.get(close + 1..).unwrap_or_default();
    }
    let word = |c: char| !(c.is_ascii_alphanumeric() || c == '.' || c == '$' || c == '_');
    for token in text.split(word).filter(|token| token.starts_with(|c: char| c.is_ascii_digit())) {
        found.insert(token.to_owned());
        found.insert(format!("'{token}'"));
    }
    for param in &query.params {
        let spelt = param.split("::").next().unwrap_or(param).trim();
        let bare = spelt.trim_matches('\'');
        found.remove(spelt);
        found.remove(bare);
        found.remove(&format!("'{bare}'"));
    }
    found
}

/// What is said of a statement whose indexes were not built in time.
pub(super) fn not_proven(query: &Query, within: Duration) -> Note {
    let text = format!(
        "its indexes were not built: {} s were over; they are advised by the model. Give it longer \
         (`build_within`), or a workload with fewer statements",
        within.as_secs()
    );
    Note { case: query.id.clone(), code: "not_proven", message: text }
}
