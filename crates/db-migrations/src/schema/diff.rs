//! Writes the migration that leads from a database's tables to those of `schema.rs`, and back.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::joins::{Name, name_of};
use super::sql_name::{quoted, sql_type};
use super::{Column, ForeignKey, Schema, Table, TableKind};

mod keys;

/// The two files of a migration.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct SchemaDiff {
    /// Makes the database's tables those of `schema.rs`.
    pub up: String,
    /// Brings the tables back, without the data of what was dropped.
    pub down: String,
}

impl SchemaDiff {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.up.is_empty()
    }
}

/// The migration from `live` to `wanted`.
///
/// `schema.rs` knows tables, columns, types, nullability, keys and joins; defaults, checks, indexes and
/// triggers it does not, so read what was written before you run it. A renamed column is one dropped and one
/// added. What `schema.rs` does not have is left alone: views, partitions, tables without a primary key, and
/// those of extensions.
pub fn difference(live: &Schema, wanted: &Schema) -> SchemaDiff {
    let mut script = Script::default();
    schemas_and_types(live, wanted, &mut script);
    let keys = keys::plan(live, wanted);
    for (table, key) in &keys.dropped {
        script.up.push(keys::drop(table, key));
    }
    let mut new = Vec::new();
    for table in &wanted.tables {
        match find(live, table) {
            None => {
                script.up.push(create(table));
                new.push(full_name(table));
            }
            Some(old) => match old.kind {
                TableKind::View => script.up.extend(another_view(old, table)),
                TableKind::Partition | TableKind::Kept => {}
                TableKind::Table => change(old, table, &mut script),
            },
        }
    }
    if !new.is_empty() {
        // In one statement, whichever refers to which.
        script.down.push(format!("DROP TABLE {};", new.join(", ")));
    }
    let gone: Vec<&Table> =
        live.tables.iter().filter(|table| table.is_printed() && find(wanted, table).is_none()).collect();
    if !gone.is_empty() {
        let names: Vec<String> = gone.iter().map(|table| full_name(table)).collect();
        script.up.push(format!("-- Every row goes with it.\nDROP TABLE {};", names.join(", ")));
        script.down.extend(gone.iter().rev().map(|table| create(table)));
    }
    for (table, reference) in &keys.added {
        script.up.extend(keys::add(table, reference, live, wanted));
        // With a new table it goes by itself.
        if find(live, table).is_some() {
            script.down.push(keys::drop_added(table, reference, live));
        }
    }
    script.up.extend(keys.restored.iter().map(|(table, key)| keys::restore(table, key)));
    script.down.extend(keys.restored.iter().map(|(table, key)| keys::drop(table, key)));
    script.down.reverse();
    // What comes back last: keys, when all tables and columns are there again.
    let is_lost = |(table, key): &(&Table, &ForeignKey)| {
        !key.is_inherited
            && !keys.dropped.iter().any(|(other, one)| (*one, name_of(other)) == (*key, name_of(table)))
    };
    let lost = gone.iter().flat_map(|table| table.foreign_keys.iter().map(move |key| (*table, key)));
    let back = keys
        .dropped
        .iter()
        .copied()
        .chain(lost.filter(is_lost))
        .chain(keys.lost_with_a_column.iter().copied());
    let back: Vec<_> = back.collect();
    script.down.extend(keys::unique(&back, live, wanted));
    script.down.extend(back.into_iter().map(|(table, key)| keys::restore(table, key)));
    let text = |parts: Vec<String>| parts.into_iter().map(|part| part + "\n").collect();
    SchemaDiff { up: text(script.up), down: text(script.down) }
}

/// What is to be written; `down` from its end to its beginning.
#[derive(Default)]
struct Script {
    up: Vec<String>,
    down: Vec<String>,
}

fn find<'a>(schema: &'a Schema, table: &Table) -> Option<&'a Table> {
    schema.table(table.schema.as_deref(), &table.name)
}

