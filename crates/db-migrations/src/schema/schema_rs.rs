//! Reads diesel's `schema.rs`: the `table!` and `joinable!` macros, and the names of types of one's own.

use std::collections::{BTreeMap, HashMap};

use super::sql_name::BUILT_IN;
use super::{Column, OwnType, Reference, Schema, Table};
use crate::error::MigrationError;

/// The names of a table's columns in the database, by those in Rust.
type Columns = BTreeMap<String, String>;

/// What the modules of a file define, by module and name in Rust.
#[derive(Default)]
struct Defined {
    tables: HashMap<(String, String), (usize, Columns)>,
    own_types: HashMap<(String, String), OwnType>,
}

impl Schema {
    /// Reads the text of a `schema.rs`, as `diesel print-schema` writes it.
    ///
    /// # Errors
    /// [`MigrationError::SchemaRs`] with the line that cannot be read.
    pub fn parse(text: &str) -> Result<Schema, MigrationError> {
        let mut tokens = Tokens::of(text);
        let (mut schema, mut joins, mut defined) = (Schema::default(), Vec::new(), Defined::default());
        let (mut modules, mut of_table) = (Vec::new(), Vec::new());
        while let Some(token) = tokens.next() {
            let module = || modules.join("::");
            match token.as_str() {
                "table" if tokens.take("!") => {
                    let (ident, table, columns) = tokens.table()?;
                    defined.tables.insert((module(), ident), (schema.tables.len(), columns));
                    of_table.push(module());
                    schema.tables.push(table);
                }
                "joinable" if tokens.take("!") => joins.push((module(), tokens.join()?)),
                "postgres_type" => {
                    let (one, identifier) = tokens.own_type()?;
                    // Tables say super::sql_types.
                    let module = module();
                    let around = module.strip_suffix("sql_types").unwrap_or(&module).trim_end_matches("::");
                    schema.own_types.push(one.clone());
                    defined.own_types.insert((around.to_owned(), identifier), one);
                }
                "mod" => {
                    let name = tokens.word()?;
                    if tokens.take("{") {
                        modules.push(name);
                    }
                }
                "{" => modules.push(String::new()),
                "}" => drop(modules.pop()),
                _ => {}
            }
        }
        // Types may be defined behind the tables that use them.
        for (table, module) in schema.tables.iter_mut().zip(&of_table) {
            for column in &mut table.columns {
                let diesel = std::mem::take(&mut column.sql_type);
                (column.sql_type, column.type_schema) = sql_type(&diesel, module, &defined);
            }
        }
        for (module, (child, parent, column)) in joins {
            let find = |ident: String| defined.tables.get(&(module.clone(), ident));
            let (Some((place, columns)), Some((other, _))) = (find(child), find(parent)) else { continue };
            let other = schema.tables.get(*other).map(|other| (other.schema.clone(), other.name.clone()));
            if let (Some(table), Some((schema, name))) = (schema.tables.get_mut(*place), other) {
                let column = columns.get(&column).cloned().unwrap_or(column);
                table.references.push(Reference { column, schema, table: name, constraint: None });
            }
        }
        Ok(schema)
    }
}

