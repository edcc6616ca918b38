//! Writes diesel's `schema.rs` as `diesel print-schema` does.

use std::collections::{BTreeMap, BTreeSet};

use diesel::sql_types::{Array, Text};
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use super::rust_name::{is_identifier, rust_name, rust_names};
use super::rust_type::{Defined, defined, own, rust_type};
use super::{Column, Schema, Table, TableKind, joins, rustfmt};
use crate::error::MigrationError;

/// What `schema.rs` is to hold, and how; the default is that of diesel's own program.
///
/// ```
/// use db_migrations::schema::{Docs, PrintConfig};
/// let config = PrintConfig { docs: Docs::Comments, ..PrintConfig::default() };
/// assert!(!config.partitions);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PrintConfig {
    /// The schema, in a module of its name; none for the one that is searched first, without a module.
    pub schema: Option<String>,
    /// Only tables whose name one of these matches, as the server's `~` does; all where there is none.
    pub only_tables: Vec<String>,
    /// No tables whose name one of these matches.
    pub except_tables: Vec<String>,
    /// Whether partitions are printed beside their table. diesel's own program does, so that the file changes
    /// as they come and go.
    pub partitions: bool,
    /// Which comments are written.
    pub docs: Docs,
    /// The order of a table's columns.
    pub columns: ColumnOrder,
    /// What types of the database's own derive beside `SqlType`.
    pub derives: Vec<String>,
    /// What each table imports, such as `diesel::sql_types::*`.
    pub imports: Vec<String>,
    /// Which tables may appear in the same query.
    pub same_query: SameQuery,
}

/// Which comments `schema.rs` has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Docs {
    /// None.
    #[default]
    None,
    /// Those of the database.
    Comments,
    /// Those of the database, and a text of diesel's where it has none.
    Everywhere,
}

/// The order of a table's columns in `schema.rs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ColumnOrder {
    /// That of the table.
    #[default]
    Table,
    /// By name: two databases whose columns came in another order have the same file.
    Name,
}

/// Which tables `allow_tables_to_appear_in_same_query!` names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SameQuery {
    /// All.
    #[default]
    All,
    /// Those that are joined, over however many others, together.
    Joined,
    /// None: the macro is not written.
    None,
}

/// A `schema.rs`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PrintedSchema {
    /// Its text.
    pub text: String,
    /// The tables that it cannot have.
    pub left_out: Vec<LeftOut>,
}

/// A table that `schema.rs` cannot have.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LeftOut {
    /// Its name.
    pub table: String,
    /// Why, such as `it has no primary key`.
    pub reason: &'static str,
}

#[derive(QueryableByName)]
struct NameRow {
    #[diesel(sql_type = Text)]
    name: String,
}

/// Reads a database's tables and writes them as `diesel print-schema` does, rustfmt's layout included.
///
/// Views, tables of extensions and tables whose name begins with two underscores are not printed. Where
/// diesel's program writes what does not compile or names something else, this writes what is right:
/// `docs/migrations.md` lists it.
///
/// ```no_run
/// # async fn write(conn: &mut diesel_async::AsyncPgConnection) -> Result<(), Box<dyn std::error::Error>> {
/// use db_migrations::schema::{PrintConfig, print};
/// let printed = print(conn, &PrintConfig::default()).await?;
/// std::fs::write("src/schema.rs", printed.text)?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`MigrationError::Unprintable`] where Rust cannot name the schema, and [`MigrationError::Database`], also
/// for a pattern that the server does not understand.
pub async fn print(
    conn: &mut AsyncPgConnection,
    config: &PrintConfig,
) -> Result<PrintedSchema, MigrationError> {
    let asked = sql_query("SELECT coalesce(pg_catalog.current_schema(), 'public')::text AS name");
    let NameRow { name: first } = asked.get_result(conn).await?;
    let name = config.schema.as_deref().unwrap_or(&first);
    let prefix = (name != first).then(|| name.to_owned());
    if config.schema.is_some() && !is_identifier(name) {
        return Err(MigrationError::Unprintable { schema: name.to_owned() });
    }
    let mut schema = Schema::read(conn, &[name]).await?;
    schema.tables.retain(|table| table.schema == prefix);
    joins::fill(&mut schema.tables, config.partitions);
    let names: Vec<&str> = schema.tables.iter().map(|table| table.name.as_str()).collect();
    let matched = sql_query(
        "SELECT name FROM unnest($1) AS one (name) WHERE (cardinality($2) = 0 OR name OPERATOR(pg_catalog.~) ANY ($2)) \
         AND NOT name OPERATOR(pg_catalog.~) ANY ($3)",
    );
    let matched: Vec<NameRow> = matched
        .bind::<Array<Text>, _>(names)
        .bind::<Array<Text>, _>(&config.only_tables)
        .bind::<Array<Text>, _>(&config.except_tables)
        .get_results(conn)
        .await?;
    let matched: BTreeSet<String> = matched.into_iter().map(|row| row.name).collect();
    schema.tables.retain(|table| matched.contains(&table.name));
    Ok(printed(&schema.tables, config))
}

