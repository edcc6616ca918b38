//! Names of tables: parsed as SQL reads them, and quoted wherever they are written.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::MaintenanceError;

/// A table, by its schema and its name. It is written quoted, so that no name is read as SQL.
///
/// ```
/// use db_maintenance::TableName;
///
/// let events: TableName = "app.Events".parse()?;
/// assert_eq!(events.to_string(), r#"app.events"#);
/// let odd: TableName = r#"app."x""; DROP TABLE y; --""#.parse()?;
/// assert_eq!(odd.quoted(), r#""app"."x""; DROP TABLE y; --""#);
/// # Ok::<(), db_maintenance::MaintenanceError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TableName {
    /// The schema.
    pub schema: String,
    /// The table in it.
    pub name: String,
}

impl TableName {
    /// A table of this schema, both as the catalog has them.
    pub fn new(schema: impl Into<String>, name: impl Into<String>) -> Self {
        TableName { schema: schema.into(), name: name.into() }
    }

    /// Both parts in double quotes, for a statement.
    pub fn quoted(&self) -> String {
        format!("{}.{}", identifier(&self.schema), identifier(&self.name))
    }
}

impl fmt::Display for TableName {
    /// As a person writes it: quoted only where it must be.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", plain(&self.schema), plain(&self.name))
    }
}

impl FromStr for TableName {
    type Err = MaintenanceError;

    /// Reads `schema.table`, each part folded to small letters unless it is in double quotes.
    fn from_str(text: &str) -> Result<Self, MaintenanceError> {
        let wrong = || MaintenanceError::Name { text: text.to_owned() };
        let (schema, rest) = part(text).ok_or_else(wrong)?;
        let (name, rest) = rest.strip_prefix('.').and_then(part).ok_or_else(wrong)?;
        if rest.is_empty() { Ok(TableName { schema, name }) } else { Err(wrong()) }
    }
}

impl TryFrom<String> for TableName {
    type Error = MaintenanceError;

    fn try_from(text: String) -> Result<Self, MaintenanceError> {
        text.parse()
    }
}

impl From<TableName> for String {
    fn from(name: TableName) -> String {
        name.to_string()
    }
}

/// One part of a name, and what comes after it.
fn part(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find('.').unwrap_or(text.len());
        let (name, rest) = text.split_at(end);
        let fits = name.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '$');
        let starts = name.starts_with(|c: char| c.is_alphabetic() || c == '_');
        return (fits && starts).then(|| (name.to_lowercase(), rest));
    };
    let (mut name, mut chars) = (String::new(), quoted.char_indices().peekable());
    while let Some((at, c)) = chars.next() {
        match (c, chars.peek()) {
            ('"', Some((_, '"'))) => {
                name.push('"');
                chars.next();
            }
            ('"', _) if name.is_empty() => return None,
            ('"', _) => return Some((name, &quoted[at + 1..])),
            ('\0', _) => return None,
            (c, _) => name.push(c),
        }
    }
    None
}

/// A name in double quotes.
pub(crate) fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text in single quotes; the session has `standard_conforming_strings` on.
pub(crate) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn plain(name: &str) -> String {
    let small = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    let starts = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
    if small && starts { name.to_owned() } else { identifier(name) }
}

/// A name of at most 63 bytes that ends with `tail`: the server cuts longer ones without a word.
pub(crate) fn bounded(head: &str, tail: &str) -> String {
    let room = 63_usize.saturating_sub(tail.len());
    let mut end = head.len().min(room);
    while !head.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{tail}", &head[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_as_sql_reads_it() {
        let read = |text: &str| text.parse::<TableName>().map(|name| (name.schema, name.name)).ok();
        let pair = |schema: &str, name: &str| Some((schema.to_owned(), name.to_owned()));
        assert_eq!(read("App.Events"), pair("app", "events"));
        assert_eq!(read(r#""App"."a.b""#), pair("App", "a.b"));
        assert_eq!(read(r#"app."say ""hi""""#), pair("app", r#"say "hi""#));
        for wrong in ["events", "a.b.c", "", ".", "a.", r#"a."b"#, r#"a."""#, "a;b.c", "a.b; DROP TABLE c"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_name_comes_back_from_its_text() {
        for name in ["events", "Events", "a b", r#"x"; DROP TABLE y; --"#, "ünï"] {
            let table = TableName::new("s", name);
            assert_eq!(table.to_string().parse::<TableName>().unwrap(), table);
        }
    }

    #[test]
    fn a_long_name_keeps_its_tail_within_the_servers_limit() {
        let name = bounded(&"ä".repeat(60), "_p20261128");
        assert!(name.len() <= 63 && name.ends_with("_p20261128"), "{name}");
    }
}