/// The server's name of a diesel type, mostly the same in small letters, and its schema.
fn sql_type(diesel: &str, module: &str, defined: &Defined) -> (String, Option<String>) {
    if let Some(element) = diesel.strip_prefix("Array<").and_then(|rest| rest.strip_suffix('>')) {
        let element =
            element.strip_prefix("Nullable<").and_then(|rest| rest.strip_suffix('>')).unwrap_or(element);
        let (name, schema) = sql_type(element, module, defined);
        return (name + "[]", schema);
    }
    let own = |module: &str| defined.own_types.get(&(module.to_owned(), diesel.to_owned()));
    if let Some(own) = own(module).or_else(|| own("")) {
        return (own.name.clone(), own.schema.clone());
    }
    let range = |prefix| diesel.strip_prefix(prefix).and_then(|rest: &str| rest.strip_suffix('>'));
    let of_range = |element: &str| match element {
        "Int4" | "Integer" => "int4".to_owned(),
        "Int8" | "BigInt" | "Bigint" => "int8".to_owned(),
        "Numeric" | "Decimal" => "num".to_owned(),
        "Timestamp" => "ts".to_owned(),
        "Timestamptz" => "tstz".to_owned(),
        other => other.to_ascii_lowercase(),
    };
    let name = match diesel {
        "SmallInt" | "Smallint" | "SmallSerial" => "int2".to_owned(),
        "Integer" | "Serial" => "int4".to_owned(),
        "BigInt" | "Bigint" | "BigSerial" => "int8".to_owned(),
        "Float" => "float4".to_owned(),
        "Double" => "float8".to_owned(),
        "Decimal" => "numeric".to_owned(),
        "Binary" => "bytea".to_owned(),
        "CChar" | "Char" => "char".to_owned(),
        "PgLsn" => "pg_lsn".to_owned(),
        other => match (range("Range<"), range("Multirange<")) {
            (Some(element), _) => of_range(element) + "range",
            (_, Some(element)) => of_range(element) + "multirange",
            _ => other.to_ascii_lowercase(),
        },
    };
    // An extension's, in whatever schema that is.
    let schema = (name != "citext").then(|| BUILT_IN.to_owned());
    (name, schema)
}

/// The words, marks and strings of a text in Rust, without comments.
struct Tokens {
    tokens: Vec<(String, usize)>,
    at: usize,
}

/// Where a string in quotes ends, with or without `r#`, that a text begins with.
fn end_of_string(text: &str) -> Option<usize> {
    let hashes = text.strip_prefix('r').unwrap_or(text);
    let body = hashes.trim_start_matches('#');
    let is_raw = hashes.len() < text.len();
    let count = hashes.len() - body.len();
    let inner = body.strip_prefix('"').filter(|_| is_raw || count == 0)?;
    let before = text.len() - inner.len();
    if is_raw {
        let close = format!("\"{}", "#".repeat(count));
        return Some(inner.find(&close).map_or(text.len(), |end| before + end + close.len()));
    }
    let mut escaped = false;
    for (place, one) in inner.char_indices() {
        match one {
            '"' if !escaped => return Some(before + place + 1),
            _ => escaped = one == '\\' && !escaped,
        }
    }
    Some(text.len())
}

/// What a string in quotes says.
fn unquoted(token: &str) -> String {
    let raw = token.strip_prefix('r').map(|rest| rest.trim_matches('#'));
    let inner = raw.unwrap_or(token);
    let inner = inner.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(inner);
    if raw.is_some() || !inner.contains('\\') {
        return inner.to_owned();
    }
    let (mut text, mut rest) = (String::new(), inner.chars());
    while let Some(one) = rest.next() {
        match (one, one == '\\') {
            (one, false) => text.push(one),
            _ => text.extend(rest.next().map(|one| match one {
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                other => other,
            })),
        }
    }
    text
}

impl Tokens {
    fn of(text: &str) -> Self {
        let (mut tokens, mut rest, mut line) = (Vec::new(), text, 1);
        while let Some(first) = rest.chars().next() {
            let is_word = |one: char| one.is_alphanumeric() || one == '_';
            let (end, is_token) = if rest.starts_with("//") {
                (rest.find('\n').unwrap_or(rest.len()), false)
            } else if rest.starts_with("/*") {
                (rest.find("*/").map_or(rest.len(), |end| end + 2), false)
            } else if let Some(end) = end_of_string(rest) {
                (end, true)
            } else if is_word(first) {
                (rest.find(|one| !is_word(one)).unwrap_or(rest.len()), true)
            } else {
                (first.len_utf8(), !first.is_whitespace())
            };
            let (token, behind) = rest.split_at(end);
            if is_token {
                tokens.push((token.to_owned(), line));
            }
            line += token.matches('\n').count();
            rest = behind;
        }
        Tokens { tokens, at: 0 }
    }