fn printed(all: &[Table], config: &PrintConfig) -> PrintedSchema {
    let is_table = |table: &&Table| {
        table.kind == TableKind::Table || (config.partitions && table.kind == TableKind::Partition)
    };
    let is_named = |table: &&Table| !table.name.starts_with("__");
    let (tables, without): (Vec<&Table>, Vec<&Table>) =
        all.iter().filter(is_table).filter(is_named).partition(|table| !table.primary_key.is_empty());
    let left_out = without
        .iter()
        .map(|table| LeftOut { table: table.name.clone(), reason: "it has no primary key" })
        .collect();
    let names = rust_names(tables.iter().map(|table| table.name.as_str()), None);
    let file = File { config, defined: defined(&tables), tables: tables.into_iter().zip(names).collect() };
    let body = file.body(if config.schema.is_some() { 4 } else { 0 });
    let head = "// @generated automatically by Diesel CLI.\n";
    let text = match &config.schema {
        None if body.is_empty() => head.to_owned(),
        None => format!("{head}\n{body}"),
        Some(name) if body.is_empty() => format!("{head}\npub mod {name} {{}}\n"),
        Some(name) => format!("{head}\npub mod {name} {{\n{body}}}\n"),
    };
    PrintedSchema { text, left_out }
}

struct File<'a> {
    config: &'a PrintConfig,
    tables: Vec<(&'a Table, String)>,
    defined: BTreeMap<Defined, String>,
}

