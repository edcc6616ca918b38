//! Which statements may be explained, and which may run for it.

use db_statement::{normalize, touched};

/// Why a statement is not explained, or not run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// There is no statement.
    #[error("the text holds no statement")]
    Empty,
    /// There are several.
    #[error("the text holds several statements: explain them one by one")]
    Several,
    /// It has no plan.
    #[error("{0} has no plan: SELECT, INSERT, UPDATE, DELETE, MERGE, VALUES and TABLE have")]
    NoPlan(String),
    /// It writes, and nobody asked for that.
    #[error(
        "to measure it, it would be run, and it {0}: explain it without analyze, or ask for writes too. They are rolled back; \
         what remains are numbers of sequences, locks on rows until then, bloat, and what functions and triggers do outside"
    )]
    Writes(String),
    /// It acts outside a transaction, so a rollback would not undo it.
    #[error("it calls {0}, which no rollback undoes: explain it without analyze")]
    ActsOutside(String),
    /// It has parameters.
    #[error("it has {wanted} parameters and {given} values were given: give each its value, in order")]
    Parameters {
        /// How many it has.
        wanted: usize,
        /// How many were given.
        given: usize,
    },
}

/// Functions of the server whose effect a rollback does not undo.
const OUTSIDE: [&str; 22] = [
    "pg_terminate_backend",
    "pg_cancel_backend",
    "pg_advisory_lock",
    "pg_advisory_lock_shared",
    "pg_try_advisory_lock",
    "pg_try_advisory_lock_shared",
    "pg_advisory_unlock",
    "pg_advisory_unlock_shared",
    "pg_advisory_unlock_all",
    "pg_reload_conf",
    "pg_rotate_logfile",
    "pg_promote",
    "pg_switch_wal",
    "pg_create_restore_point",
    "pg_stat_reset",
    "pg_stat_statements_reset",
    "pg_drop_replication_slot",
    "pg_wal_replay_pause",
    "pg_wal_replay_resume",
    "dblink",
    "dblink_exec",
    "lo_export",
];

/// The only statement of the text, without what ends it.
pub(super) fn one_statement(sql: &str) -> Result<&str, Refused> {
    let normal = normalize(sql);
    let verb = normal.trim_start_matches(['(', ' ']).split(|c: char| !c.is_ascii_alphabetic()).next();
    let verb = verb.unwrap_or_default();
    if normal.is_empty() {
        return Err(Refused::Empty);
    }
    // Constants are gone from it; what is left in quotes are names.
    if normal.split('"').step_by(2).any(|outside| outside.contains(';')) {
        return Err(Refused::Several);
    }
    if !matches!(verb, "select" | "insert" | "update" | "delete" | "merge" | "values" | "table" | "with") {
        return Err(Refused::NoPlan(verb.to_ascii_uppercase()));
    }
    Ok(sql.trim().trim_end_matches([';', ' ', '\n', '\t', '\r']))
}

/// Whether it only reads; refused if it writes and `writes_too` does not say that it may.
pub(super) fn to_run(sql: &str, writes_too: bool) -> Result<bool, Refused> {
    let normal = normalize(sql);
    let words: Vec<&str> = normal.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).collect();
    if let Some(outside) = OUTSIDE.iter().find(|name| words.contains(*name)) {
        return Err(Refused::ActsOutside((*outside).to_owned()));
    }
    let touched = touched(sql);
    let writes = touched.writes.first().map(|table| format!("writes {}", table.name));
    let locks =
        words.windows(2).any(|pair| pair[0] == "for" && matches!(pair[1], "update" | "share" | "no" | "key"));
    let takes = ["nextval", "setval", "pg_notify"].iter().find(|name| words.contains(*name));
    let does = writes
        .or_else(|| locks.then(|| "locks rows".to_owned()))
        .or_else(|| takes.map(|name| format!("calls {name}")))
        .or_else(|| words.contains(&"into").then(|| "makes a table".to_owned()));
    match does {
        Some(does) if !writes_too => Err(Refused::Writes(does)),
        does => Ok(does.is_none()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_statement_that_has_a_plan_is_taken() {
        let check = |sql: &str, error: &str| match one_statement(sql) {
            Ok(_) => assert_eq!(error, "", "{sql}"),
            Err(refused) => {
                assert!(refused.to_string().contains(error) && !error.is_empty(), "{sql}: {refused}")
            }
        };
        check("SELECT ';' -- ;\n;", "");
        check("(SELECT 1)", "");
        check("WITH x AS (SELECT 1) SELECT * FROM x", "");
        check("SELECT 1; DROP TABLE a", "several");
        check("SELECT \"a;b\" FROM c", "");
        check("/* */ ", "no statement");
        check("DROP TABLE a", "DROP has no plan");
        check("EXPLAIN SELECT 1", "EXPLAIN has no plan");
    }

    #[test]
    fn what_writes_locks_or_acts_outside_is_not_run_unasked() {
        let refused = |sql: &str| to_run(sql, false).map_err(|refused| refused.to_string());
        assert_eq!(refused("SELECT * FROM a WHERE note = 'for update'"), Ok(true));
        for sql in [
            "UPDATE a SET b = 1",
            "WITH x AS (DELETE FROM a RETURNING *) SELECT * FROM x",
            "SELECT * FROM a FOR UPDATE",
            "SELECT * FROM a FOR NO KEY UPDATE",
            "SELECT nextval('s')",
            "SELECT pg_terminate_backend(1)",
            "SELECT pg_advisory_lock(1)",
        ] {
            assert!(refused(sql).is_err(), "{sql}");
        }
        assert_eq!(to_run("UPDATE a SET b = 1", true), Ok(false));
        assert!(to_run("SELECT pg_terminate_backend(1)", true).is_err());
    }
}
