//! What can go wrong in a session with a server, and the way out of each.

use std::fmt;

use db_core::{Class, Classify, Endpoint, SqlState};
use fallible_iterator::FallibleIterator;
use postgres_protocol::message::backend::{ErrorFields, ErrorResponseBody};

/// What went wrong between a backup and its server.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// No session could be opened.
    #[error("no session with {endpoint}: {reason}; check the host, the port and that the server runs")]
    Connect {
        /// The server.
        endpoint: Endpoint,
        /// Why not.
        reason: String,
    },
    /// The server asks for a password, and none is known.
    #[error("{endpoint} asks for a password and the URL has none: add it, or name a passfile")]
    NoPassword {
        /// The server.
        endpoint: Endpoint,
    },
    /// The server asks for a way of logging in that is not spoken here.
    #[error(
        "{endpoint} asks for {method}, which is not supported: use scram-sha-256 in pg_hba.conf for this role"
    )]
    Method {
        /// The server.
        endpoint: Endpoint,
        /// What it asks for.
        method: &'static str,
    },
    /// The connection was lost.
    #[error("the connection to {endpoint} was lost: {reason}; run it again")]
    Lost {
        /// The server.
        endpoint: Endpoint,
        /// What the socket said.
        reason: String,
    },
    /// The server answered something else than the protocol says.
    #[error("{endpoint} did not send {expected}: is it PostgreSQL, with no proxy in between")]
    Protocol {
        /// The server.
        endpoint: Endpoint,
        /// What was waited for.
        expected: &'static str,
    },
    /// The server refused.
    #[error("{0}")]
    Server(Box<Said>),
}

/// What a server said: its code, its message, and what it advises.
#[derive(Debug, Clone, Default)]
pub struct Said {
    /// The SQLSTATE.
    pub code: String,
    /// The message.
    pub message: String,
    /// The detail, where there is one.
    pub detail: Option<String>,
    /// The hint, where there is one.
    pub hint: Option<String>,
}

impl SessionError {
    pub(super) fn from_server(body: &ErrorResponseBody) -> SessionError {
        SessionError::Server(Box::new(Self::fields(body.fields())))
    }

    pub(super) fn fields(mut fields: ErrorFields<'_>) -> Said {
        let mut said = Said::default();
        // A field that cannot be read ends the list: what came before it is still worth showing.
        while let Ok(Some(field)) = fields.next() {
            let text = String::from_utf8_lossy(field.value_bytes()).into_owned();
            match field.type_() {
                b'C' => said.code = text,
                b'M' => said.message = text,
                b'D' => said.detail = Some(text),
                b'H' => said.hint = Some(text),
                _ => {}
            }
        }
        said
    }

    /// The server's code, where it was the server that refused.
    pub fn sqlstate(&self) -> Option<&str> {
        match self {
            SessionError::Server(said) => Some(&said.code),
            _ => None,
        }
    }
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.code)?;
        if let Some(detail) = &self.detail {
            write!(f, "; {detail}")?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "; {hint}")?;
        }
        Ok(())
    }
}

impl Classify for SessionError {
    fn class(&self) -> Class {
        match self {
            SessionError::Connect { .. } | SessionError::Lost { .. } => Class::Unavailable,
            SessionError::Server(_) => self.code().map_or(Class::Permanent, |code| code.class()),
            _ => Class::Permanent,
        }
    }

    fn code(&self) -> Option<SqlState> {
        self.sqlstate()?.parse().ok()
    }
}
