//! What the session of a check has prepared, and which migrations may take it away.

use db_core::{Class, Classify};
use diesel::connection::CacheSize;

use super::error::CheckError;

/// What a text says that may remove prepared statements.
pub(super) const REMOVES_PREPARED: [&str; 2] = ["deallocate", "discard"];

/// What a text says that may write catalogs without this session's counting it.
pub(super) const EVADES_COUNTS: [&str; 3] = ["track_counts", "dblink", "pg_background"];

/// Whether a text says one of these words.
pub(super) fn says_one_of(sql: &str, words: &[&str]) -> bool {
    let sql = sql.to_ascii_lowercase();
    words.iter().any(|word| sql.contains(word))
}

/// Whether an error may be that a question is not prepared any more: diesel keeps no SQLSTATE of that, and a
/// server may say it in any language. Nothing else that a check asks is refused.
pub(super) fn may_be_missing(error: &CheckError) -> bool {
    matches!(error, CheckError::Database(source) if source.class() != Class::Unavailable)
}

/// Whether a session keeps what is prepared.
pub(super) fn cache(keeps: bool) -> CacheSize {
    if keeps { CacheSize::Unbounded } else { CacheSize::Disabled }
}
