//! What a candidate would save of a statement's cost, by the model of [`cost`](super::cost).

use super::AdviceError;
use super::candidate::Subject;
use super::condition::{Condition, Use};
use super::cost::{self, Access};
use super::expression::{Expr, quoted};
use super::plan::Join;
use super::session::Session;
use super::spec::{Key, Spec};

/// Asks how many rows conditions leave, and keeps what is needed for that.
pub(crate) struct Evaluator<'s, 'c> {
    pub(crate) session: &'s mut Session<'c>,
}

/// How an index would be used.
struct Match {
    /// The conditions that it answers, as expressions, and the share of those whose value is not known yet.
    known: Vec<Expr>,
    unknown_share: f64,
    /// How many of its first keys have one value each.
    fixed: usize,
    answered: usize,
    any_list: bool,
}

impl Evaluator<'_, '_> {
    /// The part of the rows that each condition leaves, for those whose value is known.
    pub(crate) async fn shares(&mut self, subject: &Subject<'_>) -> Vec<f64> {
        let rows = subject.classifier.table.rows.max(1.0);
        let mut shares = Vec::new();
        for condition in &subject.conditions {
            shares.push(if condition.depends {
                unknown_share(subject, condition)
            } else {
                (self.rows(subject, std::slice::from_ref(&condition.expr)).await / rows).clamp(0.0, 1.0)
            });
        }
        shares
    }

    /// What a set of indexes saves of the statement's cost, at most; none where they would not be used.
    pub(crate) async fn saved(&mut self, subject: &Subject<'_>, specs: &[Spec]) -> Result<f64, AdviceError> {
        match specs {
            [one] => Ok(self.saved_by_one(subject, one).await),
            arms => Ok(self.saved_by_arms(subject, arms).await),
        }
    }

    async fn saved_by_one(&mut self, subject: &Subject<'_>, spec: &Spec) -> f64 {
        let scan = subject.scan;
        let mut best: f64 = 0.0;
        let found = matched(subject, spec, None);
        if found.answered > 0 || spec.predicate.is_some() {
            let cost = self.cost(subject, spec, &found, 1.0).await;
            let limited = scan.order.as_ref().filter(|order| order.limit.is_some() && scan.index.is_some());
            best = best.max(match limited {
                // It reads in the order now; another index has to read all, and sort.
                Some(order) => {
                    let rows = scan.rows.max(2.0);
                    let sort = 2.0 * subject.classifier.catalog.costs.cpu_operator * rows * rows.log2();
                    (order.cost - cost - order.beside - sort) * order.loops
                }
                None => (scan.cost - cost) * scan.fraction * scan.loops,
            });
            // One read for each outer row, each with another value.
            if scan.loops > 1.0 && found.unknown_share < 1.0 {
                let each = self.cost(subject, spec, &found, scan.loops).await;
                best = best.max((scan.cost * scan.fraction - each) * scan.loops);
            }
        }
        if let Some(order) = &scan.order
            && gives_order(subject, spec, &found)
        {
            let access = self.access(subject, spec, &found, 1.0).await;
            let table = subject.classifier.catalog.whole(subject.classifier.table);
            let all = access.in_order(table, &subject.classifier.catalog.costs);
            let share = order.limit.map_or(1.0, |(wanted, of)| (wanted / of.max(1.0)).clamp(0.0, 1.0));
            let new = all * share + order.beside + 2.0 * subject.classifier.catalog.costs.random_page * share;
            best = best.max((order.cost - new) * order.loops);
        }
        if let Some(order) = &scan.order
            && let Some((wanted, _)) = order.limit
            && spec.method == "gist"
            && subject.nearest().is_some_and(|key| spec.keys.first() == Some(&key))
        {
            let pages = 10.0 + wanted * 1.5;
            best = best.max(
                (order.cost - order.beside - pages * subject.classifier.catalog.costs.random_page)
                    * order.loops,
            );
        }
        if let Some(extreme) = &scan.extreme
            && let Some(key) = subject.classifier.key(extreme)
            && spec.keys.last().is_some_and(|last| last.sql == key.sql)
            && found.fixed + 1 >= spec.keys.len()
            && found.fixed == subject.conditions.len()
        {
            best = best.max((scan.cost - 4.0 * subject.classifier.catalog.costs.random_page) * scan.loops);
        }
        for (at, join) in scan.joins.iter().enumerate() {
            best = best.max(self.saved_in_join(subject, spec, at, join).await);
        }
        best
    }

