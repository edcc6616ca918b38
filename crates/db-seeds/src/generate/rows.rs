//! Makes the rows of one table: values that agree with its keys, references, checks and partitions.

use std::collections::HashSet;

use super::bounds::{self, Bounds};
use super::catalog::{Table, Unique};
use super::cell::{self, Wish};
use super::column_type::ColumnType;
use super::expression::Expression;
use super::parents::Parents;
use super::repair::Row;
use super::worth::Worth;
use crate::draw::{self, Draw};

/// How often a row is drawn anew until it agrees with everything.
const ATTEMPTS: u64 = 60;

/// The share of NULLs in columns that may be NULL.
const NULLS: f64 = 0.1;

/// A row: a text for each column, `None` for NULL.
pub(crate) type Cells = Vec<Option<String>>;

/// Makes rows of one table.
pub(crate) struct Rows<'a> {
    table: &'a Table,
    /// The place of the table, which its references to itself have.
    at: usize,
    bounds: Vec<Bounds>,
    key: u64,
    now: i64,
    /// The keys of each reference; `None` for those that stay NULL for now.
    parents: Vec<Option<Parents>>,
    /// The first number of each column that counts.
    first: Vec<i64>,
    taken: Vec<HashSet<Vec<String>>>,
    /// Columns that are another one in each row.
    alone: Vec<bool>,
    /// Whether the server takes all rows of it or none.
    in_circle: bool,
    /// References in which each row takes the key of its own number.
    in_step: Vec<usize>,
    /// References that together make a row another one, counted through in place of drawn.
    counted: Vec<usize>,
    /// Columns for which no value is known: their default, or NULL.
    left_out: Vec<bool>,
    /// The columns of the condition that was false last.
    unmet: Option<String>,
}