fn schemas_and_types(live: &Schema, wanted: &Schema, script: &mut Script) {
    let named = wanted.tables.iter().filter_map(|table| table.schema.as_ref());
    let named: BTreeSet<&String> = named.filter(|name| !live.schemas.contains(name)).collect();
    for name in named.into_iter().map(|name| quoted(name)) {
        script.up.push(format!("CREATE SCHEMA {name};"));
        script.down.push(format!("DROP SCHEMA {name};"));
    }
    let new = wanted.own_types.iter().filter(|one| !live.own_types.contains(one));
    let mut seen = BTreeSet::new();
    for one in new {
        let schema = one.schema.iter().map(|schema| quoted(schema) + ".").collect::<String>();
        let name = schema + &quoted(&one.name);
        if seen.insert(name.clone()) {
            script.up.push(format!("-- schema.rs does not know its values.\nCREATE TYPE {name} AS ENUM ();"));
            script.down.push(format!("DROP TYPE {name};"));
        }
    }
}

/// What is said where `schema.rs` has a view otherwise than it is.
fn another_view(view: &Table, wanted: &Table) -> Option<String> {
    let names = |table: &Table| table.columns.iter().map(|column| column.name.clone()).collect::<Vec<_>>();
    (names(view) != names(wanted)).then(|| {
        format!(
            "-- {} is a view with other columns: write CREATE OR REPLACE VIEW by hand.",
            full_name(wanted)
        )
    })
}

fn change(old: &Table, new: &Table, script: &mut Script) {
    let name = full_name(new);
    // A column of the key cannot become nullable: the key goes first, and comes back last.
    let ([dropped, added], [dropped_again, added_again]) = (primary_key(old, new), primary_key(new, old));
    script.up.extend(dropped);
    script.down.extend(added_again);
    for column in &new.columns {
        match old.column(&column.name) {
            Some(before) => change_column(&name, before, column, script),
            None => {
                script.up.push(add(&name, column));
                script.down.push(format!("ALTER TABLE {name} DROP COLUMN {};", quoted(&column.name)));
            }
        }
    }
    for column in old.columns.iter().filter(|column| new.column(&column.name).is_none()) {
        let quoted = quoted(&column.name);
        script.up.push(format!("-- Its values go with it.\nALTER TABLE {name} DROP COLUMN {quoted};"));
        script.down.push(add(&name, column));
    }
    script.up.extend(added);
    script.down.extend(dropped_again);
}

fn change_column(table: &str, before: &Column, column: &Column, script: &mut Script) {
    let place = format!("ALTER TABLE {table} ALTER COLUMN {}", quoted(&column.name));
    if !has_type_of(before, column) {
        let is_cast = is_cast_at_once(before, column);
        // Neither a default nor an identity follows to every type.
        if before.is_identity && !INTEGERS.contains(&column.sql_type.as_str()) {
            script.up.push(format!("{place} DROP IDENTITY;"));
            script
                .down
                .push(format!("-- It was an identity.\n{place} ADD GENERATED BY DEFAULT AS IDENTITY;"));
        }
        if let Some(default) = before.default.as_ref().filter(|_| !is_cast) {
            script.up.push(format!("-- It was {default}.\n{place} DROP DEFAULT;"));
            script.down.push(format!("{place} SET DEFAULT {default};"));
        }
        script.up.push(to_type(&place, before, column));
        script.down.push(to_type(&place, column, before));
    }
    let null = |nullable: bool| format!("{place} {} NOT NULL;", if nullable { "DROP" } else { "SET" });
    if before.is_filled_by_domain && !has_type_of(before, column) {
        // What the domain said goes with it.
        script.up.push(null(column.nullable));
        script.down.push(null(true));
    } else if before.nullable != column.nullable {
        script.up.push(null(column.nullable));
        script.down.push(null(before.nullable));
    }
}