    async fn saved_in_join(&mut self, subject: &Subject<'_>, spec: &Spec, at: usize, join: &Join) -> f64 {
        let found = matched(subject, spec, Some(at));
        let alone = matched(subject, spec, None);
        if found.answered <= alone.answered {
            return 0.0;
        }
        let each = self.cost(subject, spec, &found, join.outer_rows).await;
        let out = join.outer_rows * subject.classifier.catalog.costs.cpu_tuple;
        (join.cost - join.outer_cost - join.outer_rows * each - out) * join.loops
    }

    /// Each arm of an `OR` is looked up, and the places of all rows are put together.
    async fn saved_by_arms(&mut self, subject: &Subject<'_>, specs: &[Spec]) -> f64 {
        let Some(condition) = subject.conditions.iter().find(|condition| !condition.arms.is_empty()) else {
            return 0.0;
        };
        let (table, costs) = (subject.classifier.table, &subject.classifier.catalog.costs);
        let mut entries = 0.0;
        for (arm, _) in &condition.arms {
            entries += self.rows(subject, std::slice::from_ref(arm)).await;
        }
        let mut access = Access {
            entries: table.rows,
            entry_bytes: specs.iter().map(|spec| spec.entry_bytes(table)).sum::<f64>()
                / specs.len().max(1) as f64,
            rows: entries,
            conditions: specs.len() as f64,
            filters: subject.conditions.len() as f64,
            correlation: 0.0,
            loops: 1.0,
            only: false,
        };
        access.rows = access.rows.min(table.rows);
        let descents = 2.0 * specs.len() as f64 * costs.random_page;
        let new = access.by_bitmap(table, costs) + descents;
        (subject.scan.cost - new) * subject.scan.loops * subject.scan.fraction
    }

    async fn cost(&mut self, subject: &Subject<'_>, spec: &Spec, found: &Match, loops: f64) -> f64 {
        let (table, costs) =
            (subject.classifier.catalog.whole(subject.classifier.table), &subject.classifier.catalog.costs);
        let access = self.access(subject, spec, found, loops).await;
        match spec.method {
            "gin" | "gist" => cost::inverted(&access, table, costs),
            "brin" => cost::ranges(&access, table, costs),
            _ if found.any_list => access.by_bitmap(table, costs),
            _ => access.in_order(table, costs).min(access.by_bitmap(table, costs)),
        }
    }

    async fn access(&mut self, subject: &Subject<'_>, spec: &Spec, found: &Match, loops: f64) -> Access {
        let table = subject.classifier.catalog.whole(subject.classifier.table);
        let predicate = spec.predicate.as_deref();
        let of_predicate: Vec<Expr> = subject
            .conditions
            .iter()
            .map(|condition| condition.expr.clone())
            .filter(|expr| Some(plain(expr).as_str()) == predicate)
            .collect();
        let entries =
            if of_predicate.is_empty() { table.rows } else { self.rows(subject, &of_predicate).await };
        let all: Vec<Expr> = of_predicate.iter().chain(&found.known).cloned().collect();
        let rows = if all.is_empty() { table.rows } else { self.rows(subject, &all).await };
        let first = spec.keys.first().and_then(|key| key.column.as_deref());
        let correlation =
            first.and_then(|name| subject.classifier.table.column(name)?.correlation).unwrap_or(0.0);
        // As btcostestimate has it for several keys.
        let correlation = if spec.keys.len() > 1 { correlation * 0.75 } else { correlation };
        // Within the rows of one value the order of the table is what the order behind it says.
        let needed = &subject.scan.needed;
        let held = |name: &String| {
            spec.include.contains(name) || spec.keys.iter().any(|key| key.column.as_ref() == Some(name))
        };
        Access {
            entries: entries.max(1.0),
            entry_bytes: spec.entry_bytes(table),
            rows: (rows * found.unknown_share).clamp(1.0, table.rows.max(1.0)),
            conditions: found.answered as f64,
            filters: (subject.conditions.len() as f64 - found.answered as f64).max(0.0),
            correlation,
            loops,
            only: spec.method == "btree" && !needed.is_empty() && needed.iter().all(held),
        }
    }

    /// How many rows of the table these conditions leave, by the planner.
    async fn rows(&mut self, subject: &Subject<'_>, conditions: &[Expr]) -> f64 {
        let table = subject.classifier.catalog.whole(subject.classifier.table);
        let alias = quoted(subject.classifier.alias);
        let column = |column: &super::expression::Column| {
            format!("{}.{}", quoted(&column.alias), quoted(&column.name))
        };
        let mut texts: Vec<String> = conditions.iter().map(|expr| expr.sql(&column)).collect();
        texts.sort();
        texts.dedup();
        let from = format!("{} AS {alias}", table.shown);
        match self.session.rows(&from, &texts.join(" AND ")).await {
            Some(rows) => rows,
            None => table.rows / 3.0,
        }
    }
}

