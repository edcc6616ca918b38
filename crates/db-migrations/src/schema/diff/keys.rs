//! Which foreign keys go and come on the way to `schema.rs`, which knows those alone that `joinable!` says.

use std::collections::BTreeSet;

use super::{find, full_name, has_type_of, named};
use crate::schema::joins::{Name, joinable, name_of, other_of, pair};
use crate::schema::sql_name::quoted;
use crate::schema::{ForeignKey, Reference, Schema, Table};

/// A foreign key with its table.
type Key<'a> = (&'a Table, &'a ForeignKey);

/// What happens to foreign keys.
#[derive(Default)]
pub(super) struct Keys<'a> {
    /// They go before anything else.
    pub(super) dropped: Vec<Key<'a>>,
    /// They come back when the columns are what they must be.
    pub(super) restored: Vec<Key<'a>>,
    /// They are new: in `schema.rs`, with their table there.
    pub(super) added: Vec<(&'a Table, &'a Reference)>,
    /// They go by themselves, with a column.
    pub(super) lost_with_a_column: Vec<Key<'a>>,
}

/// What becomes of a foreign key by what happens to tables and columns.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Stays,
    /// It is in the way of a change and comes back behind it.
    Restored,
    /// It must go before the change.
    Dropped,
    GoesWithItsTable,
    GoesWithItsColumn,
}

