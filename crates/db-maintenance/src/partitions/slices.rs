//! The partitions of a set by time, with their ranges, in order.

use super::bound::{Bounds, Datum};
use super::catalog::{Child, Table};
use super::cover::{Edge, Grid, Point, Range};
use super::key::Key;
use super::policy::SetPolicy;
use crate::error::{MaintenanceError, Result};

/// A partition of a set by time.
pub(crate) struct Slice<'a> {
    pub(crate) child: &'a Child,
    pub(crate) range: Range,
}

/// The key's column and what it holds.
pub(crate) fn key_of(table: &Table, policy: &SetPolicy) -> Result<(String, Key)> {
    let refused = |why: String| MaintenanceError::refused("upkeep", why);
    let (column, type_name) = table.key.as_ref().filter(|_| table.key_columns == 1).ok_or_else(|| {
        refused(
            "its key is an expression or has several columns: a range of time goes by one column".to_owned(),
        )
    })?;
    Ok((column.clone(), Key::of(type_name, policy.epoch).map_err(refused)?))
}

/// The partitions with their ranges, in order; the default one and those that are going have none.
pub(crate) fn slices<'a>(children: &'a [Child], grid: &Grid) -> Result<Vec<Slice<'a>>> {
    let mut slices = Vec::new();
    for child in children.iter().filter(|child| !child.is_pending) {
        let not_read = || {
            MaintenanceError::refused("upkeep", format!("the bounds of {} are not understood", child.name))
        };
        let edge = |datum: &Datum| {
            Ok::<Edge, MaintenanceError>(match datum {
                Datum::Lowest => Edge::Lowest,
                Datum::Highest => Edge::Highest,
                Datum::Value(text) => {
                    let at = grid.key.time(text, grid.zone).ok_or_else(not_read)?;
                    Edge::At(Point { at, text: text.clone() })
                }
            })
        };
        match child.bounds.as_ref().ok_or_else(not_read)? {
            Bounds::Range(from, to) => {
                let (Some(from), Some(to)) = (from.first(), to.first()) else { return Err(not_read()) };
                slices.push(Slice { child, range: Range { from: edge(from)?, to: edge(to)? } });
            }
            Bounds::Default => {}
            _ => return Err(not_read()),
        }
    }
    slices.sort_by(|one, other| one.range.from.cmp(&other.range.from));
    Ok(slices)
}

/// The sibling that a new partition takes after: the newest one of the set's own owner. What another role
/// owns is no model.
pub(crate) fn newest<'a>(slices: &[Slice<'a>], owner: &str) -> Option<&'a Child> {
    let own = |slice: &&Slice<'_>| slice.child.owner == owner && !slice.child.is_partitioned;
    slices.iter().rev().find(own).map(|slice| slice.child)
}
