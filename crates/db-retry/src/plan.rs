//! How an attempt at a transaction is to be made.

use std::time::Duration;

use db_core::{AroundCommit, Error};
use tokio::time::Instant;

use crate::begin::Begin;
use crate::marker;
use crate::search_path::SearchPath;

/// How much longer than the attempt's limit a ROLLBACK may take, and how much later than the answer to COMMIT
/// that of a statement behind it may come.
pub(crate) const GRACE: Duration = Duration::from_millis(500);

/// How an attempt is to be made.
pub(crate) struct Plan<'a> {
    pub(crate) begin: Begin,
    pub(crate) around: &'a dyn AroundCommit,
    pub(crate) started: Instant,
    /// When it must have ended.
    pub(crate) limit: Option<Instant>,
    /// Where marker rows are.
    pub(crate) markers: &'a marker::Location,
    /// The schema that they are to be in.
    pub(crate) marker_schema: Option<&'a str>,
    /// The schemas that the work runs in.
    pub(crate) path: Option<&'a SearchPath>,
}

impl Plan<'_> {
    pub(crate) fn too_late(&self) -> Error {
        Error::DeadlineExceeded { waited: self.started.elapsed() }
    }
}
