//! What the server said about an error, and how sure we are that it said it.

use std::fmt;

use crate::SqlState;

/// How the code in a [`ServerReport`] is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Evidence {
    /// The server sent this code.
    Server,
    /// The client library named the kind of error, which stands for one code.
    Kind,
    /// The code was recognised by the English message; a server with another `lc_messages` hides it.
    Message,
}

/// What the server said about an error.
///
/// `Display` prints the message and the code. The detail often quotes the row ("Key (email)=(a@b.c) already
/// exists"), so neither `Display` nor `Debug` prints it: ask for it where it may be shown.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct ServerReport {
    /// The code, where it is known.
    pub code: Option<SqlState>,
    /// How the code is known.
    pub evidence: Option<Evidence>,
    /// The primary message, in the server's language.
    pub message: String,
    /// The detail, which may quote row data.
    pub detail: Option<String>,
    /// What the server advises.
    pub hint: Option<String>,
    /// The table that the error is about.
    pub table: Option<String>,
    /// The column that the error is about.
    pub column: Option<String>,
    /// The constraint that was violated.
    pub constraint: Option<String>,
    /// Where in the statement the error is, in characters from 1.
    pub position: Option<usize>,
}

impl ServerReport {
    /// A report with a message and a code known by `evidence`.
    pub fn new(message: impl Into<String>, code: Option<(SqlState, Evidence)>) -> Self {
        ServerReport {
            message: message.into(),
            code: code.map(|(code, _)| code),
            evidence: code.map(|(_, evidence)| evidence),
            ..ServerReport::default()
        }
    }
}

impl fmt::Display for ServerReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match self.code {
            Some(code) => write!(f, " (SQLSTATE {code})"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for ServerReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerReport")
            .field("code", &self.code)
            .field("evidence", &self.evidence)
            .field("message", &self.message)
            .field("detail", &self.detail.as_ref().map(|_| "withheld: it may quote row data"))
            .field("hint", &self.hint)
            .field("table", &self.table)
            .field("column", &self.column)
            .field("constraint", &self.constraint)
            .field("position", &self.position)
            .finish()
    }
}