/// A condition without its table's alias.
pub(crate) fn plain(expr: &Expr) -> String {
    expr.sql(&|column| quoted(&column.name))
}

/// The share that a condition leaves whose value is not known yet.
fn unknown_share(subject: &Subject<'_>, condition: &Condition) -> f64 {
    let table = subject.classifier.table;
    match condition.uses.first() {
        Some(Use::Equal { key, .. }) => {
            key.column.as_deref().map_or(0.005, |column| 1.0 / table.distinct(column).max(1.0))
        }
        Some(Use::Range { .. } | Use::Rows { .. }) => 1.0 / 3.0,
        _ => 0.1,
    }
}

/// Which conditions an index answers, key by key.
fn matched(subject: &Subject<'_>, spec: &Spec, join: Option<usize>) -> Match {
    let mut found = Match { known: Vec::new(), unknown_share: 1.0, fixed: 0, answered: 0, any_list: false };
    let joined = join.and_then(|join| subject.joined.get(join)).into_iter().flatten();
    let all: Vec<&Condition> = subject.conditions.iter().chain(joined).collect();
    let mut take = |condition: &Condition| {
        if condition.depends {
            found.unknown_share *= unknown_share(subject, condition);
        } else {
            found.known.push(condition.expr.clone());
        }
        found.answered += 1;
    };
    if spec.method != "btree" {
        for condition in &all {
            let uses = |one: &Use| match one {
                Use::Special { method, key, .. } => {
                    *method == spec.method && spec.keys.iter().any(|own| own == key)
                }
                Use::Range { key } => spec.method == "brin" && spec.keys.iter().any(|own| own.sql == key.sql),
                _ => false,
            };
            if condition.uses.iter().any(uses) {
                take(condition);
            }
        }
        return found;
    }
    let mut fixed = 0;
    let mut list = false;
    for (at, key) in spec.keys.iter().enumerate() {
        let equal = all.iter().find_map(|condition| {
            let single = condition.uses.iter().find_map(|one| match one {
                Use::Equal { key: own, single } if own.sql == key.sql => Some(*single),
                _ => None,
            })?;
            Some((*condition, single))
        });
        if let Some((condition, single)) = equal {
            take(condition);
            list |= !single;
            if single && fixed == at {
                fixed += 1;
            }
            continue;
        }
        let ranges = all.iter().filter(|condition| {
            condition.uses.iter().any(|one| match one {
                Use::Range { key: own } => own.sql == key.sql && own.opclass == key.opclass,
                Use::Rows { keys, .. } => starts_with(spec.keys.get(at..).unwrap_or_default(), keys),
                _ => false,
            })
        });
        let ranges: Vec<&&Condition> = ranges.collect();
        ranges.into_iter().for_each(|condition| take(condition));
        break;
    }
    found.fixed = fixed;
    found.any_list = list;
    found
}

fn starts_with(keys: &[Key], row: &[Key]) -> bool {
    keys.first().zip(row.first()).is_some_and(|(key, own)| key.sql == own.sql)
}

/// Whether the rows of an index come in the order that is wanted.
fn gives_order(subject: &Subject<'_>, spec: &Spec, found: &Match) -> bool {
    if spec.method != "btree" || !subject.order_complete || subject.order.is_empty() || found.any_list {
        return found.any_list && list_is_behind(subject, spec, found);
    }
    follows(subject, spec, found)
}

/// A list whose key stands behind the order is only a filter.
fn list_is_behind(subject: &Subject<'_>, spec: &Spec, found: &Match) -> bool {
    spec.method == "btree"
        && subject.order_complete
        && !subject.order.is_empty()
        && follows(subject, spec, found)
}

fn follows(subject: &Subject<'_>, spec: &Spec, found: &Match) -> bool {
    let rest = spec.keys.get(found.fixed..).unwrap_or_default();
    if rest.len() < subject.order.len() {
        return false;
    }
    let same = |reversed: bool| {
        rest.iter().zip(&subject.order).all(|(own, wanted)| {
            own.sql == wanted.sql
                // The order of bytes is not the order of the collation.
                && own.opclass == wanted.opclass
                && (own.desc != reversed) == wanted.desc
                && (own.nulls_first != reversed) == wanted.nulls_first
        })
    };
    same(false) || same(true)
}