    fn next(&mut self) -> Option<String> {
        let (token, _) = self.tokens.get(self.at)?;
        self.at += 1;
        Some(token.clone())
    }

    fn peek(&self) -> &str {
        self.tokens.get(self.at).map_or("", |(token, _)| token)
    }

    fn take(&mut self, token: &str) -> bool {
        let is = self.peek() == token;
        self.at += usize::from(is);
        is
    }

    fn expect(&mut self, token: &str) -> Result<(), MigrationError> {
        if self.take(token) { Ok(()) } else { Err(self.unexpected(token)) }
    }

    fn unexpected(&self, wanted: &str) -> MigrationError {
        let line = self.tokens.get(self.at).or(self.tokens.last()).map_or(1, |(_, line)| *line);
        MigrationError::SchemaRs { line, found: self.peek().to_owned(), wanted: wanted.to_owned() }
    }

    fn word(&mut self) -> Result<String, MigrationError> {
        if self.peek().starts_with(|one: char| one.is_alphabetic() || one == '_') {
            return self.next().ok_or_else(|| self.unexpected("a name"));
        }
        Err(self.unexpected("a name"))
    }

    /// `{ use …; #[…] schema.name (key, …) { column -> Type, … } }`
    /// With its name and those of its columns in Rust.
    fn table(&mut self) -> Result<(String, Table, BTreeMap<String, String>), MigrationError> {
        self.expect("{")?;
        while self.take("use") {
            while !self.take(";") {
                self.next().ok_or_else(|| self.unexpected(";"))?;
            }
        }
        let mut table = Table::default();
        let sql_name = self.attributes()?.name;
        table.name = self.word()?;
        if self.take(".") {
            table.schema =
                Some(std::mem::replace(&mut table.name, self.word()?)).filter(|name| name != "public");
        }
        let ident = table.name.clone();
        table.name = sql_name.unwrap_or(table.name);
        // diesel's own program writes the schema here, too.
        if let Some(name) =
            table.schema.as_ref().and_then(|schema| table.name.strip_prefix(&format!("{schema}.")))
        {
            table.name = name.to_owned();
        }
        let mut key = vec!["id".to_owned()];
        if self.take("(") {
            key = Vec::new();
            while !self.take(")") {
                key.push(self.word()?);
                self.take(",");
            }
        }
        self.expect("{")?;
        let mut renamed = BTreeMap::new();
        while !self.take("}") {
            let attributes = self.attributes()?;
            let word = self.word()?;
            let name = attributes.name.unwrap_or_else(|| word.clone());
            renamed.insert(word, name.clone());
            self.expect("-")?;
            self.expect(">")?;
            let (sql_type, nullable) = self.diesel_type()?;
            let max_length = attributes.max_length;
            table.columns.push(Column { name, sql_type, max_length, nullable, ..Column::default() });
            self.take(",");
        }
        self.take("}");
        table.primary_key = key.into_iter().map(|word| renamed.get(&word).cloned().unwrap_or(word)).collect();
        Ok((ident, table, renamed))
    }

    /// `#[sql_name = "…"]`, `#[max_length = …]` and others, in any number.
    fn attributes(&mut self) -> Result<Attributes, MigrationError> {
        let mut attributes = Attributes::default();
        while self.take("#") {
            self.expect("[")?;
            let name = self.word()?;
            if self.take("=") {
                let value = self.next().unwrap_or_default();
                match name.as_str() {
                    "sql_name" => attributes.name = Some(unquoted(&value)),
                    "max_length" => attributes.max_length = value.parse().ok(),
                    _ => {}
                }
            }
            while !self.take("]") {
                self.next().ok_or_else(|| self.unexpected("]"))?;
            }
        }
        Ok(attributes)
    }