impl File<'_> {
    /// All between the module's braces.
    fn body(&self, indent: usize) -> String {
        let mut parts = Vec::new();
        if !self.defined.is_empty() {
            parts.push(self.sql_types(indent));
        }
        parts.extend(self.tables.iter().map(|(table, name)| self.table(table, name, indent)));
        let space = " ".repeat(indent);
        let name_of = |name: &str| {
            self.tables.iter().find(|(table, _)| table.name == name).map_or("", |(_, rust_name)| rust_name)
        };
        let mut joins = String::new();
        for (table, name) in &self.tables {
            let mut references: Vec<_> = table.references.iter().collect();
            references.sort_by_key(|one| (&one.table, &one.column));
            for one in references {
                let (other, column) = (name_of(&one.table), columns(table).remove(one.column.as_str()));
                if let (false, Some(column)) = (other.is_empty(), column) {
                    joins.push_str(&format!("{space}diesel::joinable!({name} -> {other} ({column}));\n"));
                }
            }
        }
        let groups: String = self
            .groups()
            .iter()
            .filter(|group| group.len() > 1)
            .map(|group| rustfmt::call("diesel::allow_tables_to_appear_in_same_query", group, indent))
            .collect();
        parts.extend([joins, groups].into_iter().filter(|part| !part.is_empty()));
        parts.join("\n")
    }

    fn sql_types(&self, indent: usize) -> String {
        let (space, inner) = (" ".repeat(indent), " ".repeat(indent + 4));
        let is_documented = self.config.docs == Docs::Everywhere;
        let mut derives = self.config.derives.clone();
        let sql_type = "diesel::sql_types::SqlType";
        if !derives.iter().any(|one| one == sql_type) {
            derives.push(sql_type.to_owned());
        }
        let mut types: Vec<_> = self.defined.iter().collect();
        types.sort_by_key(|(_, rust_name)| *rust_name);
        let one = |((schema, name), rust_name): (&Defined, &String)| {
            let mut text = String::new();
            if is_documented {
                let schema = schema.as_ref().map(|schema| format!("{schema}.")).unwrap_or_default();
                let name = format!("{schema}{name}").replace('\n', "\\n");
                text += &format!(
                    "{inner}/// The `{name}` SQL type\n{inner}///\n{inner}/// (Automatically generated by Diesel.)\n"
                );
            }
            text += &rustfmt::derive(&derives, indent + 4);
            let mut parts = vec![format!("name = {}", literal(name))];
            parts.extend(schema.as_ref().map(|schema| format!("schema = {}", literal(schema))));
            text += &rustfmt::postgres_type(&parts, indent + 4);
            text + &format!("{inner}pub struct {rust_name};\n")
        };
        let types: Vec<String> = types.into_iter().map(one).collect();
        let head = if is_documented {
            format!(
                "{space}/// A module containing custom SQL type definitions\n{space}///\n\
                 {space}/// (Automatically generated by Diesel.)\n"
            )
        } else {
            String::new()
        };
        format!("{head}{space}pub mod sql_types {{\n{}{space}}}\n", types.join("\n"))
    }

    fn table(&self, table: &Table, rust_table: &str, indent: usize) -> String {
        let mut lines =
            Lines { indent: indent + 4, text: format!("{}diesel::table! {{\n", " ".repeat(indent)) };
        let mut imports = self.config.imports.clone();
        let mut seen = BTreeSet::new();
        for column in self.ordered(table) {
            if let Some(rust_name) = own(column).and_then(|own| self.defined.get(&own))
                && seen.insert(rust_name)
            {
                if imports.is_empty() {
                    imports.push("diesel::sql_types::*".to_owned());
                }
                imports.push(format!("super::sql_types::{rust_name}"));
            }
        }
        for import in &imports {
            lines.push(&format!("use {import};"));
        }
        if !imports.is_empty() {
            lines.text.push('\n');
        }
        let full_name =
            table.schema.iter().map(|schema| format!("{schema}.")).collect::<String>() + &table.name;
        let fallback = format!("Representation of the `{full_name}` table.");
        self.docs(table.comment.as_deref(), &[&fallback], &mut lines);
        if rust_table != table.name {
            lines.push(&format!("#[sql_name = {}]", literal(&table.name)));
        }
        let names = columns(table);
        let name_of = |column: &str| names.get(column).cloned().unwrap_or_default();
        let key: Vec<String> = table.primary_key.iter().map(|column| name_of(column)).collect();
        let schema: String = table.schema.iter().map(|schema| format!("{schema}.")).collect();
        lines.push(&format!("{schema}{rust_table} ({}) {{", key.join(", ")));
        lines.indent += 4;
        for column in self.ordered(table) {
            let (rust_column, rust_type) = (name_of(&column.name), rust_type(column, &self.defined));
            let about = [
                format!("The `{}` column of the `{full_name}` table.", column.name),
                format!("Its SQL type is `{rust_type}`."),
            ];
            self.docs(column.comment.as_deref(), &about.each_ref().map(String::as_str), &mut lines);
            if rust_column != column.name {
                lines.push(&format!("#[sql_name = {}]", literal(&column.name)));
            }
            if let Some(length) = column.max_length {
                lines.push(&format!("#[max_length = {length}]"));
            }
            lines.push(&format!("{rust_column} -> {rust_type},"));
        }
        lines.indent -= 4;
        lines.push("}");
        lines.indent -= 4;
        lines.push("}");
        lines.text
    }

    fn docs(&self, comment: Option<&str>, fallback: &[&str], lines: &mut Lines) {
        let text = match (self.config.docs, comment) {
            (Docs::Comments | Docs::Everywhere, Some(comment)) => comment.to_owned(),
            (Docs::Everywhere, None) => {
                format!("{}\n\n(Automatically generated by Diesel.)", fallback.join("\n\n"))
            }
            _ => return,
        };
        for line in text.lines().map(str::trim) {
            lines.push(format!("/// {line}").trim_end());
        }
    }

    fn ordered<'t>(&self, table: &'t Table) -> Vec<&'t Column> {
        let mut ordered: Vec<&Column> = table.columns.iter().collect();
        if self.config.columns == ColumnOrder::Name {
            ordered.sort_by(|one, other| one.name.cmp(&other.name));
        }
        ordered
    }

    /// The names of tables that may appear in the same query.
    fn groups(&self) -> Vec<Vec<&str>> {
        match self.config.same_query {
            SameQuery::None => Vec::new(),
            SameQuery::All => vec![self.tables.iter().map(|(_, name)| name.as_str()).collect()],
            SameQuery::Joined => {
                // The group of each table is the first table that a path of joins leads to.
                let mut group: Vec<usize> = (0..self.tables.len()).collect();
                for (place, (table, _)) in self.tables.iter().enumerate() {
                    for one in &table.references {
                        let Some(other) = self.tables.iter().position(|(other, _)| other.name == one.table)
                        else {
                            continue;
                        };
                        let (from, to) = (group[place].max(group[other]), group[place].min(group[other]));
                        group.iter_mut().filter(|group| **group == from).for_each(|group| *group = to);
                    }
                }
                let members = |first| {
                    let names = self.tables.iter().zip(&group).filter(move |(_, group)| **group == first);
                    names.map(|((_, name), _)| name.as_str()).collect()
                };
                (0..self.tables.len()).map(members).collect()
            }
        }
    }
}

/// The names of a table's columns in Rust.
fn columns(table: &Table) -> BTreeMap<&str, String> {
    let table_name = rust_name(&table.name, None);
    let names = || table.columns.iter().map(|column| column.name.as_str());
    names().zip(rust_names(names(), Some(&table_name))).collect()
}

struct Lines {
    indent: usize,
    text: String,
}

impl Lines {
    fn push(&mut self, line: &str) {
        self.text.push_str(&" ".repeat(self.indent));
        self.text.push_str(line);
        self.text.push('\n');
    }
}

/// A text as Rust writes it.
fn literal(text: &str) -> String {
    if !text.contains(['"', '\\', '\n', '\r']) {
        return format!("\"{text}\"");
    }
    if text.contains('\r') {
        return format!("\"{}\"", text.escape_debug());
    }
    let hashes = "#".repeat(text.matches('#').count() + 1);
    format!("r{hashes}\"{text}\"{hashes}")
}