pub(super) fn plan<'a>(live: &'a Schema, wanted: &'a Schema) -> Keys<'a> {
    let mut keys = Keys::default();
    let mut after: Vec<(Key<'a>, Fate)> = Vec::new();
    for table in &live.tables {
        for key in table.foreign_keys.iter().filter(|key| !key.is_inherited) {
            match fate(table, key, live, wanted) {
                Fate::GoesWithItsTable => {}
                Fate::GoesWithItsColumn => keys.lost_with_a_column.push((table, key)),
                Fate::Dropped => keys.dropped.push((table, key)),
                fate => after.push(((table, key), fate)),
            }
        }
    }
    let primary_key =
        |(schema, name): Name<'_>| wanted.table(schema, name).map(|table| table.primary_key.as_slice());
    let said = |after: &[(Key<'a>, Fate)]| -> Vec<(Name<'a>, &'a ForeignKey)> {
        let keys: Vec<_> = after.iter().map(|((table, key), _)| (name_of(table), *key)).collect();
        joinable(&keys, primary_key)
    };
    let is_wanted = |(table, key): &(Name<'_>, &ForeignKey)| {
        let table = wanted.table(table.0, table.1);
        table.is_some_and(|table| table.references.iter().any(|one| is_same(one, key)))
    };
    // Where one of two goes, the other is said.
    loop {
        let excess = said(&after).into_iter().find(|one| !is_wanted(one));
        let Some((name, key)) = excess else { break };
        remove(&mut after, &mut keys, |table, other| name_of(table) == name && other.name == key.name);
    }
    for table in wanted.tables.iter().filter(|table| find(live, table).is_none_or(Table::is_printed)) {
        for one in &table.references {
            let is_it = |(name, key): &(Name<'_>, &ForeignKey)| *name == name_of(table) && is_same(one, key);
            if said(&after).iter().any(is_it) {
                continue;
            }
            // No other may be between the two.
            let both = pair(name_of(table), (one.schema.as_deref(), &one.table));
            let key_of_other = primary_key((one.schema.as_deref(), &one.table));
            let mut is_there = false;
            remove(&mut after, &mut keys, |from, key| {
                let is_right = name_of(from) == name_of(table)
                    && is_same(one, key)
                    && key_of_other == Some(&key.other_columns)
                    && !is_there;
                is_there |= is_right;
                !is_right && pair(name_of(from), other_of(key)) == both
            });
            if !is_there {
                keys.added.push((table, one));
            }
        }
    }
    for (key, fate) in after {
        if fate == Fate::Restored {
            keys.dropped.push(key);
            keys.restored.push(key);
        }
    }
    keys
}

/// Takes foreign keys out of those that stay.
fn remove<'a>(
    after: &mut Vec<(Key<'a>, Fate)>,
    keys: &mut Keys<'a>,
    mut is_meant: impl FnMut(&Table, &ForeignKey) -> bool,
) {
    after.retain(|((table, key), _)| {
        let goes = is_meant(table, key);
        if goes {
            keys.dropped.push((table, key));
        }
        !goes
    });
}

fn fate(table: &Table, key: &ForeignKey, live: &Schema, wanted: &Schema) -> Fate {
    let is_gone = |table: &Table| table.is_printed() && find(wanted, table).is_none();
    let other = live.table(key.schema.as_deref(), &key.table);
    let is_other_gone = other.is_some_and(is_gone);
    let (new, new_other) = (find(wanted, table), wanted.table(key.schema.as_deref(), &key.table));
    // What schema.rs does not have stays as it is.
    let lacks = |table: Option<&Table>, columns: &[String]| {
        table.is_some_and(|table| columns.iter().any(|column| table.column(column).is_none()))
    };
    let old_key = other.map(|other| other.primary_key.as_slice()).unwrap_or_default();
    let loses_its_key = old_key == key.other_columns
        && (is_other_gone || new_other.is_some_and(|new| new.primary_key != old_key));
    let changes = |old: Option<&Table>, new: Option<&Table>, column: &String| {
        let (old, new) = (old.and_then(|old| old.column(column)), new.and_then(|new| new.column(column)));
        old.zip(new).is_some_and(|(old, new)| !has_type_of(old, new))
    };
    let other_changes = key.other_columns.iter().any(|column| changes(other, new_other, column));
    let is_in_the_way = loses_its_key || other_changes || lacks(new_other, &key.other_columns);
    if is_gone(table) {
        // What refers to a table that stays must not be in the way of its changes.
        return if is_in_the_way && !is_other_gone { Fate::Dropped } else { Fate::GoesWithItsTable };
    }
    if lacks(new, &key.columns) {
        return if is_in_the_way || is_other_gone { Fate::Dropped } else { Fate::GoesWithItsColumn };
    }
    if is_other_gone || loses_its_key || lacks(new_other, &key.other_columns) {
        return Fate::Dropped;
    }
    if !other_changes && !key.columns.iter().any(|column| changes(Some(table), new, column)) {
        return Fate::Stays;
    }
    let type_of = |old: Option<&Table>, new: Option<&Table>, column: &String| {
        let column = new.or(old).and_then(|table| table.column(column));
        column.map(|column| (column.sql_type.clone(), column.type_schema.clone()))
    };
    let fits =
        key.columns.iter().zip(&key.other_columns).all(|(column, of_other)| {
            type_of(Some(table), new, column) == type_of(other, new_other, of_other)
        });
    if fits { Fate::Restored } else { Fate::Dropped }
}

fn is_same(one: &Reference, key: &ForeignKey) -> bool {
    key.columns == [one.column.as_str()] && (&one.schema, &one.table) == (&key.schema, &key.table)
}

pub(super) fn drop(table: &Table, key: &ForeignKey) -> String {
    format!("ALTER TABLE {} DROP CONSTRAINT {};", full_name(table), quoted(&key.name))
}

pub(super) fn restore(table: &Table, key: &ForeignKey) -> String {
    format!("ALTER TABLE {} ADD CONSTRAINT {} {};", full_name(table), quoted(&key.name), key.definition)
}

/// What foreign keys refer to beside primary keys, where it goes and `down` must make it again.
pub(super) fn unique(keys: &[Key<'_>], live: &Schema, wanted: &Schema) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for (_, key) in keys {
        let Some(other) = live.table(key.schema.as_deref(), &key.table) else { continue };
        let goes = match find(wanted, other) {
            Some(new) => key.other_columns.iter().any(|column| new.column(column).is_none()),
            None => other.is_printed(),
        };
        if goes && other.primary_key != key.other_columns {
            let columns: Vec<_> = key.other_columns.iter().map(|column| quoted(column)).collect();
            all.insert(format!("ALTER TABLE {} ADD UNIQUE ({});", full_name(other), columns.join(", ")));
        }
    }
    all
}

pub(super) fn drop_added(table: &Table, one: &Reference, live: &Schema) -> String {
    format!("ALTER TABLE {} DROP CONSTRAINT {};", full_name(table), quoted(&name_of_new(table, one, live)))
}

/// Nothing where `schema.rs` does not have the other table.
pub(super) fn add(table: &Table, one: &Reference, live: &Schema, wanted: &Schema) -> Option<String> {
    let other = wanted.table(one.schema.as_deref(), &one.table)?;
    Some(format!(
        "ALTER TABLE {} ADD CONSTRAINT {} FOREIGN KEY ({}) REFERENCES {};",
        full_name(table),
        quoted(&name_of_new(table, one, live)),
        quoted(&one.column),
        named(name_of(other))
    ))
}

/// The name that the server would choose.
fn name_of_new(table: &Table, one: &Reference, live: &Schema) -> String {
    let plain = format!("{}_{}_fkey", table.name, one.column);
    let is_taken = |name: &String| {
        find(live, table).is_some_and(|old| old.foreign_keys.iter().any(|key| key.name == *name))
    };
    let names = std::iter::once(plain.clone()).chain((1_u32..).map(|number| format!("{plain}{number}")));
    let mut free = names.filter(|name| !is_taken(name));
    free.next().unwrap_or(plain)
}
