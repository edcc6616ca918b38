//! Chooses which keys the references of a row take, so that those which share columns agree.
//!
//! References that share a column are a join. Keys without a partner in another reference that must have one
//! are left out beforehand (arc consistency, Mackworth 1977); for a row, keys are tried in turn, and a choice
//! that leads nowhere is taken back.

use std::collections::HashSet;

use super::catalog::Table;
use super::expression::Expression;
use super::parents::{Key, Parents};
use super::repair::worth_of;
use super::rows::{Cells, NULLS};
use super::worth::{Values, Worth};
use crate::draw::Draw;

/// How many keys are tried for a reference before the choice before it is taken back.
const CANDIDATES: usize = 5;

/// How many keys are tried for a row in all.
const MOST_STEPS: u32 = 150;

/// The keys of a table's references to other tables.
pub(crate) struct Choice {
    /// For each reference; `None` for one that stays NULL for now, or leads to the table itself.
    parents: Vec<Option<Parents>>,
    /// The references in the order in which they are chosen, and the conditions that can be judged after
    /// each.
    order: Vec<(usize, Vec<usize>)>,
    /// References in which each row takes the key of its own number.
    in_step: Vec<usize>,
    /// References that together make a row another one, counted through in place of drawn.
    counted: Vec<usize>,
    now: i64,
}

/// The values that are chosen so far.
struct Given<'a> {
    table: &'a Table,
    cells: &'a Cells,
    now: i64,
}

impl Values for Given<'_> {
    fn value(&self, column: &str) -> Worth {
        let Some(at) = self.table.column(column) else { return Worth::Unknown };
        let holds = &self.table.columns[at].holds;
        self.cells[at].as_ref().map_or(Worth::Null, |text| worth_of(holds, text))
    }

    fn now(&self) -> i64 {
        self.now
    }
}

/// A row for which keys are chosen.
struct Search<'a> {
    table: &'a Table,
    number: u64,
    /// Whether mostly the first keys are taken.
    crowded: bool,
    counted: Vec<(usize, u64)>,
    cells: &'a mut Cells,
    offers: &'a mut Cells,
    steps: u32,
}

impl Choice {
    pub(crate) fn new(table: &Table, at: usize, parents: Vec<Option<Parents>>, now: i64) -> Self {
        let mut choice = Choice { parents, order: Vec::new(), in_step: Vec::new(), counted: Vec::new(), now };
        choice.leave_out_false(table);
        choice.leave_out_lonely(table);
        choice.put_in_order(table);
        let told = |column: &usize| {
            choice.order.iter().any(|(place, _)| table.references[*place].columns.contains(column))
        };
        let counted = table.uniques.iter().find_map(|unique| {
            let covers = |place: &usize| {
                let reference = &table.references[*place];
                reference.table != at
                    && reference.columns.iter().any(|column| unique.columns.contains(column))
            };
            let covering = choice.order.iter().map(|(place, _)| *place).filter(covers);
            unique.columns.iter().all(told).then(|| covering.collect())
        });
        choice.counted = counted.unwrap_or_default();
        choice
    }

    /// Keys for which a condition on the columns of one reference is false are never taken.
    fn leave_out_false(&mut self, table: &Table) {
        for (reference, parents) in table.references.iter().zip(&mut self.parents) {
            let Some(parents) = parents else { continue };
            let within = |check: &&Expression| {
                let columns = check.columns();
                let is = |name: &&str| {
                    table.column(name).is_some_and(|column| reference.columns.contains(&column))
                };
                !columns.is_empty() && columns.iter().all(is)
            };
            let checks: Vec<&Expression> = table.checks.iter().filter(within).collect();
            if checks.is_empty() {
                continue;
            }
            let mut cells: Cells = vec![None; table.columns.len()];
            let now = self.now;
            parents.retain(|key| {
                for (column, value) in reference.columns.iter().zip(key) {
                    cells[*column] = Some(value.clone());
                }
                let given = Given { table, cells: &cells, now };
                checks.iter().all(|check| check.worth(&given) != Worth::Boolean(false))
            });
        }
    }

