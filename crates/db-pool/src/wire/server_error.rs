//! What an ErrorResponse says, and whether it shows that what the client keeps of the database is stale.
//!
//! Source: the PostgreSQL manual, "Error and Notice Message Fields".

use db_core::{ErrorFields, SqlState};

use super::frames::text;

/// What an ErrorResponse says.
pub(super) struct ServerError<'a> {
    pub(super) code: Option<SqlState>,
    /// Whether the server ends the session with it.
    pub(super) is_fatal: bool,
    pub(super) fields: ErrorFields<'a>,
    /// The function in the server's source that raised it.
    routine: &'a str,
}

/// What the client keeps of the database and must learn anew, from least to most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stale {
    /// Perhaps something, perhaps nothing: the connections must be asked.
    Doubt,
    /// Prepared statements: a table that one reads has changed, or the server does not know one.
    Statements,
    /// The numbers (OIDs) under which types are known: a type was dropped and made anew.
    Types,
}

impl<'a> ServerError<'a> {
    pub(super) fn read(mut body: &'a [u8]) -> Self {
        let fields = ErrorFields::default();
        let mut error = ServerError { code: None, is_fatal: false, fields, routine: "" };
        while let [field, rest @ ..] = body
            && *field != 0
            && let Some((value, after)) = text(rest)
        {
            match field {
                b'C' => error.code = value.parse().ok(),
                // The severity that is never translated (PostgreSQL 9.6 and later).
                b'V' => error.is_fatal = matches!(value, "FATAL" | "PANIC"),
                b'M' => error.fields.message = value,
                b'D' => error.fields.detail = Some(value),
                b'H' => error.fields.hint = Some(value),
                b't' => error.fields.table = Some(value),
                b'c' => error.fields.column = Some(value),
                b'n' => error.fields.constraint = Some(value),
                b'R' => error.routine = value,
                _ => {}
            }
            body = after;
        }
        error
    }

    /// Whether it is the notice that COMMIT waits no longer for its synchronous standby.
    pub(super) fn gives_up_standby(&self) -> bool {
        self.routine == "SyncRepWaitForLSN"
    }

    /// What it shows to be stale, where it came before the statement ran.
    ///
    /// Messages are translated, except those of internal errors (XX000): so the routine decides.
    pub(super) fn stale(&self) -> Option<Stale> {
        match (self.code?.as_str(), self.routine) {
            ("0A000", "RevalidateCachedQuery") | ("26000", _) => Some(Stale::Statements),
            ("XX000", _) if self.fields.message.starts_with("cache lookup failed for type ") => {
                Some(Stale::Types)
            }
            ("42704", "lookup_type_cache") => Some(Stale::Types),
            // A relation, a schema, a function, an object or a column is not there; a type does not fit: it
            // may be there, and fit, for a new session.
            ("42P01" | "3F000" | "42883" | "42704" | "42703" | "42804" | "42809", _) => Some(Stale::Doubt),
            _ => None,
        }
    }
}

/// The text at the beginning, up to its end or to where it was cut.
pub(super) fn leading_text(bytes: &[u8]) -> &str {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    match std::str::from_utf8(&bytes[..end]) {
        Ok(text) => text,
        Err(error) => std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default(),
    }
}
