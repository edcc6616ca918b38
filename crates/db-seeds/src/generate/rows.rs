//! Makes the rows of one table: values that agree with its keys, references, checks and partitions.

use std::collections::HashSet;
use std::sync::Arc;

use super::apart::{Apart, Place};
use super::bounds::{self, Bounds};
use super::catalog::{Partial, Table, Unique};
use super::cell::{self, Wish};
use super::choice::Choice;
use super::column_type::ColumnType;
use super::expression::Expression;
use super::flat::{self, Whole};
use super::parents::Parents;
use super::repair::Row;
use super::worth::{self, Worth};
use crate::draw::{self, Draw};

/// How often a row is drawn anew until it agrees with everything.
const ATTEMPTS: u64 = 40;

/// The share of NULLs in columns that may be NULL.
pub(crate) const NULLS: f64 = 0.1;

/// A row: a text for each column, `None` for NULL.
pub(crate) type Cells = Vec<Option<String>>;

/// Makes rows of one table.
pub(crate) struct Rows {
    /// The table, with a column for each part of composite values and of ranges.
    table: Arc<Table>,
    wholes: Vec<Whole>,
    bounds: Vec<Bounds>,
    key: u64,
    now: i64,
    /// The keys that references to other tables may take.
    choice: Choice,
    /// The keys of each reference of the table to itself.
    own: Vec<Option<Parents>>,
    /// The first number of each column that counts.
    first: Vec<i64>,
    taken: Vec<HashSet<Vec<String>>>,
    taken_of_some: Vec<HashSet<Vec<String>>>,
    /// What exclusion constraints have taken.
    apart: Vec<Apart>,
    /// Columns that are another one in each row.
    alone: Vec<bool>,
    /// Columns whose value is promised to other tables of a circle: the row alone tells it.
    promised: Vec<bool>,
    /// Columns that references to other tables tell.
    told: Vec<bool>,
    /// Whether the server takes all rows of it or none.
    in_circle: bool,
    /// Ends of ranges that conditions ask to be missing: others are always there, for what has no end leaves
    /// no room.
    open_ends: HashSet<usize>,
    /// Columns for which no value is known: their default, or NULL.
    left_out: Vec<bool>,
    /// The columns of the condition that was false last.
    unmet: Option<String>,
}

