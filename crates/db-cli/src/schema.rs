//! `dbctl schema show` and `print`: what the database holds, as text, as JSON and as diesel's `schema.rs`.

use std::process::ExitCode;

use db_platform::insight::introspect::{Introspection, Table, TableKind, introspect};
use db_platform::migrations;
use serde_json::json;

use crate::args::{Options, Schema};
use crate::error::CliError;
use crate::schema_args::SchemaPrint;
use crate::{connect, say};

pub(crate) async fn run(command: Schema, options: &Options) -> Result<ExitCode, CliError> {
    let table = match command {
        Schema::Show { table } => table,
        Schema::Print(command) => return print(command, options).await,
    };
    let (mut conn, ..) = connect::connect(&connect::config(options)?).await?;
    let mut found = introspect(&mut conn).await?;
    if let Some(name) = table {
        let is_meant =
            |table: &Table| table.name == name || format!("{}.{}", table.schema, table.name) == name;
        found.tables.retain(is_meant);
        let Some(first) = found.tables.first() else { return Err(CliError::NoTable { name }) };
        let (plain, whole) = (format!(".{}", first.name), format!("{}.{}", first.schema, first.name));
        let is_about = |one: &str| one == whole || one.ends_with(&plain);
        found.relations.retain(|one| is_about(&one.table) || is_about(&one.referenced_table));
    }
    // Names, texts and numbers cannot fail to become JSON.
    say::result(options.json, &text(&found), &serde_json::to_value(&found).unwrap_or_default());
    Ok(ExitCode::SUCCESS)
}

async fn print(command: SchemaPrint, options: &Options) -> Result<ExitCode, CliError> {
    if command.are_patterns_unused() {
        return Err(CliError::PatternsOfTables);
    }
    let (mut conn, ..) = connect::connect(&connect::config(options)?).await?;
    let printed = migrations::schema::print(&mut conn, &command.config()).await?;
    for one in &printed.left_out {
        eprintln!("dbctl: table {} is left out: {}", one.table, one.reason);
    }
    let left_out: Vec<_> =
        printed.left_out.iter().map(|one| json!({ "table": one.table, "reason": one.reason })).collect();
    let text = printed.text.trim_end_matches('\n');
    say::result(options.json, text, &json!({ "schema_rs": printed.text, "left_out": left_out }));
    Ok(ExitCode::SUCCESS)
}

fn text(found: &Introspection) -> String {
    let mut lines = Vec::new();
    for table in &found.tables {
        let kind = match table.kind {
            TableKind::Table => "table",
            TableKind::Partitioned => "partitioned table",
            TableKind::View => "view",
            TableKind::MaterializedView => "materialized view",
            TableKind::Foreign => "foreign table",
            _ => "relation",
        };
        let mut head = format!("{kind} {}.{}", table.schema, table.name);
        if let (Some(parent), Some(bound)) = (&table.partition_of, &table.partition_bound) {
            head += &format!(" of {parent} {bound}");
        }
        if let Some(key) = &table.partition_key {
            head += &format!(" by {key}");
        }
        if let Some(rows) = table.estimated_rows {
            head += &format!(", about {rows:.0} rows, {} bytes", table.sizes.total);
        }
        lines.push(head);
        for column in &table.columns {
            let mut line = format!("    {} {}", column.name, column.sql_type);
            line += if column.nullable { "" } else { " NOT NULL" };
            if let Some(default) = &column.default {
                line += &format!(" DEFAULT {default}");
            }
            if let Some(generated) = &column.generated {
                line += &format!(" GENERATED ALWAYS AS ({generated})");
            }
            if let Some(identity) = &column.identity {
                line += &format!(" GENERATED {} AS IDENTITY", identity.to_uppercase());
            }
            lines.push(line);
        }
        lines.extend(table.constraints.iter().map(|one| format!("    {}: {}", one.name, one.definition)));
        for index in table.indexes.iter().filter(|index| !index.primary) {
            let invalid = if index.valid { "" } else { ", INVALID" };
            lines.push(format!("    {}, {} bytes{invalid}", index.definition, index.bytes));
        }
    }
    if lines.is_empty() {
        lines.push("the database holds no table".to_owned());
    }
    lines.join("\n")
}
