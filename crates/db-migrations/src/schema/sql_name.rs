//! Writes names and types as SQL.

use super::Column;

/// A name as SQL, in quotes where it needs them or might.
pub(super) fn quoted(name: &str) -> String {
    let plain = name.starts_with(|one: char| one.is_ascii_lowercase() || one == '_')
        && name.chars().all(|one| one.is_ascii_lowercase() || one.is_ascii_digit() || one == '_');
    if plain && !RESERVED.contains(&name) {
        name.to_owned()
    } else {
        format!("\"{}\"", name.replace('"', "\"\""))
    }
}

/// A column's type as `schema.rs` knows it.
pub(super) fn sql_type(column: &Column) -> String {
    let (element, dimensions) = match column.sql_type.strip_suffix("[]") {
        Some(element) => (element, "[]"),
        None => (column.sql_type.as_str(), ""),
    };
    let element = match (column.type_schema.as_deref(), element) {
        // Without quotes it is another type.
        (Some(BUILT_IN), "char") => "\"char\"".to_owned(),
        (Some(BUILT_IN), name) => name.to_owned(),
        (Some(schema), name) => format!("{}.{}", quoted(schema), quoted(name)),
        (None, name) => quoted(name),
    };
    match column.max_length {
        Some(length) => format!("{element}({length}){dimensions}"),
        None => element + dimensions,
    }
}

/// The schema of the server's own types.
pub(super) const BUILT_IN: &str = "pg_catalog";

/// Words that PostgreSQL takes for its own where a column's name stands.
#[rustfmt::skip]
const RESERVED: &[&str] = &[
    "all", "analyse", "analyze", "and", "any", "array", "as", "asc", "asymmetric", "authorization",
    "between", "bigint", "binary", "bit", "boolean", "both", "case", "cast", "char", "character", "check",
    "coalesce", "collate", "collation", "column", "concurrently", "constraint", "create", "cross",
    "current_catalog", "current_date", "current_role", "current_schema", "current_time",
    "current_timestamp", "current_user", "dec", "decimal", "default", "deferrable", "desc", "distinct",
    "do", "else", "end", "except", "exists", "extract", "false", "fetch", "float", "for", "foreign",
    "freeze", "from", "full", "grant", "greatest", "group", "grouping", "having", "ilike", "in",
    "initially", "inner", "inout", "int", "integer", "intersect", "interval", "into", "is", "isnull",
    "join", "lateral", "leading", "least", "left", "like", "limit", "localtime", "localtimestamp",
    "national", "natural", "nchar", "none", "normalize", "not", "notnull", "null", "nullif", "numeric",
    "offset", "on", "only", "or", "order", "out", "outer", "overlaps", "overlay", "placing", "position",
    "precision", "primary", "real", "references", "returning", "right", "row", "select", "session_user",
    "setof", "similar", "smallint", "some", "substring", "symmetric", "system_user", "table",
    "tablesample", "then", "time", "timestamp", "to", "trailing", "treat", "trim", "true", "union",
    "unique", "user", "using", "values", "varchar", "variadic", "verbose", "when", "where", "window",
    "with", "xmlattributes", "xmlconcat", "xmlelement",
];
