//! A `search_path` for all that one handle runs: it goes out with BEGIN, and the server takes it back with
//! the transaction.
//!
//! `SET LOCAL` ends with its transaction, whatever the end is: a COMMIT, an error, a cancelled call, a lost
//! connection. So no connection carries one caller's path to the next, and nothing has to be put back. What
//! runs in a path runs in a transaction.

use std::fmt;
use std::sync::Arc;

use db_core::{Error, Result};

/// The longest name of a schema that a server tells from others, in bytes: of a longer one it drops the end.
const LONGEST_NAME: usize = 63;

/// The schemas in which names without one are looked for, in their order.
///
/// ```
/// use db_retry::SearchPath;
///
/// let path = SearchPath::new(["tenant \"7\"", "public"])?;
/// assert_eq!(path.to_string(), r#""tenant ""7""", "public""#);
/// assert!(SearchPath::new(["x".repeat(64)]).is_err(), "another name with the same beginning would be the same schema");
/// # Ok::<(), db_core::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct SearchPath {
    quoted: Arc<str>,
}

impl SearchPath {
    /// Of these schemas, whose names are quoted here. Whether they exist the server does not ask: what is in
    /// none of them is not found.
    ///
    /// # Errors
    /// [`Error::Client`] for no schema, and for a name that would not mean the schema of that name: one that
    /// is empty, has a zero in it or more than 63 bytes, and `$user` and those that begin with `pg_temp`,
    /// which mean something else in a path.
    pub fn new(schemas: impl IntoIterator<Item = impl AsRef<str>>) -> Result<Self> {
        let mut quoted = String::new();
        for schema in schemas {
            let schema = schema.as_ref();
            let means_another = schema == "$user" || schema.starts_with("pg_temp");
            if schema.is_empty() || schema.contains('\0') || schema.len() > LONGEST_NAME || means_another {
                return Err(Error::Client(
                    format!("{schema:?} is no name of a schema in a search_path").into(),
                ));
            }
            let separator = if quoted.is_empty() { "" } else { ", " };
            quoted.push_str(&format!("{separator}\"{}\"", schema.replace('"', "\"\"")));
        }
        if quoted.is_empty() {
            return Err(Error::Client("a search_path without a schema".into()));
        }
        Ok(SearchPath { quoted: quoted.into() })
    }

    /// The statement that sets it for the transaction which is open.
    pub fn set_local(&self) -> String {
        format!("SET LOCAL search_path TO {self}")
    }

    /// The statement that sets it for the session.
    pub fn set(&self) -> String {
        format!("SET search_path TO {self}")
    }
}

/// As SQL writes it.
impl fmt::Display for SearchPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.quoted)
    }
}

impl fmt::Debug for SearchPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SearchPath").field(&self.quoted).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_would_mean_another_schema_are_refused() {
        for name in ["", "$user", "pg_temp", "pg_temp_3", "a\0b", &"x".repeat(64)] {
            assert!(SearchPath::new([name]).is_err(), "{name:?}");
        }
        assert!(SearchPath::new([""; 0]).is_err());
        let path = SearchPath::new(["A b", "c\"; DROP TABLE t; --"]).unwrap();
        assert_eq!(path.set_local(), r#"SET LOCAL search_path TO "A b", "c""; DROP TABLE t; --""#);
    }
}
