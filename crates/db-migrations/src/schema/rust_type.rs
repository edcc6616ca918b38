//! Names of types in Rust: diesel's own, and those of `sql_types` for all that diesel does not have.

use std::collections::{BTreeMap, BTreeSet};

use heck::ToUpperCamelCase as _;

use super::sql_name::BUILT_IN;
use super::{Column, Table};

/// The server's types that diesel has, as the server names them.
#[rustfmt::skip]
const PROVIDED: &[&str] = &[
    "bool", "bpchar", "bytea", "char", "cidr", "date", "datemultirange", "daterange", "float4", "float8", "inet",
    "int2", "int4", "int4multirange", "int4range", "int8", "int8multirange", "int8range", "interval", "json",
    "jsonb", "macaddr", "macaddr8", "money", "numeric", "nummultirange", "numrange", "oid", "pg_lsn", "text",
    "time", "timestamp", "timestamptz", "tsmultirange", "tsrange", "tstzmultirange", "tstzrange", "uuid", "varchar",
];

/// Names of `diesel::sql_types` that a type of the database's own must not hide.
#[rustfmt::skip]
const TAKEN: &[&str] = &[
    "Array", "BigInt", "BigSerial", "Bigint", "Binary", "Blob", "CChar", "Citext", "Decimal", "Double", "Float",
    "Integer", "Longblob", "Longtext", "MacAddr", "MacAddr8", "Mediumblob", "Mediumtext", "Multirange", "Nullable",
    "Range", "Record", "Self", "Serial", "SmallInt", "SmallSerial", "Smallint", "Tinyblob", "Tinytext", "VarChar",
    "Varbinary",
];

/// An extension's type that diesel has; it is in whatever schema the extension is.
const CITEXT: &str = "citext";

/// A type that `sql_types` defines: its schema and name.
pub(super) type Defined = (Option<String>, String);

/// The types that tables need beside diesel's own, each with its name in Rust.
pub(super) fn defined(tables: &[&Table]) -> BTreeMap<Defined, String> {
    let types: BTreeSet<Defined> = tables.iter().flat_map(|table| &table.columns).filter_map(own).collect();
    let mut taken: BTreeSet<String> = TAKEN.iter().map(|name| (*name).to_owned()).collect();
    taken.extend(PROVIDED.iter().map(|name| name.to_upper_camel_case()));
    let mut names = BTreeMap::new();
    for one in types {
        let mut name = one.1.to_upper_camel_case();
        if !name.starts_with(|first: char| first.is_ascii_alphabetic()) {
            name.insert(0, 'T');
        }
        name.retain(|one| one.is_ascii_alphanumeric());
        if taken.contains(&name) {
            let schema = one.0.as_deref().unwrap_or("own").to_upper_camel_case();
            name.insert_str(0, &schema);
        }
        let plain = name.clone();
        for number in 2.. {
            if taken.insert(name.clone()) {
                break;
            }
            name = format!("{plain}{number}");
        }
        names.insert(one, name);
    }
    names
}

/// The type of a column where `sql_types` must define it.
pub(super) fn own(column: &Column) -> Option<Defined> {
    let name = element(column);
    let is_provided = match column.type_schema.as_deref() {
        Some(BUILT_IN) => PROVIDED.contains(&name),
        _ => name == CITEXT,
    };
    (!is_provided).then(|| (column.type_schema.clone(), name.to_owned()))
}

/// A column's type in Rust.
pub(super) fn rust_type(column: &Column, defined: &BTreeMap<Defined, String>) -> String {
    let name = match own(column) {
        Some(own) => defined.get(&own).cloned().unwrap_or(own.1),
        // Char is another name of Text.
        None if element(column) == "char" => "CChar".to_owned(),
        None => element(column).to_upper_camel_case(),
    };
    let name = if column.sql_type.ends_with("[]") { format!("Array<Nullable<{name}>>") } else { name };
    if column.nullable { format!("Nullable<{name}>") } else { name }
}

fn element(column: &Column) -> &str {
    column.sql_type.strip_suffix("[]").unwrap_or(&column.sql_type)
}