impl<'a> Rows<'a> {
    pub(crate) fn new(
        (table, at): (&'a Table, usize),
        (seed, now): (u64, i64),
        parents: Vec<Option<Parents>>,
        first: Vec<i64>,
    ) -> Self {
        let references: HashSet<usize> =
            table.references.iter().flat_map(|one| one.columns.iter().copied()).collect();
        let alone = (0..table.columns.len()).map(|column| {
            let by_itself = table.uniques.iter().any(|unique| unique.columns == [column]);
            // Of several columns one that is no reference is enough, and the last is the most likely to count.
            let last = |unique: &Unique| {
                let own = |column: &&usize| {
                    let holds = &table.columns[**column].holds;
                    !references.contains(*column)
                        && !matches!(holds, ColumnType::Boolean | ColumnType::Enum(_))
                };
                unique.columns.iter().rev().find(own) == Some(&column)
            };
            !references.contains(&column)
                && (by_itself || table.spread.contains(&column) || table.uniques.iter().any(last))
        });
        let left_out = |column: &super::catalog::Column| column.holds.unknown().is_some();
        let counted = table.uniques.iter().find_map(|unique| {
            let all = unique.columns.iter().all(|column| references.contains(column));
            let covers = |one: &super::catalog::Reference| {
                one.table != at && one.columns.iter().any(|column| unique.columns.contains(column))
            };
            let covering = table.references.iter().enumerate().filter(|(_, one)| covers(one));
            all.then(|| covering.map(|(place, _)| place).collect())
        });
        let mut rows = Rows {
            at,
            bounds: bounds::of(table, now),
            key: draw::key(seed, &format!("{}.{}", table.schema, table.name)),
            now,
            parents,
            first,
            taken: vec![HashSet::new(); table.uniques.len()],
            alone: alone.collect(),
            in_circle: false,
            in_step: Vec::new(),
            counted: counted.unwrap_or_default(),
            left_out: table.columns.iter().map(left_out).collect(),
            unmet: None,
            table,
        };
        rows.leave_to_defaults(&references);
        rows
    }

    /// Where only the server can judge a column's condition, the column's default is the best guess.
    fn leave_to_defaults(&mut self, references: &HashSet<usize>) {
        let cells: Cells = (0..self.table.columns.len()).map(|column| self.key_cell(column, 0)).collect();
        let row = Row {
            table: self.table,
            bounds: &self.bounds,
            pinned: vec![false; cells.len()],
            offers: vec![None; cells.len()],
            cells,
            number: 0,
            now: self.now,
        };
        let unclear = self.table.checks.iter().filter(|check| check.worth(&row) == Worth::Unknown);
        let named: Vec<usize> =
            unclear.flat_map(Expression::columns).filter_map(|name| self.table.column(name)).collect();
        for at in named {
            let (column, is_key) = (&self.table.columns[at], |one: &Unique| one.columns.contains(&at));
            let free = !references.contains(&at) && !self.table.uniques.iter().any(is_key);
            // What a default of a plain type is, conditions on other columns may well contradict.
            self.left_out[at] |= free
                && column.has_default
                && column.not_null
                && matches!(column.holds, ColumnType::Json | ColumnType::Array(_) | ColumnType::Composite(_));
        }
    }

    /// The columns that rows have a value for.
    pub(crate) fn columns(&self) -> Vec<usize> {
        (0..self.table.columns.len()).filter(|at| !self.left_out[*at]).collect()
    }

    /// The name of a type that no value is known of, where a column of it must have one.
    pub(crate) fn impossible(&self) -> Option<String> {
        let unknown = |(at, column): (usize, &super::catalog::Column)| {
            let must = column.not_null && !column.has_default && !self.is_reference(at);
            column.holds.unknown().filter(|_| must).map(|name| (column.name.clone(), name.to_owned()))
        };
        let (column, holds) = self.table.columns.iter().enumerate().find_map(unknown)?;
        Some(format!("no value is known for column {column} of type {holds}, which must have one"))
    }

    /// Why no other row could be made.
    pub(crate) fn why_short(&self) -> String {
        match &self.unmet {
            Some(columns) => format!("no values were found that the condition on ({columns}) allows"),
            None => "no other values agree with its keys and references".to_owned(),
        }
    }

    /// Gives a reference the keys that it may refer to; in step, each row takes the key of its own number.
    pub(crate) fn refer(&mut self, reference: usize, keys: Vec<Vec<String>>, in_step: bool) {
        self.parents[reference] = Some(Parents::new(keys));
        self.in_circle = true;
        if in_step {
            self.in_step.push(reference);
        }
    }

    fn is_reference(&self, column: usize) -> bool {
        self.table.references.iter().any(|one| one.columns.contains(&column))
    }

    /// The most rows that the unique constraints leave room for, and the columns of the one that does.
    pub(crate) fn room(&self) -> Option<(u64, Vec<&str>)> {
        let each = self.table.uniques.iter().filter_map(|unique| {
            let mut room: u64 = 1;
            for &column in &unique.columns {
                let bounds = &self.bounds[column];
                let reference = self.table.references.iter().zip(&self.parents).find_map(|(one, parents)| {
                    let counts = one.table != self.at && one.columns.contains(&column);
                    counts.then(|| parents.as_ref().map(Parents::len)).flatten()
                });
                let values = match (&self.table.columns[column].holds, &bounds.choices, reference) {
                    (_, _, Some(keys)) => keys,
                    (_, Some(choices), _) => choices.len() as u64,
                    (ColumnType::Boolean, ..) => 2,
                    (ColumnType::Integer { .. }, ..) => {
                        let (least, most) = (bounds.least?.max(1.0), bounds.most?);
                        if most - least > 1e9 { return None } else { (most - least + 1.0).max(0.0) as u64 }
                    }
                    _ => return None,
                };
                room = room.saturating_mul(values);
            }
            let names = unique.columns.iter().map(|column| self.table.columns[*column].name.as_str());
            Some((room, names.collect()))
        });
        each.min_by_key(|(room, _)| *room)
    }

    /// The value of a column that is another one in each row: a function of the row alone.
    pub(crate) fn key_cell(&self, column: usize, row: u64) -> Option<String> {
        let of = &self.table.columns[column];
        let mut draw = Draw::new(draw::key(self.key, &of.name), row);
        let (name, holds, bounds) = (of.name.as_str(), &of.holds, &self.bounds[column]);
        let wish = Wish { name, holds, bounds, row, unique: true, first: self.first[column], now: self.now };
        cell::value(&wish, &mut draw)
    }

    /// Makes one row; `None` where none agrees with everything.
    pub(crate) fn make(&mut self, row: u64) -> Option<Cells> {
        self.unmet = None;
        for attempt in 0..ATTEMPTS {
            let mut draw = Draw::new(self.key.wrapping_add(attempt.wrapping_mul(0x9e37_79b9)), row);
            let Some(cells) = self.attempt(row, attempt, &mut draw) else { continue };
            let keys: Option<Vec<Option<Vec<String>>>> = self
                .table
                .uniques
                .iter()
                .zip(&self.taken)
                .map(|(unique, taken)| {
                    let key = key_of(unique, &cells);
                    (!key.as_ref().is_some_and(|key| taken.contains(key))).then_some(key)
                })
                .collect();
            let Some(keys) = keys else { continue };
            for (taken, key) in self.taken.iter_mut().zip(keys) {
                taken.extend(key);
            }
            for (reference, parents) in self.table.references.iter().zip(&mut self.parents) {
                if reference.table == self.at
                    && let Some(parents) = parents
                {
                    let key = reference
                        .of
                        .iter()
                        .map(|name| self.table.column(name).and_then(|column| cells[column].clone()));
                    if let Some(key) = key.collect() {
                        parents.push(key);
                    }
                }
            }
            return Some(cells);
        }
        None
    }

    fn attempt(&mut self, number: u64, attempt: u64, draw: &mut Draw) -> Option<Cells> {
        let count = self.table.columns.len();
        let mut cells: Cells = vec![None; count];
        let (mut pinned, mut offers) = (vec![false; count], vec![None; count]);
        let counted = self.counted_through(number, attempt);
        let mut references: Vec<usize> = (0..self.table.references.len()).collect();
        references.sort_by_key(|place| std::cmp::Reverse(self.table.references[*place].columns.len()));
        for &place in &references {
            let reference = &self.table.references[place];
            reference.columns.iter().for_each(|column| pinned[*column] = true);
            if reference.table == self.at {
                continue;
            }
            let given: Cells = reference.columns.iter().map(|column| cells[*column].clone()).collect();
            let open = reference.columns.iter().zip(&given).filter(|(_, given)| given.is_none());
            let may_be_null = open.clone().any(|(column, _)| !self.table.columns[*column].not_null);
            let Some(parents) = &mut self.parents[place] else { continue };
            let agrees = |key: &&Vec<String>| {
                key.iter().zip(&given).all(|(one, given)| given.as_ref().is_none_or(|given| one == given))
            };
            let chosen = match counted.iter().find(|(counted, _)| *counted == place) {
                _ if self.in_step.contains(&place) => parents.at(number).filter(agrees),
                Some((_, at)) if given.iter().all(Option::is_none) => parents.at(*at),
                _ => parents.draw(&given, draw),
            };
            let Some(chosen) = chosen else {
                // Without a key to refer to, NULL is the only way.
                if may_be_null {
                    continue;
                }
                return None;
            };
            let stays_null = may_be_null && draw.unit() < NULLS;
            for (column, value) in reference.columns.iter().zip(chosen) {
                offers[*column] = Some(value.clone());
                let leave = stays_null && (reference.full || !self.table.columns[*column].not_null);
                if !leave {
                    cells[*column] = Some(value.clone());
                }
            }
        }
        for column in 0..count {
            if cells[column].is_some()
                || self.left_out[column]
                || (pinned[column] && self.is_reference(column))
            {
                continue;
            }
            cells[column] = self.own_value(column, number, draw);
            pinned[column] |=
                self.alone[column] && self.table.uniques.iter().any(|one| one.columns == [column]);
        }
        for &(begins, ends) in &self.table.spans {
            if let Some((from, to)) = cell::span(&self.table.columns[begins].holds, number, self.now, draw) {
                (cells[begins], cells[ends]) = (Some(from), Some(to));
                (pinned[begins], pinned[ends]) = (true, true);
            }
        }
        self.refer_to_itself(&references, number, &mut cells, &mut offers, draw)?;
        let mut conditions: Vec<&Expression> = self.table.checks.iter().collect();
        let leaves = &self.table.leaves;
        if !leaves.is_empty() {
            conditions.push(&leaves[draw.below(leaves.len() as u64) as usize]);
        }
        let mut row =
            Row { table: self.table, bounds: &self.bounds, cells, pinned, offers, number, now: self.now };
        match row.repair(&conditions, draw) {
            None => {
                row.leave_open(&conditions, self.in_circle, draw);
                Some(row.cells)
            }
            Some(broken) => {
                self.unmet = Some(broken.columns().join(", "));
                None
            }
        }
    }

    fn own_value(&self, column: usize, number: u64, draw: &mut Draw) -> Option<String> {
        let of = &self.table.columns[column];
        if self.alone[column] {
            return self.key_cell(column, number);
        }
        let bounds = &self.bounds[column];
        if !bounds.not_null && draw.unit() < NULLS {
            return None;
        }
        let (name, holds) = (of.name.as_str(), &of.holds);
        let wish = Wish { name, holds, bounds, row: number, unique: false, first: 0, now: self.now };
        cell::value(&wish, draw)
    }

    /// Fills references of the table to itself: to a row before, or to the row itself where NULL is not allowed.
    fn refer_to_itself(
        &mut self,
        references: &[usize],
        number: u64,
        cells: &mut Cells,
        offers: &mut Cells,
        draw: &mut Draw,
    ) -> Option<()> {
        for &place in references {
            let reference = &self.table.references[place];
            if reference.table != self.at {
                continue;
            }
            let given: Cells = reference.columns.iter().map(|column| cells[*column].clone()).collect();
            let must = reference.columns.iter().all(|column| self.table.columns[*column].not_null);
            let Some(parents) = &mut self.parents[place] else { continue };
            let of: Vec<Option<usize>> = reference.of.iter().map(|name| self.table.column(name)).collect();
            let own = || of.iter().map(|column| column.and_then(|column| cells[column].clone())).collect();
            let mut chosen: Option<Vec<String>> = parents.draw(&given, draw).cloned();
            // The first of a tree has no parent.
            if !must && (number == 0 || draw.unit() < 2.0 * NULLS) {
                chosen = None;
            } else if must && (chosen.is_none() || draw.unit() < NULLS) {
                chosen = own();
            }
            match chosen {
                Some(chosen) => {
                    for (column, value) in reference.columns.iter().zip(chosen) {
                        offers[*column] = Some(value.clone());
                        cells[*column] = Some(value);
                    }
                }
                None if must => return None,
                None => {}
            }
        }
        Some(())
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

/// The values that must come once; `None` where a NULL makes the row another one anyway.
fn key_of(unique: &Unique, cells: &Cells) -> Option<Vec<String>> {
    let values = unique.columns.iter().map(|column| cells[*column].clone());
    match unique.nulls_equal {
        // No text of a value has this sign in it.
        true => Some(values.map(|value| value.unwrap_or_else(|| "\0".to_owned())).collect()),
        false => values.collect(),
    }
}
