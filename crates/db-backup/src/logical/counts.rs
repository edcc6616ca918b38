//! How many rows the tables of a database have.

use super::RowCounts;
use crate::session::{Session, SessionError};

/// Tables of this database whose rows are somewhere else.
pub(super) async fn foreign_tables(session: &mut Session) -> Result<Vec<String>, SessionError> {
    let tables = "SELECT format('%I.%I', n.nspname, c.relname) FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON \
                  n.oid = c.relnamespace WHERE c.relkind = 'f' ORDER BY 1";
    Ok(session.rows(tables).await?.into_iter().filter_map(|row| row.into_iter().next().flatten()).collect())
}

/// Counts the rows of each table that holds any itself, in the session's own snapshot.
pub(super) async fn counts(session: &mut Session) -> Result<RowCounts, SessionError> {
    // Rows of partitions are their own; a foreign table's are somewhere else.
    let tables = "SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
                  WHERE c.relkind = 'r' AND c.relpersistence = 'p' AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_' \
                  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e') ORDER BY 1";
    let mut counts = RowCounts::new();
    for row in session.rows(tables).await? {
        let Some(table) = row.into_iter().next().flatten() else { continue };
        let rows = session.value(&format!("SELECT count(*) FROM ONLY {table}")).await?;
        counts.insert(table, rows.parse().unwrap_or(0));
    }
    Ok(counts)
}
