//! Reads diesel's `schema.rs`: the `table!` and `joinable!` macros, and the names of types of one's own.

use std::collections::BTreeMap;

use super::{Column, Reference, Schema, Table};
use crate::error::MigrationError;

impl Schema {
    /// Reads the text of a `schema.rs`, as `diesel print-schema` writes it.
    ///
    /// # Errors
    /// [`MigrationError::SchemaRs`] with the line that cannot be read.
    pub fn parse(text: &str) -> Result<Schema, MigrationError> {
        let mut tokens = Tokens::of(text);
        let (mut schema, mut joins, mut own_types) = (Schema::default(), Vec::new(), BTreeMap::new());
        let mut idents = BTreeMap::new();
        while let Some(token) = tokens.next() {
            match token.as_str() {
                "table" if tokens.take("!") => {
                    let (ident, table, columns) = tokens.table()?;
                    idents.insert(ident, (table.name.clone(), columns));
                    schema.tables.push(table);
                }
                "joinable" if tokens.take("!") => joins.push(tokens.join()?),
                "postgres_type" => {
                    let (name, identifier) = tokens.own_type()?;
                    own_types.insert(identifier, name);
                }
                _ => {}
            }
        }
        schema.own_types = own_types.values().cloned().collect();
        // Types may be named after the tables that use them.
        for column in schema.tables.iter_mut().flat_map(|table| &mut table.columns) {
            column.sql_type = sql_type(&column.sql_type, &own_types);
        }
        // A join names tables and columns as Rust does.
        let name_of = |word: &str| idents.get(word).map_or_else(|| word.to_owned(), |(name, _)| name.clone());
        for (child, parent, column) in joins {
            let name = name_of(&child);
            let known = idents.get(&child).and_then(|(_, columns)| columns.get(&column).cloned());
            if let Some(table) = schema.tables.iter_mut().find(|table| table.name == name) {
                let column = known.unwrap_or(column);
                table.references.push(Reference { column, table: name_of(&parent), constraint: None });
            }
        }
        Ok(schema)
    }
}

/// The server's name of a diesel type: mostly the same, in small letters.
fn sql_type(diesel: &str, own: &BTreeMap<String, String>) -> String {
    if let Some(element) = diesel.strip_prefix("Array<").and_then(|rest| rest.strip_suffix('>')) {
        let element =
            element.strip_prefix("Nullable<").and_then(|rest| rest.strip_suffix('>')).unwrap_or(element);
        return format!("{}[]", sql_type(element, own));
    }
    if let Some(name) = own.get(diesel) {
        return name.clone();
    }
    let name = match diesel {
        "SmallInt" => "int2",
        "Integer" => "int4",
        "BigInt" => "int8",
        "Float" => "float4",
        "Double" => "float8",
        "Decimal" => "numeric",
        "VarChar" | "Varchar" => "varchar",
        "Binary" => "bytea",
        "CChar" => "\"char\"",
        other => return other.to_ascii_lowercase(),
    };
    name.to_owned()
}

/// The words, marks and strings of a text in Rust, without comments.
struct Tokens {
    tokens: Vec<(String, usize)>,
    at: usize,
}

impl Tokens {
    fn of(text: &str) -> Self {
        let mut tokens = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let mut rest = line.split("//").next().unwrap_or_default();
            while let Some(first) = rest.chars().next() {
                let is_word = |one: char| one.is_alphanumeric() || one == '_';
                let end = if is_word(first) {
                    rest.find(|one| !is_word(one)).unwrap_or(rest.len())
                } else if first == '"' {
                    rest.get(1..).and_then(|rest| rest.find('"')).map_or(rest.len(), |end| end + 2)
                } else {
                    first.len_utf8()
                };
                let (token, behind) = rest.split_at(end);
                if !first.is_whitespace() {
                    tokens.push((token.to_owned(), number + 1));
                }
                rest = behind;
            }
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
            table.columns.push(Column { name, sql_type, max_length, nullable, default: None });
            self.take(",");
        }
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
                    "sql_name" => attributes.name = Some(value.trim_matches('"').to_owned()),
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
    fn own_type(&mut self) -> Result<(String, String), MigrationError> {
        let mut values = BTreeMap::new();
        while !self.take("struct") {
            let key = self.next().ok_or_else(|| self.unexpected("struct"))?;
            if self.take("=") {
                values.insert(key, self.next().unwrap_or_default().trim_matches('"').to_owned());
            }
        }
        let identifier = self.word()?;
        let name = values.remove("name").unwrap_or_else(|| identifier.to_ascii_lowercase());
        Ok((name, identifier))
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
            [Reference { column: "author".into(), table: "people".into(), constraint: None }]
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