    /// Keys that agree with no key of another reference, which must have one, are never taken.
    fn leave_out_lonely(&mut self, table: &Table) {
        /// Keys that are left out may make others lonely.
        const ROUNDS: u32 = 100;
        for _ in 0..ROUNDS {
            let mut changed = false;
            for (other, of) in table.references.iter().enumerate() {
                let must = of.columns.iter().all(|column| table.columns[*column].not_null);
                let Some(keys) = self.parents[other].as_ref().filter(|keys| must && keys.len() > 0) else {
                    continue;
                };
                for (place, reference) in table.references.iter().enumerate() {
                    let shared: Vec<(usize, usize)> = (0..reference.columns.len())
                        .filter_map(|at| {
                            let there = of.columns.iter().position(|one| *one == reference.columns[at])?;
                            Some((at, there))
                        })
                        .collect();
                    if place == other || shared.is_empty() {
                        continue;
                    }
                    let Some(parents) = &self.parents[place] else { continue };
                    let known: HashSet<Vec<&str>> = keys
                        .keys()
                        .iter()
                        .map(|key| shared.iter().map(|(_, there)| key[*there].as_str()).collect())
                        .collect();
                    let agrees = |key: &Key| {
                        let part: Vec<&str> = shared.iter().map(|(at, _)| key[*at].as_str()).collect();
                        known.contains(&part)
                    };
                    if parents.keys().iter().all(agrees) {
                        continue;
                    }
                    let kept: Vec<Key> = parents.keys().iter().filter(|key| agrees(key)).cloned().collect();
                    self.parents[place] = Some(Parents::new(kept));
                    changed = true;
                    break;
                }
                if changed {
                    break;
                }
            }
            if !changed {
                return;
            }
        }
    }

    /// First the reference of most columns, then always one that shares most with those before.
    fn put_in_order(&mut self, table: &Table) {
        let mut open: Vec<usize> = (0..self.parents.len()).filter(|at| self.parents[*at].is_some()).collect();
        let (mut known, mut judged): (HashSet<usize>, HashSet<usize>) = (HashSet::new(), HashSet::new());
        self.order.clear();
        let checks: Vec<Vec<Option<usize>>> = table
            .checks
            .iter()
            .map(|check| check.columns().iter().map(|name| table.column(name)).collect())
            .collect();
        while !open.is_empty() {
            let worth = |place: &usize| {
                let columns = &table.references[*place].columns;
                let shared = columns.iter().filter(|column| known.contains(column)).count();
                (self.in_step.contains(place), shared, columns.len(), std::cmp::Reverse(*place))
            };
            let Some(next) = open.iter().copied().max_by_key(worth) else { break };
            open.retain(|place| *place != next);
            known.extend(&table.references[next].columns);
            let due = checks.iter().enumerate().filter(|(at, columns)| {
                let told = |column: &Option<usize>| column.is_some_and(|column| known.contains(&column));
                !columns.is_empty() && !judged.contains(at) && columns.iter().all(told)
            });
            let due: Vec<usize> = due.map(|(at, _)| at).collect();
            judged.extend(&due);
            self.order.push((next, due));
        }
    }

    /// Gives a reference the keys that it may refer to; in step, each row takes the key of its own number.
    pub(crate) fn refer(&mut self, table: &Table, reference: usize, keys: Vec<Key>, in_step: bool) {
        self.parents[reference] = Some(Parents::new(keys));
        if in_step {
            self.in_step.push(reference);
            self.put_in_order(table);
        }
    }

    /// Rows take the keys of their numbers in the references that tell a column, where those have keys
    /// already.
    pub(crate) fn promise(&mut self, table: &Table, column: usize) {
        for (place, reference) in table.references.iter().enumerate() {
            let has_keys = self.parents[place].as_ref().is_some_and(|parents| parents.len() > 0);
            if has_keys && reference.columns.contains(&column) && !self.in_step.contains(&place) {
                self.in_step.push(place);
            }
        }
        self.put_in_order(table);
    }

    /// What a reference in step tells of a column.
    pub(crate) fn promised(&self, table: &Table, column: usize, row: u64) -> Option<String> {
        self.in_step.iter().find_map(|place| {
            let at = table.references[*place].columns.iter().position(|one| *one == column)?;
            let parents = self.parents[*place].as_ref()?;
            parents.at(row % parents.len().max(1)).map(|key| key[at].clone())
        })
    }

    /// How many keys a column has by the reference that tells it.
    pub(crate) fn room(&self, table: &Table, column: usize) -> Option<u64> {
        let each = table.references.iter().zip(&self.parents);
        let found = each.filter(|(one, _)| one.columns.contains(&column));
        found.filter_map(|(_, parents)| parents.as_ref().map(Parents::len)).next()
    }

