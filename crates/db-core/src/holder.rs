//! Who holds a connection.

use std::fmt;
use std::panic::Location;
use std::time::Duration;

/// Who holds a connection of a pool, and since when.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Holder {
    /// Where it was acquired.
    pub site: &'static Location<'static>,
    /// For how long it has been out.
    pub held: Duration,
    /// The shape of the last statement that it sent: no constants, no bind values.
    pub statement: Option<String>,
}

impl Holder {
    /// Someone who acquired a connection at `site` and has held it for `held`.
    pub fn new(site: &'static Location<'static>, held: Duration, statement: Option<String>) -> Self {
        Holder { site, held, statement }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "taken {:.1?} ago at {}:{}", self.held, self.site.file(), self.site.line())?;
        match &self.statement {
            Some(statement) => write!(f, ", last statement: {statement}"),
            None => f.write_str(", no statement yet"),
        }
    }
}
