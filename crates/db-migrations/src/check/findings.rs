//! Turns what was seen into what is to be looked at.

use serde::Serialize;

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing.
    Note,
    /// To be looked at before it runs on a large table.
    Warning,
    /// To be repaired.
    Error,
}

/// Something to be looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The rule: `trace/…` was seen on the server, `lint/…` was read in the text, `round-trip` is about down.sql.
    pub rule: String,
    /// How much it matters.
    pub severity: Severity,
    /// The line of up.sql, where it is about one.
    pub line: Option<usize>,
    /// What is the matter.
    pub message: String,
    /// What to do instead.
    pub fix: Option<String>,
}