fn to_type(place: &str, from: &Column, to: &Column) -> String {
    let (sql_type, name) = (declared(to), quoted(&to.name));
    let is_text = |column: &Column| STRINGS.contains(&column.sql_type.as_str());
    let by_text = if is_cast_at_once(from, to) || is_text(from) || is_text(to) { "" } else { "::text" };
    format!("{place} TYPE {sql_type} USING {name}{by_text}::{sql_type};")
}

/// Whether a column of a database has the type that `schema.rs` says.
fn has_type_of(live: &Column, wanted: &Column) -> bool {
    // An extension's type is the same in whatever schema.
    let is_same_schema = live.type_schema == wanted.type_schema || live.sql_type.starts_with("citext");
    live.sql_type == wanted.sql_type
        && is_same_schema
        && live.max_length == wanted.max_length
        && !(live.is_filled_by_domain && wanted.nullable)
}

const INTEGERS: [&str; 3] = ["int2", "int4", "int8"];

const STRINGS: [&str; 3] = ["text", "varchar", "bpchar"];

/// Whether the server casts the one type to the other; by way of text it casts each to each.
fn is_cast_at_once(one: &Column, other: &Column) -> bool {
    const KINDS: [&[&str]; 4] = [
        &["int2", "int4", "int8", "float4", "float8", "numeric"],
        &STRINGS,
        &["date", "timestamp", "timestamptz"],
        &["json", "jsonb"],
    ];
    if one.sql_type.ends_with("[]") != other.sql_type.ends_with("[]") {
        return false;
    }
    let (one, other) = (one.sql_type.trim_end_matches("[]"), other.sql_type.trim_end_matches("[]"));
    one == other || KINDS.iter().any(|kind| kind.contains(&one) && kind.contains(&other))
}

/// What drops the one key and adds the other, where they differ.
fn primary_key(old: &Table, new: &Table) -> [Option<String>; 2] {
    if old.primary_key == new.primary_key {
        return [None, None];
    }
    let name = full_name(new);
    let constraint = old.primary_key_name.clone().unwrap_or_else(|| format!("{}_pkey", old.name));
    let dropped = (!old.primary_key.is_empty())
        .then(|| format!("ALTER TABLE {name} DROP CONSTRAINT {};", quoted(&constraint)));
    let key: Vec<_> = new.primary_key.iter().map(|column| quoted(column)).collect();
    let added =
        (!key.is_empty()).then(|| format!("ALTER TABLE {name} ADD PRIMARY KEY ({});", key.join(", ")));
    [dropped, added]
}

fn add(table: &str, column: &Column) -> String {
    let mut sql = String::new();
    if !column.nullable && column.default.is_none() {
        sql.push_str("-- Fails where the table has rows: give it a DEFAULT.\n");
    }
    sql + &format!("ALTER TABLE {table} ADD COLUMN {};", definition(column))
}

fn create(table: &Table) -> String {
    let mut sql = format!("CREATE TABLE {} (", full_name(table));
    let columns: Vec<String> = table.columns.iter().map(definition).collect();
    sql.push_str(&columns.iter().map(|column| format!("\n    {column}")).collect::<Vec<_>>().join(","));
    if !table.primary_key.is_empty() {
        let key: Vec<_> = table.primary_key.iter().map(|column| quoted(column)).collect();
        // Writing to a String cannot fail.
        let _ = write!(sql, ",\n    PRIMARY KEY ({})", key.join(", "));
    }
    sql.push_str("\n);");
    sql
}

fn definition(column: &Column) -> String {
    let mut sql = format!("{} {}", quoted(&column.name), declared(column));
    if !column.nullable {
        sql.push_str(" NOT NULL");
    }
    if let Some(default) = &column.default {
        let _ = write!(sql, " DEFAULT {default}");
    }
    sql
}

/// Its type as SQL, as the database said it where it did.
fn declared(column: &Column) -> String {
    column.declared.clone().unwrap_or_else(|| sql_type(column))
}

fn full_name(table: &Table) -> String {
    named(name_of(table))
}

fn named((schema, name): Name<'_>) -> String {
    schema.map(|schema| quoted(schema) + ".").unwrap_or_default() + &quoted(name)
}
