//! Recognises what our crates send along with a caller's statements, so that nobody reads it as the service's
//! own.

/// What a statement of ours is.
///
/// ```
/// use db_core::OwnStatement;
///
/// assert_eq!(OwnStatement::of("SELECT 1; COMMIT"), Some(OwnStatement::Commit));
/// assert_eq!(OwnStatement::of("SELECT count(*) FROM users"), None);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnStatement {
    /// A question of ours: what identifies a transaction, how far the log is, where the table of markers is.
    Question,
    /// The caller's COMMIT, with a guard before it and perhaps a marker row.
    Commit,
}

/// How our questions begin. A service may ask such things, too, but hardly in these words.
const QUESTIONS: [&str; 4] = [
    "SELECT pg_catalog.pg_current_xact_id()::pg_catalog.text, ",
    "SELECT (SELECT system_identifier FROM pg_catalog.pg_control_system()), ",
    "SELECT pg_catalog.pg_is_in_recovery(), coalesce(",
    "SELECT n.nspname::pg_catalog.text AS schema FROM pg_catalog.pg_class AS c",
];

/// How the guard before COMMIT begins.
const GUARDS: [&str; 2] = ["SELECT 1; ", "SELECT CASE WHEN pg_catalog.pg_current_xact_id_if_assigned()"];

impl OwnStatement {
    /// What this text is, if it is ours.
    pub fn of(sql: &str) -> Option<OwnStatement> {
        if !sql.starts_with("SELECT ") {
            None
        } else if sql.ends_with("; COMMIT") && GUARDS.iter().any(|guard| sql.starts_with(guard)) {
            Some(OwnStatement::Commit)
        } else {
            QUESTIONS.iter().any(|question| sql.starts_with(question)).then_some(OwnStatement::Question)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_service_asks_itself_is_not_ours() {
        for sql in
            ["", "SELECT 1", "COMMIT", "INSERT INTO t VALUES (1); COMMIT", "SELECT pg_current_xact_id()"]
        {
            assert_eq!(OwnStatement::of(sql), None, "{sql}");
        }
        for question in QUESTIONS {
            assert_eq!(OwnStatement::of(question), Some(OwnStatement::Question));
        }
        let marked = "SELECT 1; INSERT INTO public.db_platform_commits (id) VALUES ('…'); COMMIT";
        assert_eq!(OwnStatement::of(marked), Some(OwnStatement::Commit));
    }
}
