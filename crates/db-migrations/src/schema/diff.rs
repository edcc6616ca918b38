//! Writes the migration that leads from a database's tables to those of `schema.rs`, and back.

use std::fmt::Write as _;

use super::{Column, Reference, Schema, Table};

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
/// `schema.rs` knows tables, columns, types, nullability, keys and joins; defaults, checks, indexes and triggers it does
/// not, so read what was written before you run it. A renamed column is one dropped and one added.
pub fn difference(live: &Schema, wanted: &Schema) -> SchemaDiff {
    // What comes back last: keys, when all tables and columns are there again.
    let (mut up, mut down, mut last) = (Vec::new(), Vec::new(), Vec::new());
    for name in wanted.own_types.iter().filter(|name| !live.own_types.contains(name)) {
        let name = quoted(name);
        up.push(format!("-- schema.rs does not know its values.\nCREATE TYPE {name} AS ENUM ();"));
        down.push(format!("DROP TYPE {name};"));
    }
    let mut new = Vec::new();
    for table in &wanted.tables {
        match live.table(table.schema.as_deref(), &table.name) {
            None => {
                up.push(create(table));
                new.push(full_name(table));
            }
            Some(view) if view.is_view => up.extend(another_view(view, table)),
            Some(old) => change(old, table, &mut up, &mut down),
        }
    }
    if !new.is_empty() {
        // In one statement, whichever refers to which.
        down.push(format!("DROP TABLE {};", new.join(", ")));
    }
    for table in &wanted.tables {
        let old = live.table(table.schema.as_deref(), &table.name);
        if old.is_none_or(|old| !old.is_view) {
            joins(old, table, [live, wanted], &mut up, &mut down, &mut last);
        }
    }
    let is_gone =
        |table: &&Table| !table.is_view && wanted.table(table.schema.as_deref(), &table.name).is_none();
    let gone: Vec<&Table> = live.tables.iter().filter(is_gone).collect();
    if !gone.is_empty() {
        let names: Vec<String> = gone.iter().map(|table| full_name(table)).collect();
        up.push(format!("-- Every row goes with it.\nDROP TABLE {};", names.join(", ")));
        let keys = gone.iter().flat_map(|table| table.references.iter().map(move |one| (*table, one)));
        last.extend(keys.filter_map(|(table, one)| foreign_key(table, one, live)));
        down.extend(gone.iter().rev().map(|table| create(table)));
    }
    down.reverse();
    down.extend(last);
    let text = |parts: Vec<String>| parts.into_iter().map(|part| part + "\n").collect();
    SchemaDiff { up: text(up), down: text(down) }
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

/// Foreign keys that came and went with `joinable!`.
fn joins(
    old: Option<&Table>,
    new: &Table,
    [live, wanted]: [&Schema; 2],
    up: &mut Vec<String>,
    down: &mut Vec<String>,
    last: &mut Vec<String>,
) {
    let same =
        |one: &Reference, other: &Reference| (&one.column, &one.table) == (&other.column, &other.table);
    let before = old.map(|old| old.references.as_slice()).unwrap_or_default();
    let name = full_name(new);
    for one in new.references.iter().filter(|one| !before.iter().any(|other| same(one, other))) {
        up.extend(foreign_key(new, one, wanted));
        if old.is_some() {
            let constraint = constraint_name(new, one);
            down.push(format!("ALTER TABLE {name} DROP CONSTRAINT {};", quoted(&constraint)));
        }
    }
    let kept = |column: &str| new.column(column).is_some();
    let lost = before.iter().filter(|one| !new.references.iter().any(|other| same(one, other)));
    for one in lost {
        // With its column or the other table it goes by itself.
        if kept(&one.column)
            && let Some(constraint) = &one.constraint
        {
            up.push(format!("ALTER TABLE {name} DROP CONSTRAINT {};", quoted(constraint)));
        }
        last.extend(foreign_key(new, one, live));
    }
}

fn change(old: &Table, new: &Table, up: &mut Vec<String>, down: &mut Vec<String>) {
    let name = full_name(new);
    // A column of the key cannot become nullable: the key goes first, and comes back last.
    let ([dropped, added], [dropped_again, added_again]) = (primary_key(old, new), primary_key(new, old));
    up.extend(dropped);
    down.extend(added_again);
    for column in &new.columns {
        let Some(before) = old.column(&column.name) else {
            up.push(add(&name, column));
            down.push(format!("ALTER TABLE {name} DROP COLUMN {};", quoted(&column.name)));
            continue;
        };
        let place = format!("ALTER TABLE {name} ALTER COLUMN {}", quoted(&column.name));
        if (&before.sql_type, before.max_length) != (&column.sql_type, column.max_length) {
            let to = |column: &Column| {
                let sql_type = sql_type(column);
                format!("{place} TYPE {sql_type} USING {}::{sql_type};", quoted(&column.name))
            };
            up.push(to(column));
            down.push(to(before));
        }
        let null = |nullable: bool| format!("{place} {} NOT NULL;", if nullable { "DROP" } else { "SET" });
        if before.nullable != column.nullable {
            up.push(null(column.nullable));
            down.push(null(before.nullable));
        }
    }
    for column in old.columns.iter().filter(|column| new.column(&column.name).is_none()) {
        up.push(format!(
            "-- Its values go with it.\nALTER TABLE {name} DROP COLUMN {};",
            quoted(&column.name)
        ));
        down.push(add(&name, column));
    }
    up.extend(added);
    down.extend(dropped_again);
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

fn foreign_key(table: &Table, one: &Reference, all: &Schema) -> Option<String> {
    let other = all.tables.iter().find(|other| other.name == one.table)?;
    Some(format!(
        "ALTER TABLE {} ADD CONSTRAINT {} FOREIGN KEY ({}) REFERENCES {};",
        full_name(table),
        quoted(&constraint_name(table, one)),
        quoted(&one.column),
        full_name(other)
    ))
}

/// The name that it has, or that the server would choose.
fn constraint_name(table: &Table, one: &Reference) -> String {
    one.constraint.clone().unwrap_or_else(|| format!("{}_{}_fkey", table.name, one.column))
}

fn definition(column: &Column) -> String {
    let mut sql = format!("{} {}", quoted(&column.name), sql_type(column));
    if !column.nullable {
        sql.push_str(" NOT NULL");
    }
    if let Some(default) = &column.default {
        let _ = write!(sql, " DEFAULT {default}");
    }
    sql
}

fn sql_type(column: &Column) -> String {
    match column.max_length {
        Some(length) => format!("{}({length})", column.sql_type),
        None => column.sql_type.clone(),
    }
}

fn full_name(table: &Table) -> String {
    let schema = table.schema.iter().map(|schema| quoted(schema) + ".");
    schema.chain([quoted(&table.name)]).collect()
}

/// A name as SQL, in quotes where it needs them or might.
fn quoted(name: &str) -> String {
    let plain = name.starts_with(|one: char| one.is_ascii_lowercase() || one == '_')
        && name.chars().all(|one| one.is_ascii_lowercase() || one.is_ascii_digit() || one == '_');
    if plain && !RESERVED.contains(&name) {
        name.to_owned()
    } else {
        format!("\"{}\"", name.replace('"', "\"\""))
    }
}

/// Words that PostgreSQL takes for its own where a column's name stands.
const RESERVED: &[&str] = &[
    "all",
    "analyse",
    "analyze",
    "and",
    "any",
    "array",
    "as",
    "asc",
    "asymmetric",
    "authorization",
    "between",
    "bigint",
    "binary",
    "bit",
    "boolean",
    "both",
    "case",
    "cast",
    "char",
    "character",
    "check",
    "coalesce",
    "collate",
    "collation",
    "column",
    "concurrently",
    "constraint",
    "create",
    "cross",
    "current_catalog",
    "current_date",
    "current_role",
    "current_schema",
    "current_time",
    "current_timestamp",
    "current_user",
    "dec",
    "decimal",
    "default",
    "deferrable",
    "desc",
    "distinct",
    "do",
    "else",
    "end",
    "except",
    "exists",
    "extract",
    "false",
    "fetch",
    "float",
    "for",
    "foreign",
    "freeze",
    "from",
    "full",
    "grant",
    "greatest",
    "group",
    "grouping",
    "having",
    "ilike",
    "in",
    "initially",
    "inner",
    "inout",
    "int",
    "integer",
    "intersect",
    "interval",
    "into",
    "is",
    "isnull",
    "join",
    "lateral",
    "leading",
    "least",
    "left",
    "like",
    "limit",
    "localtime",
    "localtimestamp",
    "national",
    "natural",
    "nchar",
    "none",
    "normalize",
    "not",
    "notnull",
    "null",
    "nullif",
    "numeric",
    "offset",
    "on",
    "only",
    "or",
    "order",
    "out",
    "outer",
    "overlaps",
    "overlay",
    "placing",
    "position",
    "precision",
    "primary",
    "real",
    "references",
    "returning",
    "right",
    "row",
    "select",
    "session_user",
    "setof",
    "similar",
    "smallint",
    "some",
    "substring",
    "symmetric",
    "system_user",
    "table",
    "tablesample",
    "then",
    "time",
    "timestamp",
    "to",
    "trailing",
    "treat",
    "trim",
    "true",
    "union",
    "unique",
    "user",
    "using",
    "values",
    "varchar",
    "variadic",
    "verbose",
    "when",
    "where",
    "window",
    "with",
    "xmlattributes",
    "xmlconcat",
    "xmlelement",
];