    fn diesel_type(&mut self) -> Result<(String, bool), MigrationError> {
        let (mut text, mut depth) = (String::new(), 0_usize);
        loop {
            match self.peek() {
                "<" => depth += 1,
                ">" if depth > 0 => depth -= 1,
                "," | "}" if depth == 0 => break,
                "" => return Err(self.unexpected("a type")),
                // Only the last part of a path names the type.
                ":" => {
                    let start = text.rfind('<').map_or(0, |at| at + 1);
                    text.truncate(start);
                    self.at += 1;
                    continue;
                }
                _ => {}
            }
            text.push_str(&self.next().unwrap_or_default());
        }
        match text.strip_prefix("Nullable<").and_then(|rest| rest.strip_suffix('>')) {
            Some(inner) => Ok((inner.to_owned(), true)),
            None => Ok((text, false)),
        }
    }

    /// `(child -> parent (column))`
    fn join(&mut self) -> Result<(String, String, String), MigrationError> {
        self.expect("(")?;
        let child = self.word()?;
        self.expect("-")?;
        self.expect(">")?;
        let parent = self.word()?;
        self.expect("(")?;
        let column = self.word()?;
        self.expect(")")?;
        Ok((child, parent, column))
    }

    /// `(name = "mood", schema = "…"))] pub struct Mood;`
    fn own_type(&mut self) -> Result<(OwnType, String), MigrationError> {
        let mut values = BTreeMap::new();
        while !self.take("struct") {
            let key = self.next().ok_or_else(|| self.unexpected("struct"))?;
            if self.take("=") {
                values.insert(key, unquoted(&self.next().unwrap_or_default()));
            }
        }
        let identifier = self.word()?;
        let name = values.remove("name").unwrap_or_else(|| identifier.to_ascii_lowercase());
        let schema = values.remove("schema").filter(|schema| schema != "public");
        Ok((OwnType { schema, name }, identifier))
    }
}

#[derive(Default)]
struct Attributes {
    name: Option<String>,
    max_length: Option<u32>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
// @generated automatically by Diesel CLI.

pub mod sql_types {
    #[derive(diesel::query_builder::QueryId, diesel::sql_types::SqlType)]
    #[diesel(postgres_type(name = "mood_of_day"))]
    pub struct MoodOfDay;
}

diesel::table! {
    use diesel::sql_types::*;
    use super::sql_types::MoodOfDay;

    /// People.
    app.people (id, kind) {
        id -> Int8,
        #[sql_name = "type"]
        kind -> Text,
        #[max_length = 40]
        name -> Nullable<Varchar>,
        mood -> Array<Nullable<MoodOfDay>>,
        born -> diesel::sql_types::Timestamptz,
    }
}

diesel::table! {
    posts (id) { id -> Uuid, author -> Int8, }
}

diesel::joinable!(posts -> people (author));
diesel::allow_tables_to_appear_in_same_query!(people, posts,);
"#;

    #[test]
    fn what_diesel_prints_is_read() {
        let schema = Schema::parse(TEXT).unwrap();
        let shown: Vec<String> = schema
            .tables
            .iter()
            .map(|table| {
                let column = |one: &Column| {
                    format!("{} {}{}", one.name, one.sql_type, if one.nullable { "" } else { " not null" })
                };
                let columns: Vec<_> = table.columns.iter().map(column).collect();
                format!("{:?} {} {:?}: {}", table.schema, table.name, table.primary_key, columns.join(", "))
            })
            .collect();
        insta::assert_snapshot!(shown.join("\n"), @r#"
        Some("app") people ["id", "type"]: id int8 not null, type text not null, name varchar, mood mood_of_day[] not null, born timestamptz not null
        None posts ["id"]: id uuid not null, author int8 not null
        "#);
        assert_eq!(schema.tables[0].columns[2].max_length, Some(40));
        assert_eq!(
            schema.tables[1].references,
            [Reference {
                column: "author".into(),
                schema: Some("app".into()),
                table: "people".into(),
                constraint: None
            }]
        );
    }

    #[test]
    fn what_cannot_be_read_is_named_with_its_line() {
        let error =
            Schema::parse("diesel::table! {\n    posts (id) {\n        id => Int8,\n    }\n}").unwrap_err();
        insta::assert_snapshot!(error, @r#"
        schema.rs, line 3: found "=" where - must stand; is it as `diesel print-schema` writes it
        "#);
    }
}
