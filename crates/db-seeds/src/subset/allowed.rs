//! Masked values that the conditions of their columns allow.
//!
//! A key is masked by its value alone, so that what refers to it is masked alike: of its own conditions those
//! on that column count. A value that nothing refers to may also be changed until the conditions over several
//! columns hold.

use std::collections::HashMap;

use super::Cells;
use super::mask::{Secret, in_format};
use crate::draw::Draw;
use crate::generate::bounds::{self, Bounds};
use crate::generate::catalog::{Catalog, Table};
use crate::generate::cell::{self, Wish};
use crate::generate::column_type::ColumnType;
use crate::generate::expression::Expression;
use crate::generate::repair::Row;
use crate::generate::worth::Worth;

/// How often a value is drawn until the column allows it.
const TRIES: u64 = 60;

/// Noon on 2025-06-01, for conditions that name the present: masks must not change from day to day.
const NOW: i64 = 1_748_779_200_000_000;

/// The conditions of tables with masked columns.
pub(super) struct Allowed<'a> {
    catalog: &'a Catalog,
    secret: &'a Secret,
    bounds: HashMap<usize, Vec<Bounds>>,
}

impl<'a> Allowed<'a> {
    pub(super) fn new(catalog: &'a Catalog, secret: &'a Secret) -> Self {
        let bounds = catalog.tables.iter().enumerate().map(|(at, table)| (at, bounds::of(table, NOW)));
        Allowed { catalog, secret, bounds: bounds.collect() }
    }

    /// The masked value, or another one where the column does not allow it; `None` where none was found.
    pub(super) fn value(&self, (at, column): (usize, usize), value: &str, masked: String) -> Option<String> {
        let (of, bounds) = (&self.catalog.tables[at].columns[column], self.bounds.get(&at)?.get(column)?);
        if !matches!(of.holds, ColumnType::Text(..)) {
            return Some(masked);
        }
        let is = |text: &str| {
            let chosen = bounds.choices.as_ref().is_none_or(|choices| choices.iter().any(|one| one == text));
            chosen && bounds.allows(text)
        };
        // What was no value of the column before is the schema's affair.
        if is(&masked) || !is(value) {
            return Some(masked);
        }
        let mut draw = self.secret.draw(value);
        let near = [in_format(value, &mut draw), masked.to_lowercase(), masked.to_uppercase()];
        let drawn = (0..TRIES).filter_map(|row| {
            let (name, holds) = (of.name.as_str(), &of.holds);
            let wish = Wish { name, holds, bounds, row, unique: false, first: 0, now: NOW };
            cell::value(&wish, &mut draw)
        });
        near.into_iter().chain(drawn).find(|text| text != value && is(text))
    }

    /// Changes masked values that nothing refers to until the conditions hold that held before. Returns the
    /// columns of one that does not.
    pub(super) fn mend(
        &self,
        at: usize,
        masked: &[usize],
        before: &Cells,
        cells: &mut Cells,
    ) -> Result<(), String> {
        let table = &self.catalog.tables[at];
        let Some(bounds) = self.bounds.get(&at) else { return Ok(()) };
        let count = table.columns.len();
        let row = |cells: Cells| Row {
            table,
            bounds,
            cells,
            pinned: (0..count)
                .map(|column| !masked.contains(&column) || self.is_joined(at, column))
                .collect(),
            offers: vec![None; count],
            number: 0,
            now: NOW,
        };
        let old = row(before.clone());
        let held = |check: &&Expression| check.worth(&old) != Worth::Boolean(false);
        let conditions: Vec<&Expression> = table.checks.iter().filter(held).collect();
        let mut new = row(std::mem::take(cells));
        let first = masked.iter().find_map(|column| before[*column].as_deref()).unwrap_or_default();
        let mut draw: Draw = self.secret.draw(first);
        let broken = new.repair(&conditions, &mut draw);
        *cells = new.cells;
        broken.map_or(Ok(()), |condition| Err(condition.columns().join(", ")))
    }

    /// Whether the column refers to another one, or is referred to.
    fn is_joined(&self, at: usize, column: usize) -> bool {
        let (table, tables) = (&self.catalog.tables[at], &self.catalog.tables);
        let name = &table.columns[column].name;
        let refers = table.references.iter().any(|reference| reference.columns.contains(&column));
        let all = || tables.iter().flat_map(|table| &table.references);
        refers || all().any(|reference| reference.table == at && reference.of.contains(name))
    }

    /// Whether a short text of this column is a code, and no copy of what somebody is called.
    pub(super) fn is_code(&self, at: usize, column: usize) -> bool {
        let table = &self.catalog.tables[at];
        let name = &table.columns[column].name;
        is_key(table, column) || table.checks.iter().any(|check| check.columns().contains(&name.as_str()))
    }
}

fn is_key(table: &Table, column: usize) -> bool {
    table.uniques.iter().any(|unique| unique.columns.contains(&column))
        || table.spread.contains(&column)
        || table.references.iter().any(|reference| reference.columns.contains(&column))
}