    /// Chooses for a row. Nothing where no keys agree.
    pub(crate) fn choose(
        &mut self,
        table: &Table,
        (number, attempt): (u64, u64),
        cells: &mut Cells,
        offers: &mut Cells,
        draw: &mut Draw,
    ) -> Option<()> {
        if self.order.is_empty() {
            return Some(());
        }
        let counted = self.counted_through(number, attempt);
        let crowded = attempt.is_multiple_of(2);
        let mut search = Search { table, number, crowded, counted, cells, offers, steps: 0 };
        self.step(0, &mut search, draw).then_some(())
    }

    fn step(&mut self, depth: usize, search: &mut Search<'_>, draw: &mut Draw) -> bool {
        let Some(&(place, _)) = self.order.get(depth) else { return true };
        let (table, reference) = (search.table, &search.table.references[place]);
        let Some(parents) = &mut self.parents[place] else { return self.step(depth + 1, search, draw) };
        // Every other time what is implied agrees too, where the keys bring it along.
        let implied = search.crowded && parents.at(0).is_some_and(|key| key.len() > reference.columns.len());
        let more: &[(usize, String)] = if implied { &reference.implied } else { &[] };
        let columns: Vec<usize> =
            reference.columns.iter().copied().chain(more.iter().map(|(column, _)| *column)).collect();
        let given: Cells = columns.iter().map(|column| search.cells[*column].clone()).collect();
        let open = || reference.columns.iter().zip(&given).filter(|(_, given)| given.is_none());
        let may_be_null = open().any(|(column, _)| !table.columns[*column].not_null);
        let stays_null = may_be_null && draw.unit() < NULLS;
        let counted = search.counted.iter().find(|(counted, _)| *counted == place);
        let candidates: Vec<usize> = match counted {
            _ if self.in_step.contains(&place) => vec![(search.number % parents.len().max(1)) as usize],
            Some((_, at)) if given.iter().all(Option::is_none) => vec![*at as usize],
            _ => parents.some(&given, CANDIDATES, search.crowded, draw),
        };
        let candidates: Vec<Key> =
            candidates.iter().filter_map(|at| parents.at(*at as u64).cloned()).collect();
        for key in candidates {
            search.steps += 1;
            if search.steps > MOST_STEPS {
                return false;
            }
            if key.iter().zip(&given).any(|(one, given)| given.as_ref().is_some_and(|given| one != given)) {
                continue;
            }
            for (at, (column, value)) in columns.iter().zip(&key).enumerate() {
                let own = at < reference.columns.len();
                if own {
                    search.offers[*column] = Some(value.clone());
                }
                let leave = stays_null && (!own || reference.full || !table.columns[*column].not_null);
                // The empty text stands for NULL, which implies nothing.
                if !leave && (own || !value.is_empty()) {
                    search.cells[*column] = Some(value.clone());
                }
            }
            if self.may_hold(depth, search) && self.step(depth + 1, search, draw) {
                return true;
            }
            for (column, given) in columns.iter().zip(&given) {
                search.cells[*column].clone_from(given);
            }
        }
        // Without a key to refer to, NULL is the only way.
        may_be_null && self.step(depth + 1, search, draw)
    }

    /// Whether no condition on the columns that are known after a reference is false.
    fn may_hold(&self, depth: usize, search: &Search<'_>) -> bool {
        let due = &self.order[depth].1;
        let given = Given { table: search.table, cells: search.cells, now: self.now };
        due.iter().all(|check| search.table.checks[*check].worth(&given) != Worth::Boolean(false))
    }

    /// Which key each counted reference takes in this row: all combinations, each once, in a scattered order.
    fn counted_through(&self, row: u64, attempt: u64) -> Vec<(usize, u64)> {
        /// Prime, and larger than any product of keys that is counted through to its end.
        const SCATTER: u128 = 0xffff_ffff_ffff_ffc5;
        let lengths =
            self.counted.iter().map(|place| (*place, self.parents[*place].as_ref().map_or(0, Parents::len)));
        let lengths: Vec<(usize, u64)> = lengths.collect();
        let total: u128 =
            lengths.iter().fold(1_u128, |total, (_, length)| total.saturating_mul(u128::from(*length)));
        if total == 0 {
            return Vec::new();
        }
        let place = u128::from(row) + u128::from(attempt) * 104_729;
        let mut place = (place % total) * (SCATTER % total) % total;
        lengths
            .into_iter()
            .map(|(reference, length)| {
                let at = place % u128::from(length);
                place /= u128::from(length);
                (reference, at as u64)
            })
            .collect()
    }
}