impl Rows {
    pub(crate) fn new(
        (table, at): (&Table, usize),
        (seed, now): (u64, i64),
        mut parents: Vec<Option<Parents>>,
        first: Vec<i64>,
    ) -> Self {
        let (table, wholes, apart) = flat::flat(table);
        let count = table.columns.len();
        let mut told = vec![false; count];
        for (reference, parents) in table.references.iter().zip(&parents) {
            if reference.table != at && parents.is_some() {
                reference.columns.iter().for_each(|column| told[*column] = true);
            }
        }
        let references: HashSet<usize> = (0..count)
            .filter(|column| {
                told[*column] || !table.columns[*column].not_null && is_reference(&table, *column)
            })
            .collect();
        let alone = (0..count).map(|column| {
            let by_itself = table.uniques.iter().any(|unique| unique.columns == [column]);
            // Of several columns one that is no reference is enough, and the last is the most likely to
            // count.
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
        let own = table.references.iter().zip(&mut parents);
        let own = own.map(|(one, parents)| if one.table == at { parents.take() } else { None }).collect();
        let mut rows = Rows {
            bounds: bounds::of(&table, now),
            key: draw::key(seed, &format!("{}.{}", table.schema, table.name)),
            now,
            choice: Choice::new(&table, at, parents, now),
            own,
            first,
            taken: vec![HashSet::new(); table.uniques.len()],
            taken_of_some: vec![HashSet::new(); table.partial.len()],
            alone: alone.collect(),
            promised: vec![false; count],
            told,
            in_circle: false,
            open_ends: flat::open_ends(&table),
            left_out: table.columns.iter().map(left_out).collect(),
            unmet: None,
            table: Arc::new(table),
            wholes,
            apart,
        };
        rows.first.resize(count, 0);
        rows.leave_to_defaults(&references);
        rows
    }

    /// Where only the server can judge a column's condition, the column's default is the best guess.
    fn leave_to_defaults(&mut self, references: &HashSet<usize>) {
        let cells: Cells = (0..self.table.columns.len()).map(|column| self.key_cell(column, 0)).collect();
        let table = self.table.clone();
        let row = Row {
            table: &table,
            bounds: &self.bounds,
            pinned: vec![false; cells.len()],
            offers: vec![None; cells.len()],
            cells,
            number: 0,
            now: self.now,
        };
        let unclear = table.checks.iter().filter(|check| check.worth(&row) == Worth::Unknown);
        let named: Vec<usize> =
            unclear.flat_map(Expression::columns).filter_map(|name| table.column(name)).collect();
        for at in named {
            let (column, is_key) = (&table.columns[at], |one: &Unique| one.columns.contains(&at));
            let free = !references.contains(&at) && !table.uniques.iter().any(is_key);
            // What a default of a plain type is, conditions on other columns may well contradict.
            self.left_out[at] |= free
                && column.has_default
                && column.not_null
                && matches!(column.holds, ColumnType::Json | ColumnType::Array(_) | ColumnType::Composite(_));
        }
    }

    /// How many columns the table has by itself.
    fn real(&self) -> usize {
        let parts = self.wholes.iter().map(|whole| whole.parts().len()).sum::<usize>();
        self.table.columns.len() - parts
    }

    /// The columns that rows have a value for.
    pub(crate) fn columns(&self) -> Vec<usize> {
        (0..self.real()).filter(|at| !self.left_out[*at]).collect()
    }

    /// The name of a type that no value is known of, where a column of it must have one.
    pub(crate) fn impossible(&self) -> Option<String> {
        let unknown = |(at, column): (usize, &super::catalog::Column)| {
            let must = column.not_null && !column.has_default && !is_reference(&self.table, at);
            column.holds.unknown().filter(|_| must).map(|name| (column.name.clone(), name.to_owned()))
        };
        let (column, holds) = self.table.columns.iter().enumerate().find_map(unknown)?;
        Some(format!("no value is known for column {column} of type {holds}, which must have one"))
    }

    /// The columns that only the server can compute, with the SQL that does, as a row shows.
    pub(crate) fn computed(&self, cells: &Cells) -> Vec<(String, String)> {
        let table = self.table.clone();
        let mut cells = cells.clone();
        cells.resize(table.columns.len(), None);
        let row = self.row(&table, cells, 0);
        let unknown = table.computed.iter().filter(|one| {
            let free = table.column(&one.column).is_some_and(|at| !is_reference(&table, at));
            free && one.by.worth(&row) == Worth::Unknown
        });
        unknown.map(|one| (one.column.clone(), one.sql.clone())).collect()
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
        let table = self.table.clone();
        self.choice.refer(&table, reference, keys, in_step);
        self.in_circle = true;
    }

    /// Promises that the row alone tells a column: by a value of its own, or by the key of its number that it
    /// refers to.
    pub(crate) fn promise(&mut self, column: usize) {
        self.promised[column] = true;
        let table = self.table.clone();
        self.choice.promise(&table, column);
    }

    /// What is promised.
    pub(crate) fn promised_cell(&self, column: usize, row: u64) -> Option<String> {
        self.choice.promised(&self.table, column, row).or_else(|| self.key_cell(column, row))
    }

    /// The most rows that the unique constraints leave room for, and the columns of the one that does.
    pub(crate) fn room(&self) -> Option<(u64, Vec<&str>)> {
        let each = self.table.uniques.iter().filter_map(|unique| {
            let mut room: u64 = 1;
            for &column in &unique.columns {
                let bounds = &self.bounds[column];
                let reference = self.choice.room(&self.table, column);
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
        let table = self.table.clone();
        for attempt in 0..ATTEMPTS {
            let mut draw = Draw::new(self.key.wrapping_add(attempt.wrapping_mul(0x9e37_79b9)), row);
            let Some(mut cells) = self.attempt(&table, row, attempt, &mut draw) else { continue };
            for whole in &self.wholes {
                whole.put_together(table.columns[whole.column].not_null, &mut cells);
            }
            let keys: Vec<_> = table.uniques.iter().map(|unique| key_of(unique, &cells)).collect();
            let (mut some, mut places) = (Vec::new(), Vec::new());
            if !table.partial.is_empty() || !self.apart.is_empty() {
                let row = self.row(&table, std::mem::take(&mut cells), row);
                some = table.partial.iter().map(|partial| key_of_some(partial, &row)).collect();
                places = self.apart.iter().map(|apart| apart.place(&row)).collect();
                cells = row.cells;
            }
            let is_taken = |(key, taken): (&Option<Vec<String>>, &HashSet<Vec<String>>)| {
                key.as_ref().is_some_and(|key| taken.contains(key))
            };
            let overlaps = |(place, apart): (&Option<Place>, &Apart)| {
                place.as_ref().is_some_and(|place| !apart.is_free(place))
            };
            if keys.iter().zip(&self.taken).any(is_taken)
                || some.iter().zip(&self.taken_of_some).any(is_taken)
                || places.iter().zip(&self.apart).any(overlaps)
            {
                continue;
            }
            for (apart, place) in self.apart.iter_mut().zip(places) {
                place.into_iter().for_each(|place| apart.take(place));
            }
            self.taken.iter_mut().zip(keys).for_each(|(taken, key)| taken.extend(key));
            self.taken_of_some.iter_mut().zip(some).for_each(|(taken, key)| taken.extend(key));
            for (reference, parents) in table.references.iter().zip(&mut self.own) {
                if let Some(parents) = parents {
                    let of = reference.of.iter();
                    let key = of.map(|name| table.column(name).and_then(|column| cells[column].clone()));
                    if let Some(key) = key.collect() {
                        parents.push(key);
                    }
                }
            }
            cells.truncate(self.real());
            return Some(cells);
        }
        None
    }

    fn row<'r>(&'r self, table: &'r Table, cells: Cells, number: u64) -> Row<'r> {
        let count = cells.len();
        let (pinned, offers) = (vec![false; count], vec![None; count]);
        Row { table, bounds: &self.bounds, cells, pinned, offers, number, now: self.now }
    }

    fn attempt(&mut self, table: &Table, number: u64, attempt: u64, draw: &mut Draw) -> Option<Cells> {
        let count = table.columns.len();
        let (mut cells, mut offers): (Cells, Cells) = (vec![None; count], vec![None; count]);
        let mut pinned = self.told.clone();
        // Every other time what makes the row another one may change too.
        let firm = attempt.is_multiple_of(2);
        self.choice.choose(table, (number, attempt), &mut cells, &mut offers, draw)?;
        for column in 0..count {
            let of = &table.columns[column];
            if cells[column].is_some() || self.left_out[column] || of.apart {
                continue;
            }
            if is_reference(table, column) {
                pinned[column] = true;
                if !of.not_null {
                    continue;
                }
                // A reference that stays NULL by another column of it tells nothing about this one.
                pinned[column] = self.promised[column];
            }
            cells[column] = self.own_value(table, column, (number, attempt), draw);
            let unique = self.alone[column] && table.uniques.iter().any(|one| one.columns == [column]);
            pinned[column] |= unique && (self.promised[column] || firm);
        }
        self.draw_wholes(table, (number, attempt), &mut cells, draw);
        for &(begins, ends) in &table.spans {
            if let Some((from, to)) = self.span(&table.columns[begins].holds, number, attempt, draw) {
                (cells[begins], cells[ends]) = (Some(from), Some(to));
                (pinned[begins], pinned[ends]) = (firm, firm);
            }
        }
        self.refer_to_itself(table, number, (&mut cells, &mut offers, &mut pinned), draw)?;
        let mut conditions: Vec<&Expression> = table.checks.iter().collect();
        let leaves = &table.leaves;
        if !leaves.is_empty() {
            conditions.push(&leaves[draw.below(leaves.len() as u64) as usize]);
        }
        let mut row = Row { table, bounds: &self.bounds, cells, pinned, offers, number, now: self.now };
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

    /// Parts of a value are NULL together. Ranges begin in a slot of the row's own, so that they do not
    /// overlap.
    fn draw_wholes(&self, table: &Table, (number, attempt): (u64, u64), cells: &mut Cells, draw: &mut Draw) {
        for whole in &self.wholes {
            let of = &table.columns[whole.column];
            if !of.not_null && !self.bounds[whole.column].not_null && draw.unit() < NULLS {
                whole.parts().into_iter().for_each(|part| cells[part] = None);
                continue;
            }
            if let Some((lower, upper)) = whole.ends() {
                let span = self.span(&table.columns[lower].holds, number, attempt, draw);
                let Some((from, to)) = span else { continue };
                let open = self.open_ends.contains(&upper) && draw.unit() < NULLS;
                (cells[lower], cells[upper]) = (Some(from), (!open).then_some(to));
            }
        }
    }

    /// Where a range begins and ends. One that met others is tried behind one of them, or elsewhere.
    fn span(&self, of: &ColumnType, number: u64, attempt: u64, draw: &mut Draw) -> Option<(String, String)> {
        let one = draw.below(self.apart.len() as u64) as usize;
        let end = self.apart.get(one).filter(|_| attempt % 2 == 1).and_then(|apart| apart.an_end(draw));
        if let Some(end) = end {
            let text = |at: f64| if of.is_moment() { cell::written(of, at) } else { cell::numeral(of, at) };
            let length = if of.is_moment() { worth::DAY } else { 10.0 };
            return Some((text(end), text(end + length)));
        }
        cell::span(of, number + attempt * 37, self.now, draw)
    }

    fn own_value(
        &self,
        table: &Table,
        column: usize,
        (number, attempt): (u64, u64),
        draw: &mut Draw,
    ) -> Option<String> {
        let of = &table.columns[column];
        let (name, holds, bounds) = (of.name.as_str(), &of.holds, &self.bounds[column]);
        let (row, first) = (number, self.first[column]);
        if self.alone[column] {
            if attempt == 0 || self.promised[column] {
                return self.key_cell(column, number);
            }
            // What was taken is not tried again. Numbers without an end are never taken.
            let ends = bounds.choices.is_some() || bounds.most.is_some_and(|most| most < 1e9);
            let row = if ends { number.wrapping_add(attempt * 7_919) } else { number };
            let wish = Wish { name, holds, bounds, row, unique: true, first, now: self.now };
            return cell::value(&wish, draw);
        }
        let is_part = column >= self.real();
        if !is_part && !bounds.not_null && draw.unit() < NULLS {
            return None;
        }
        let wish = Wish { name, holds, bounds, row, unique: false, first: 0, now: self.now };
        cell::value(&wish, draw)
    }

    /// Fills references of the table to itself: to a row before, or to the row itself where NULL is not
    /// allowed.
    fn refer_to_itself(
        &mut self,
        table: &Table,
        number: u64,
        (cells, offers, pinned): (&mut Cells, &mut Cells, &mut [bool]),
        draw: &mut Draw,
    ) -> Option<()> {
        for (reference, parents) in table.references.iter().zip(&mut self.own) {
            let Some(parents) = parents else { continue };
            let must = reference.columns.iter().all(|column| table.columns[*column].not_null);
            // What may still change does not bind: a key brings its own.
            let given = reference.columns.iter().map(|column| {
                let bound = pinned[*column] || must || draw.below(2) == 0;
                cells[*column].clone().filter(|_| bound)
            });
            let given: Cells = given.collect();
            let of: Vec<Option<usize>> = reference.of.iter().map(|name| table.column(name)).collect();
            let own = || of.iter().map(|column| column.and_then(|column| cells[column].clone())).collect();
            let crowded = draw.below(2) == 0;
            let found = parents.some(&given, 1, crowded, draw).first().and_then(|at| parents.at(*at as u64));
            let found: Option<Vec<String>> = found.cloned();
            let mut chosen = found.clone();
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
                        pinned[*column] = true;
                    }
                }
                None if must => return None,
                // Where a condition wants one after all, it is one that agrees with what is given.
                None => {
                    let bound = |column: &usize| pinned[*column] || !table.columns[*column].not_null;
                    if let Some(found) = found.filter(|_| reference.columns.iter().all(bound)) {
                        for (column, value) in reference.columns.iter().zip(found) {
                            offers[*column] = Some(value);
                        }
                    }
                }
            }
        }
        Some(())
    }
}

fn is_reference(table: &Table, column: usize) -> bool {
    table.references.iter().any(|one| one.columns.contains(&column))
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

/// The same for an index over expressions, or over some of the rows; `None` also where only the server can
/// tell.
fn key_of_some(partial: &Partial, row: &Row<'_>) -> Option<Vec<String>> {
    if partial.when.as_ref().is_some_and(|when| when.worth(row) != Worth::Boolean(true)) {
        return None;
    }
    let values = partial.of.iter().map(|of| match of.worth(row) {
        Worth::Null if partial.nulls_equal => Some("\0".to_owned()),
        Worth::Null | Worth::Unknown => None,
        known => worth::text_of(&known).or_else(|| Some(format!("{known:?}"))),
    });
    values.collect()
}
