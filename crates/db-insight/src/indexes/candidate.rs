//! Which indexes could serve one scan of a plan: equalities first, then an order or a range.

use std::collections::{BTreeSet, HashMap};

use super::condition::{Classifier, Condition, Use};
use super::expression::{Expr, quoted};
use super::plan::{Scan, SortKey};
use super::spec::{Key, Spec};

/// How many keys an index gets for equalities.
const MOST_EQUAL: usize = 3;

/// A condition that is true for so small a part of the rows may be the predicate of a partial index.
const PARTIAL_SHARE: f64 = 0.2;

/// The same for one value of several, and how many values such a column has at most: a state, no key.
const PARTIAL_VALUE_SHARE: f64 = 0.1;
const MOST_STATES: f64 = 50.0;

/// A scan with what is known of its conditions.
pub(crate) struct Subject<'a> {
    pub(crate) scan: &'a Scan,
    pub(crate) classifier: Classifier<'a>,
    pub(crate) conditions: Vec<Condition>,
    /// Conditions of the joins above, each with its join.
    pub(crate) joined: Vec<Vec<Condition>>,
    /// The part of the rows that each condition leaves.
    pub(crate) shares: Vec<f64>,
    /// The order that is wanted, equalities left out.
    pub(crate) order: Vec<Key>,
    pub(crate) order_complete: bool,
    /// Constants that the text of the statement has, and no parameter.
    pub(crate) literals: BTreeSet<String>,
    /// How often each key is compared by equality in the whole workload.
    pub(crate) popular: &'a HashMap<String, usize>,
    /// Keys that some statement compares with a parameter: an index on one value alone would not serve it.
    pub(crate) by_parameter: &'a BTreeSet<String>,
}

/// An equality that an index could begin with.
#[derive(Debug, Clone)]
struct Equal {
    key: Key,
    single: bool,
    share: f64,
}

