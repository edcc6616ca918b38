//! Finds the table of marker rows: by its name and columns in the catalogue, in whatever schema it is.
//!
//! Each name in the query has its schema, and so has each operator: a `search_path` decides about them
//! otherwise.

use std::sync::{Mutex, MutexGuard, PoisonError};

use db_core::{Error, Evidence, Result, ServerReport, SqlState};
use diesel::sql_types::Text;
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

const NAME: &str = "db_platform_commits";

const SCHEMAS: &str = "SELECT n.nspname::pg_catalog.text AS schema FROM pg_catalog.pg_class AS c JOIN \
    pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace WHERE c.relname \
    OPERATOR(pg_catalog.=) 'db_platform_commits'::pg_catalog.name AND c.relpersistence OPERATOR(pg_catalog.<>) 't' \
    AND c.relkind OPERATOR(pg_catalog.=) ANY ('{r,p}'::pg_catalog.\"char\"[]) AND (SELECT pg_catalog.count(*) FROM \
    pg_catalog.pg_attribute AS a WHERE a.attrelid OPERATOR(pg_catalog.=) c.oid AND NOT a.attisdropped AND a.attname \
    OPERATOR(pg_catalog.=) ANY ('{id,at,fenced}'::pg_catalog.name[])) OPERATOR(pg_catalog.=) 3";

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = Text)]
    schema: String,
}

/// The table, as SQL names it, once somebody has found it: it is looked for once, not for each transaction.
#[derive(Debug, Default)]
pub(crate) struct Location(Mutex<Option<String>>);

impl Location {
    /// The table in the schema that was named, else the one that there is.
    pub(crate) async fn find(&self, conn: &mut AsyncPgConnection, wanted: Option<&str>) -> Result<String> {
        if let Some(schema) = wanted {
            return Ok(name_in(schema));
        }
        let known = self.known().clone();
        if let Some(table) = known {
            return Ok(table);
        }
        let table = find(conn).await?.ok_or_else(none)?;
        *self.known() = Some(table.clone());
        Ok(table)
    }

    /// Looks for it anew the next time: where it was it is no more.
    pub(crate) fn forget(&self) {
        *self.known() = None;
    }

    fn known(&self) -> MutexGuard<'_, Option<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The table of this database, as SQL names it.
pub(super) async fn find(conn: &mut AsyncPgConnection) -> Result<Option<String>> {
    let rows: Vec<Row> = sql_query(SCHEMAS).get_results(conn).await?;
    match rows.as_slice() {
        [] => Ok(None),
        [one] => Ok(Some(name_in(&one.schema))),
        several => {
            let schemas: Vec<&str> = several.iter().map(|row| row.schema.as_str()).collect();
            Err(ambiguous(&schemas))
        }
    }
}

/// The table in a schema, as SQL names it.
pub(super) fn name_in(schema: &str) -> String {
    format!("\"{}\".{NAME}", schema.replace('"', "\"\""))
}

/// Whether the server says that the table is not where it was: moved, or dropped.
pub(crate) fn is_missing(error: &Error) -> bool {
    let missing = error.sqlstate() == Some(SqlState::UNDEFINED_TABLE);
    missing && error.report().is_some_and(|report| report.message.contains(NAME))
}

pub(super) fn none() -> Error {
    let message = format!(
        "no schema of this database has the table {NAME} for marker rows: create it by a migration, which \
         `dbctl migrate new commit_markers --commit-markers` writes (db_retry::marker::TABLE)"
    );
    said(message, SqlState::UNDEFINED_TABLE)
}

fn ambiguous(schemas: &[&str]) -> Error {
    let message = format!(
        "the schemas {} each have a table {NAME}: name the one that is meant with DB_MARKER_SCHEMA or \
         RetryConfig::marker_schema",
        schemas.join(" and ")
    );
    said(message, SqlState::AMBIGUOUS_ALIAS)
}

/// As the server would say it of a name that is missing, or means two things.
fn said(message: String, code: SqlState) -> Error {
    Error::from_report(ServerReport::new(message, Some((code, Evidence::Kind))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use db_core::{Class, Classify};

    #[test]
    fn what_is_wrong_with_the_table_names_the_way_out() {
        let errors = [(none(), "marker::TABLE"), (ambiguous(&["a", "b"]), "a and b")];
        for (error, way_out) in errors {
            assert_eq!(error.class(), Class::Permanent);
            assert!(error.to_string().contains(way_out), "{error}");
        }
        assert_eq!(name_in("of \"mine\""), "\"of \"\"mine\"\"\".db_platform_commits");
    }
}
