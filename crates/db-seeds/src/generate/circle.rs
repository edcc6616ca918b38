//! Keys of tables that refer to each other in a circle: each table needs keys of the other before either has
//! rows.
//!
//! A key that is told by its row alone can be promised. A part of a key that is itself a reference within the
//! circle is told by the row that it refers to: then all references go in step, row by row.

use super::catalog::{Reference, Table};
use super::rows::Rows;

/// The tables of a circle, by their places in the catalog.
pub(super) struct Circle<'a> {
    pub(super) places: &'a [usize],
    pub(super) tables: &'a [&'a Table],
    /// References that are filled in when all tables have rows.
    pub(super) late: &'a [(usize, usize)],
}

/// The keys that a reference within a circle may have.
pub(super) struct Promise {
    /// Which table of the circle refers, and by which of its references.
    pub(super) of: (usize, usize),
    /// A key for each row.
    pub(super) keys: Vec<Vec<String>>,
}

impl Circle<'_> {
    /// Promises so many keys for each reference within the circle, and says whether rows must go in step.
    ///
    /// # Errors
    /// The place of a table for which none can be promised.
    pub(super) fn promises(&self, makers: &mut [Rows], count: u64) -> Result<(Vec<Promise>, bool), usize> {
        let (mut promises, mut in_step) = (Vec::new(), false);
        for place in 0..self.tables.len() {
            for (number, reference) in self.tables[place].references.iter().enumerate() {
                let Some(other) = self.within(place, number, reference).filter(|other| *other != place)
                else {
                    continue;
                };
                let sources = reference.of.iter().map(|name| {
                    let column = self.tables[other].column(name)?;
                    let source = self.source(other, column)?;
                    in_step |= source != (other, column) || self.is_reference(other, column);
                    Some(source)
                });
                let sources: Option<Vec<(usize, usize)>> = sources.collect();
                for (table, column) in sources.iter().flatten() {
                    makers[*table].promise(*column);
                }
                let key = |row| {
                    let each = sources.iter().flatten();
                    each.map(|(table, column)| makers[*table].promised_cell(*column, row))
                        .collect::<Option<Vec<_>>>()
                };
                let keys: Option<Vec<_>> = (0..count).map(key).collect();
                let keys = keys.filter(|_| sources.is_some()).ok_or(place)?;
                promises.push(Promise { of: (place, number), keys });
            }
        }
        Ok((promises, in_step))
    }

    /// The table of the circle that a reference leads to; none for one that leads out of it or comes later.
    fn within(&self, place: usize, number: usize, reference: &Reference) -> Option<usize> {
        let is_late = self.late.contains(&(self.places[place], number));
        self.places.iter().position(|at| *at == reference.table).filter(|_| !is_late)
    }

    fn is_reference(&self, place: usize, column: usize) -> bool {
        self.tables[place].references.iter().any(|one| one.columns.contains(&column))
    }

    /// The table and the column by whose own values, or by whose reference to a table outside, a column is
    /// told.
    fn source(&self, place: usize, column: usize) -> Option<(usize, usize)> {
        let mut way = vec![(place, column)];
        loop {
            let &(place, column) = way.last()?;
            let mut next = None;
            for (number, reference) in self.tables[place].references.iter().enumerate() {
                let Some(at) = reference.columns.iter().position(|one| *one == column) else { continue };
                let other = self.within(place, number, reference).filter(|other| *other != place);
                let Some(other) = other else { continue };
                next = next.or(Some((other, self.tables[other].column(&reference.of[at])?)));
            }
            let Some(next) = next else { return Some((place, column)) };
            if let Some(begin) = way.iter().position(|one| *one == next) {
                // Columns that are each other's: the one that is a key by itself tells the others.
                let is_key = |(place, column): &(usize, usize)| {
                    self.tables[*place].uniques.iter().any(|unique| unique.columns == [*column])
                };
                return way[begin..].iter().min_by_key(|one| (!is_key(one), **one)).copied();
            }
            way.push(next);
        }
    }
}
