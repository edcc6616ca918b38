//! Writes the migration that leads from a database's tables to those of `schema.rs`, and back.

use std::fmt::Write as _;

use super::{Column, Schema, Table};

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
    let (mut up, mut down) = (Vec::new(), Vec::new());
    for table in &wanted.tables {
        match live.table(table.schema.as_deref(), &table.name) {
            None => {
                up.push(create(table));
                down.push(format!("DROP TABLE {};", full_name(table)));
            }
            Some(old) => change(old, table, &mut up, &mut down),
        }
    }
    let is_new = |table: &&Table| live.table(table.schema.as_deref(), &table.name).is_none();
    for table in wanted.tables.iter().filter(is_new) {
        // The tables themselves are dropped on the way back, and their keys with them.
        up.extend(foreign_keys(table, wanted));
    }
    for table in
        live.tables.iter().filter(|table| wanted.table(table.schema.as_deref(), &table.name).is_none())
    {
        up.push(format!("-- Every row goes with it.\nDROP TABLE {};", full_name(table)));
        down.push(create(table));
    }
    down.reverse();
    let text = |parts: Vec<String>| parts.into_iter().map(|part| part + "\n").collect();
    SchemaDiff { up: text(up), down: text(down) }
}

fn change(old: &Table, new: &Table, up: &mut Vec<String>, down: &mut Vec<String>) {
    let name = full_name(new);
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

fn foreign_keys(table: &Table, all: &Schema) -> Vec<String> {
    let to = |name: &str| all.tables.iter().find(|other| other.name == name);
    let references = table.references.iter().filter_map(|one| Some((&one.column, to(&one.table)?)));
    references
        .map(|(column, other)| {
            format!(
                "ALTER TABLE {} ADD FOREIGN KEY ({}) REFERENCES {};",
                full_name(table),
                quoted(column),
                full_name(other)
            )
        })
        .collect()
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
