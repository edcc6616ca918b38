//! A table's name as a statement writes it.

use std::fmt;

use crate::keyword;
use crate::lexer::Kind;

/// The longest name that the server keeps, in bytes: it cuts the rest off (`NAMEDATALEN` - 1).
const LONGEST_NAME: usize = 63;

/// A table's name as a statement writes it: with a schema only if the statement has one.
///
/// Names without quotes are in lower case, quoted ones as they are, both cut at 63 bytes, as the server does
/// it. A database before the schema is left out: it can only be the current one. `Display` quotes where that
/// is needed.
///
/// ```
/// let table = &db_statement::touched("TABLE Shop.\"Order\"").reads[0];
/// assert_eq!((table.schema.as_deref(), table.name.as_str()), (Some("shop"), "Order"));
/// assert_eq!(table.to_string(), "shop.\"Order\"");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Table {
    /// The schema, if the statement names one; else the server looks along its `search_path`.
    pub schema: Option<String>,
    /// The name in its schema.
    pub name: String,
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(schema) = &self.schema {
            write_name(schema, f)?;
            f.write_str(".")?;
        }
        write_name(&self.name, f)
    }
}

fn write_name(name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let starts = |byte: u8| byte.is_ascii_lowercase() || byte == b'_' || !byte.is_ascii();
    let plain = name.bytes().next().is_some_and(starts)
        && name.bytes().all(|byte| starts(byte) || byte.is_ascii_digit() || byte == b'$')
        && !keyword::is_reserved(name.as_bytes());
    if plain { f.write_str(name) } else { write!(f, "\"{}\"", name.replace('"', "\"\"")) }
}

/// What a token names: `text` is a word, a quoted name or a `U&` name.
pub(crate) fn name(kind: Kind, text: &str) -> String {
    let mut name = match kind {
        Kind::Quoted => unquoted(text),
        Kind::Unicode => decoded(text),
        _ => text.to_ascii_lowercase(),
    };
    let mut end = LONGEST_NAME.min(name.len());
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    name.truncate(end);
    name
}

fn unquoted(text: &str) -> String {
    let inner = text.strip_prefix('"').unwrap_or(text);
    inner.strip_suffix('"').unwrap_or(inner).replace("\"\"", "\"")
}

/// `U&"d\0061t\+000061"`, with the escape character that `UESCAPE` names behind it, if any.
fn decoded(text: &str) -> String {
    let rest = text.get(2..).unwrap_or_default();
    let end = rest.rfind('"').map_or(rest.len(), |end| end + 1);
    let (quoted, uescape) = rest.split_at_checked(end).unwrap_or((rest, ""));
    let escape = uescape.rsplit('\'').nth(1).and_then(|inner| inner.chars().next()).unwrap_or('\\');
    let inner = unquoted(quoted);
    let mut name = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(one) = chars.next() {
        if one != escape {
            name.push(one);
            continue;
        }
        let rest = chars.as_str();
        let (skip, digits) = if rest.starts_with('+') { (1, 6) } else { (0, 4) };
        let code = rest.get(skip..skip + digits).and_then(|code| u32::from_str_radix(code, 16).ok());
        if rest.starts_with(escape) {
            name.push(escape);
            chars.next();
        } else if let Some(letter) = code.and_then(char::from_u32) {
            name.push(letter);
            chars = rest.get(skip + digits..).unwrap_or_default().chars();
        } else {
            name.push(one);
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_the_server_makes_of_them() {
        let check = |kind: Kind, text: &str, want: &str| assert_eq!(name(kind, text), want, "{text}");
        check(Kind::Word, "Users", "users");
        check(Kind::Word, "ÉA", "Éa");
        check(Kind::Quoted, "\"Us\"\"ers\"", "Us\"ers");
        check(Kind::Quoted, "\"", "");
        check(Kind::Unicode, "U&\"d\\0061t\\+000061\"", "data");
        check(Kind::Unicode, "u&\"d!0061!!\" UESCAPE '!'", "da!");
        check(Kind::Unicode, "U&\"\\zz\"", "\\zz");
        check(Kind::Word, &"é".repeat(40), &"é".repeat(31));
    }
}