impl Subject<'_> {
    fn table(&self) -> i64 {
        self.classifier.catalog.whole(self.classifier.table).oid
    }

    /// A predicate of a partial index, where a condition is one.
    pub(crate) fn predicate(&self, at: usize) -> Option<String> {
        let condition = self.conditions.get(at)?;
        let expr = &condition.expr;
        let share = self.shares.get(at).copied().unwrap_or(1.0);
        if condition.depends || share > PARTIAL_SHARE || !expr.functions().is_empty() {
            return None;
        }
        let known = expr.constants().iter().all(|constant| {
            let spelt = constant.split("::").next().unwrap_or(constant);
            matches!(spelt, "true" | "false" | "NULL")
                || self.literals.contains(spelt)
                || spelt.starts_with("'{") && self.are_literals(spelt)
        });
        if !known || !self.is_state(expr, share) {
            return None;
        }
        Some(expr.sql(&|column| quoted(&column.name)))
    }

    /// Whether a condition asks for a state that few rows are in: null, a flag, one of a few values.
    fn is_state(&self, expr: &Expr, share: f64) -> bool {
        let of_few = |expr: &Expr| {
            let key = self.classifier.key(expr).filter(|key| !self.by_parameter.contains(&key.sql));
            let distinct =
                key.and_then(|key| key.column).map(|column| self.classifier.table.distinct(&column));
            distinct.is_some_and(|distinct| distinct <= MOST_STATES)
        };
        match expr {
            Expr::Column(_) | Expr::IsNull(..) => true,
            Expr::Not(inner) => matches!(inner.as_ref(), Expr::Column(_)),
            Expr::Operator(left, op, _) if op == "<>" => of_few(left),
            Expr::Any(left, op, _) if op == "<> ALL" => of_few(left),
            Expr::Operator(left, op, _) if op == "=" => share <= PARTIAL_VALUE_SHARE && of_few(left),
            Expr::Any(left, op, _) if op == "= ANY" => share <= PARTIAL_VALUE_SHARE && of_few(left),
            _ => false,
        }
    }

    /// Whether each element of an array is a constant of the text.
    fn are_literals(&self, array: &str) -> bool {
        let inner = array.trim_start_matches("'{").trim_end_matches("}'");
        inner
            .split(',')
            .map(|one| one.trim_matches('"'))
            .all(|one| self.literals.contains(&format!("'{one}'")) || self.literals.contains(one))
    }

    /// All indexes that are worth a look.
    pub(crate) fn candidates(&self) -> Vec<Vec<Spec>> {
        let table = self.table();
        let mut found: Vec<Vec<Spec>> = Vec::new();
        let equals = self.equals(None, &[]);
        self.btrees(&equals, &[], None, &mut found);
        // Fewer keys may do.
        if equals.len() > 1 {
            for one in &equals {
                self.btrees(std::slice::from_ref(one), &[], None, &mut found);
            }
        }
        for join in 0..self.joined.len() {
            let with_join = self.equals(Some(join), &[]);
            if with_join.len() > equals.len() {
                self.btrees(&with_join, &[], None, &mut found);
                let only_join: Vec<Equal> = with_join
                    .iter()
                    .filter(|one| !equals.iter().any(|other| other.key == one.key))
                    .cloned()
                    .collect();
                self.btrees(&only_join, &[], None, &mut found);
            }
        }
        for at in 0..self.conditions.len() {
            let Some(predicate) = self.predicate(at) else { continue };
            for join in std::iter::once(None).chain((0..self.joined.len()).map(Some)) {
                let rest = self.equals(join, &[at]);
                self.btrees(&rest, &[at], Some(&predicate), &mut found);
            }
        }
        for condition in &self.conditions {
            for one in &condition.uses {
                if let Use::Special { method, key, .. } = one {
                    found.push(vec![Spec::of_method(table, method, key.clone())]);
                }
            }
            let arms: Option<Vec<Spec>> = condition
                .arms
                .iter()
                .map(|(_, uses)| uses.first().and_then(|one| self.of_use(one)))
                .collect();
            if let Some(mut arms) = arms.filter(|arms| !arms.is_empty()) {
                arms.sort();
                arms.dedup();
                found.push(arms);
            }
        }
        if let Some(key) = self.scan.extreme.as_ref().and_then(|expr| self.classifier.key(expr)) {
            let mut keys: Vec<Key> =
                equals.iter().map(|one| one.key.clone()).filter(|own| *own != key).collect();
            keys.push(key);
            found.push(vec![Spec::btree(table, keys)]);
        }
        if let Some(key) = self.nearest() {
            found.push(vec![Spec::of_method(table, "gist", key)]);
        }
        self.ranges(&mut found);
        found.sort();
        found.dedup();
        found
    }

    /// The key whose nearest values are wanted, where a limit says how many.
    pub(crate) fn nearest(&self) -> Option<Key> {
        let order = self.scan.order.as_ref().filter(|order| order.limit.is_some())?;
        order.keys.first().filter(|key| !key.desc).and_then(|key| self.classifier.nearest(&key.expr))
    }

    fn of_use(&self, one: &Use) -> Option<Spec> {
        let table = self.table();
        match one {
            Use::Equal { key, .. } | Use::Range { key } => Some(Spec::btree(table, vec![key.clone()])),
            Use::Special { method, key, .. } => Some(Spec::of_method(table, method, key.clone())),
            Use::Rows { .. } => None,
        }
    }

    /// The equalities, the most selective of them, in the order in which an index should have them.
    fn equals(&self, join: Option<usize>, without: &[usize]) -> Vec<Equal> {
        let mut all: Vec<Equal> = Vec::new();
        let own = self.conditions.iter().enumerate().filter(|(at, _)| !without.contains(at));
        let own = own.map(|(at, condition)| (condition, self.shares.get(at).copied().unwrap_or(1.0)));
        let joined = join.and_then(|join| self.joined.get(join)).into_iter().flatten();
        let joined = joined.map(|condition| (condition, self.joined_share(condition)));
        for (condition, share) in own.chain(joined) {
            for one in &condition.uses {
                if let Use::Equal { key, single } = one
                    && !all.iter().any(|other| other.key == *key)
                {
                    all.push(Equal { key: key.clone(), single: *single, share });
                }
            }
        }
        all.sort_by(|a, b| a.share.total_cmp(&b.share));
        // A key that leaves nearly all rows only makes the index greater.
        let mut left = self.classifier.table.rows;
        all.retain(|one| {
            let wanted = one.share < 0.7 && left > 2.0;
            left *= if wanted { one.share } else { 1.0 };
            wanted
        });
        all.truncate(MOST_EQUAL);
        // Lists come last: an order behind them is none.
        all.sort_by(|a, b| {
            let popular = |one: &Equal| self.popular.get(&one.key.sql).copied().unwrap_or(0);
            (!a.single, popular(b), a.share)
                .partial_cmp(&(!b.single, popular(a), b.share))
                .unwrap_or(std::cmp::Ordering::Equal)
        });
        all
    }

    fn joined_share(&self, condition: &Condition) -> f64 {
        let column = condition.uses.iter().find_map(|one| match one {
            Use::Equal { key, .. } => key.column.clone(),
            _ => None,
        });
        column.map_or(0.005, |column| 1.0 / self.classifier.table.distinct(&column).max(1.0))
    }

    fn btrees(
        &self,
        equals: &[Equal],
        without: &[usize],
        predicate: Option<&str>,
        found: &mut Vec<Vec<Spec>>,
    ) {
        let table = self.table();
        let mut add = |keys: Vec<Key>| {
            let mut seen = BTreeSet::new();
            let keys: Vec<Key> = keys.into_iter().filter(|key| seen.insert(key.sql.clone())).collect();
            if !keys.is_empty() {
                let predicate = predicate.map(str::to_owned);
                found.push(vec![Spec { predicate, ..Spec::btree(table, keys) }]);
            }
        };
        let begin: Vec<Key> = equals.iter().map(|one| one.key.clone()).collect();
        let singles: Vec<Key> = equals.iter().filter(|one| one.single).map(|one| one.key.clone()).collect();
        add(begin.clone());
        if begin.is_empty() {
            // A partial index needs a key of some sort: what its predicate is about.
            for at in without {
                for one in self.conditions.get(*at).map(|one| one.uses.as_slice()).unwrap_or_default() {
                    if let Use::Equal { key, .. } | Use::Range { key } = one {
                        add(vec![key.clone()]);
                    }
                }
                if let Some(Condition { expr, uses, .. }) = self.conditions.get(*at)
                    && uses.is_empty()
                    && let Some(column) = expr.columns().into_iter().next()
                {
                    add(vec![Key::column(&column.name)]);
                }
            }
        }
        for (at, condition) in self.conditions.iter().enumerate() {
            if without.contains(&at) {
                continue;
            }
            for one in &condition.uses {
                match one {
                    Use::Range { key } => add(begin.iter().cloned().chain([key.clone()]).collect()),
                    Use::Rows { keys, .. } => {
                        add(singles.iter().cloned().chain(keys.iter().cloned()).collect())
                    }
                    _ => {}
                }
            }
        }
        if self.order_complete && !self.order.is_empty() {
            let reversed = self.order.iter().all(|key| key.desc && key.nulls_first);
            let keys = self.order.iter().map(|key| {
                let mut key = key.clone();
                if reversed {
                    (key.desc, key.nulls_first) = (false, false);
                }
                key
            });
            let keys: Vec<Key> = keys.filter(|key| !singles.iter().any(|own| own.sql == key.sql)).collect();
            add(singles.iter().cloned().chain(keys.clone()).collect());
            // Behind an order, a list or a range is checked in the index.
            let lists = equals.iter().filter(|one| !one.single).map(|one| one.key.clone());
            add(singles.into_iter().chain(keys).chain(lists).collect());
        }
    }

    /// Block range indexes for columns that follow the order of the table.
    fn ranges(&self, found: &mut Vec<Vec<Spec>>) {
        let whole = self.classifier.catalog.whole(self.classifier.table);
        if whole.pages < FEWEST_PAGES_OF_RANGES || !self.scan.joins.is_empty() {
            return;
        }
        for one in self.conditions.iter().flat_map(|condition| &condition.uses) {
            let Use::Range { key } = one else { continue };
            let correlation =
                key.column.as_deref().and_then(|name| self.classifier.table.column(name)?.correlation);
            if key.opclass.is_none() && correlation.is_some_and(|correlation| correlation.abs() >= 0.95) {
                found.push(vec![Spec::of_method(whole.oid, "brin", key.clone())]);
            }
        }
    }
}

/// A table with fewer pages gains nothing from a block range index.
const FEWEST_PAGES_OF_RANGES: f64 = 2000.0;

/// The wanted order as keys, without what equalities fix; whether all of it can be had.
pub(crate) fn order_keys(
    classifier: &Classifier<'_>,
    order: &[SortKey],
    conditions: &[Condition],
) -> (Vec<Key>, bool) {
    let fixed: BTreeSet<String> = conditions
        .iter()
        .flat_map(|condition| &condition.uses)
        .filter_map(|one| match one {
            Use::Equal { key, single: true } => Some(key.sql.clone()),
            _ => None,
        })
        .collect();
    let mut keys = Vec::new();
    for one in order {
        let Some(mut key) = classifier.key(&one.expr) else { return (keys, false) };
        if fixed.contains(&key.sql) {
            continue;
        }
        (key.desc, key.nulls_first) = (one.desc, one.nulls_first);
        keys.push(key);
    }
    (keys, true)
}
