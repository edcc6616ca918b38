//! Fills tables that refer to each other in a circle without a NULL in it: by one statement, at whose end the
//! server checks the references.

use std::collections::BTreeSet;

use super::catalog::Table;
use super::circle::{Circle, Promise};
use super::fill::{BATCH, Fill};
use super::filled::Filled;
use super::order::Order;
use super::rows::{Cells, Rows};
use super::stage::{self, Stage};
use crate::apply::Progress;
use crate::error::Result;

/// After so many refusals of single rows the rest is left out.
const MOST_REFUSALS: u32 = 100;

/// What became of a circle: the rows that each table got, and why some got fewer.
type Outcome = (Vec<u64>, Option<String>);

impl<P: FnMut(Progress<'_>)> Fill<'_, P> {
    /// Fills the tables of a circle. Where rows that refer across each other are refused, rows go in step:
    /// those of one number refer to each other and to no others, so that one that is refused costs no other.
    pub(super) async fn circle(&mut self, group: &[usize], order: &Order) -> Result<Vec<Filled>> {
        let tables: Vec<&Table> = group.iter().map(|at| &self.catalog.tables[*at]).collect();
        let mut filled: Vec<Filled> = tables
            .iter()
            .map(|table| Filled {
                table: format!("{}.{}", table.schema, table.name),
                wanted: self.wanted(table),
                rows: 0,
                short: None,
            })
            .collect();
        let count =
            filled.iter().map(|one| one.wanted).filter(|wanted| *wanted > 0).min().unwrap_or(0).min(BATCH);
        if count == 0 {
            return Ok(filled);
        }
        let mut short = None;
        for in_step in [false, true] {
            let (rows, said) = self.turn(&tables, group, order, count, in_step).await?;
            short = said;
            if rows.iter().all(|rows| *rows > 0) {
                filled.iter_mut().zip(rows).for_each(|(one, rows)| one.rows = rows);
                break;
            }
        }
        for one in &mut filled {
            if one.rows < one.wanted {
                one.short = Some(short.clone().unwrap_or_else(|| {
                    format!("tables that refer to each other in a circle get {} rows each", one.rows)
                }));
            }
            (self.progress)(Progress { table: &one.table, rows_done: one.rows, rows_total: one.wanted });
        }
        Ok(filled)
    }

    async fn turn(
        &mut self,
        tables: &[&Table],
        group: &[usize],
        order: &Order,
        count: u64,
        mut in_step: bool,
    ) -> Result<Outcome> {
        let nothing = |said: String| Ok((vec![0; tables.len()], Some(said)));
        let name = |place: usize| format!("{}.{}", tables[place].schema, tables[place].name);
        let mut makers = Vec::new();
        for at in group {
            makers.push(self.rows(*at, order, group).await?);
        }
        if let Some(impossible) = makers.iter().find_map(Rows::impossible) {
            return nothing(impossible);
        }
        match (Circle { places: group, tables, late: &order.late }).promises(&mut makers, count) {
            Ok((promises, step)) => {
                in_step |= step;
                for Promise { of: (place, number), keys } in promises {
                    makers[place].refer(number, keys, in_step);
                }
            }
            Err(place) => {
                return nothing(format!("{} and others refer to each other in a circle", name(place)));
            }
        }
        let mut short = None;
        let mut made: Vec<Vec<Cells>> = vec![Vec::new(); makers.len()];
        for row in 0..count {
            let rows: Vec<Option<Cells>> = makers.iter_mut().map(|maker| maker.make(row)).collect();
            if let Some(place) = rows.iter().position(Option::is_none) {
                let said = format!("{}: {}", name(place), makers[place].why_short());
                // In step nobody refers to a row that is missing in one of the tables.
                if !in_step {
                    return nothing(said);
                }
                short = Some(said);
                continue;
            }
            made.iter_mut().zip(rows).for_each(|(made, row)| made.extend(row));
        }
        let count = made.first().map_or(0, Vec::len);
        let (mut stages, mut left_out) = (Vec::new(), BTreeSet::new());
        for ((maker, table), rows) in makers.iter().zip(tables).zip(made) {
            self.stages += 1;
            match Stage::new(self.transaction, table, &maker.columns(), &rows, self.stages).await? {
                Ok(stage) => {
                    left_out.extend(self.with_path(stage.refused(self.transaction)).await?);
                    stages.push(stage);
                }
                Err(said) => return nothing(said),
            }
        }
        if !left_out.is_empty() && !in_step {
            return nothing("conditions refuse some of them".to_owned());
        }
        let (rows, said) = self.move_rows(&stages, count, in_step, &left_out).await?;
        Ok((rows, said.or(short)))
    }

    async fn move_rows(
        &mut self,
        stages: &[Stage<'_>],
        count: usize,
        in_step: bool,
        left_out: &BTreeSet<i64>,
    ) -> Result<Outcome> {
        let (mut rows, mut refused, mut refusals) = (vec![0; stages.len()], None, 0);
        let mut open = vec![(0, count)];
        while let Some((from, to)) = open.pop() {
            let inserts = stages.iter().enumerate().map(|(number, stage)| {
                format!("i{number} AS ({} RETURNING 1)", stage.insert_all_but(from, to, left_out))
            });
            let inserts: Vec<String> = inserts.collect();
            let counts: Vec<String> =
                (0..stages.len()).map(|number| format!("(SELECT count(*) FROM i{number})")).collect();
            let statement = format!("WITH {} SELECT {}", inserts.join(", "), counts.join(", "));
            let inserted = stage::attempt(self.transaction, self.transaction.query_one(&statement, &[]));
            match self.with_path(inserted).await? {
                Ok(row) => {
                    for (number, rows) in rows.iter_mut().enumerate() {
                        *rows += u64::try_from(row.get::<_, i64>(number)).unwrap_or_default();
                    }
                }
                Err(said) => {
                    refused = Some(format!("the server refused them: {said}"));
                    refusals += u32::from(to - from == 1);
                    if !in_step || refusals > MOST_REFUSALS {
                        break;
                    }
                    if to - from > 1 {
                        let middle = from + (to - from) / 2;
                        open.extend([(middle, to), (from, middle)]);
                    }
                }
            }
        }
        Ok((rows, refused))
    }
}
