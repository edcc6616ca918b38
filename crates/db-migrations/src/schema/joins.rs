//! Which foreign keys `joinable!` says, by diesel's rule.

use std::collections::BTreeMap;

use super::{ForeignKey, Reference, Table};

/// A table by its schema and name.
pub(super) type Name<'a> = (Option<&'a str>, &'a str);

pub(super) fn name_of(table: &Table) -> Name<'_> {
    (table.schema.as_deref(), &table.name)
}

pub(super) fn other_of(key: &ForeignKey) -> Name<'_> {
    (key.schema.as_deref(), &key.table)
}

/// Two tables, whichever of them refers to the other.
pub(super) fn pair<'a>(one: Name<'a>, other: Name<'a>) -> [Name<'a>; 2] {
    if one <= other { [one, other] } else { [other, one] }
}

/// Of all foreign keys those that `joinable!` says.
///
/// They are of one column, refer to the primary key of another table of the same schema, and are the only
/// ones between the two tables. `primary_key` gives that of a table; none where it is not printed.
pub(super) fn joinable<'a>(
    keys: &[(Name<'a>, &'a ForeignKey)],
    primary_key: impl Fn(Name<'_>) -> Option<&'a [String]>,
) -> Vec<(Name<'a>, &'a ForeignKey)> {
    let mut between: BTreeMap<[Name<'_>; 2], usize> = BTreeMap::new();
    for (table, key) in keys {
        if table.0 == key.schema.as_deref() {
            *between.entry(pair(*table, other_of(key))).or_default() += 1;
        }
    }
    let is_joinable = |(table, key): &&(Name<'a>, &ForeignKey)| {
        let other = other_of(key);
        *table != other
            && between.get(&pair(*table, other)) == Some(&1)
            && key.columns.len() == 1
            && primary_key(*table).is_some()
            && primary_key(other) == Some(&key.other_columns)
    };
    keys.iter().filter(is_joinable).copied().collect()
}

/// Fills in what `joinable!` says of each table, also of partitions where they are printed.
pub(super) fn fill(tables: &mut [Table], with_partitions: bool) {
    let is_printed = |table: &&Table| table.is_printed() || (with_partitions && table.is_printed_partition());
    let found: Vec<(usize, Reference)> = {
        let primary_keys: BTreeMap<Name<'_>, &[String]> = tables
            .iter()
            .filter(is_printed)
            .map(|table| (name_of(table), table.primary_key.as_slice()))
            .collect();
        let keys: Vec<_> = tables
            .iter()
            .flat_map(|table| table.foreign_keys.iter().map(move |key| (name_of(table), key)))
            .filter(|(_, key)| with_partitions || !key.is_inherited)
            .collect();
        let places: BTreeMap<Name<'_>, usize> =
            tables.iter().enumerate().map(|(place, table)| (name_of(table), place)).collect();
        let said = joinable(&keys, |name| primary_keys.get(&name).copied());
        let reference = |(name, key): (Name<'_>, &ForeignKey)| {
            let column = key.columns.first()?.clone();
            let (schema, table, constraint) = (key.schema.clone(), key.table.clone(), Some(key.name.clone()));
            Some((*places.get(&name)?, Reference { column, schema, table, constraint }))
        };
        said.into_iter().filter_map(reference).collect()
    };
    tables.iter_mut().for_each(|table| table.references.clear());
    for (place, reference) in found {
        if let Some(table) = tables.get_mut(place) {
            table.references.push(reference);
        }
    }
}
