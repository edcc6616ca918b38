//! Asks a server's catalogue only for columns that it has and that the role may read.
//!
//! A statement names its columns in braces. `{a.state}` must be there, or the statement is not sent and says
//! which column is missing; `{a.query_id?}` is NULL where it is not; `{a.shared_blk_read_time|blk_read_time}`
//! is the first that is there. `{a}` is the view itself. What there is was read from `pg_attribute`, never
//! concluded from a version.

use serde::de::DeserializeOwned;

use crate::server::record::record;
use crate::server::{Catalog, ServerSession, SkipReason};

/// Why something could not be read, for the person who reads it.
pub(crate) type Missing = String;

/// One statement about the catalogue.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Question {
    /// What each alias stands for.
    pub(crate) from: &'static [(&'static str, &'static str)],
    /// The statement, with its columns in braces.
    pub(crate) sql: &'static str,
    /// Whether it says the truth only to a member of `pg_read_all_stats`.
    pub(crate) needs_stats_role: bool,
}

/// What came of one statement: its rows, or why there are none.
#[derive(Debug, Clone)]
pub(crate) struct Answer<T> {
    pub(crate) rows: Result<Vec<T>, Missing>,
}

impl<T> Default for Answer<T> {
    fn default() -> Self {
        Answer { rows: Err("it was not looked at".to_owned()) }
    }
}

record! {
    /// One row as JSON.
    struct Line: "", "" {
        line: String;
    }
}

/// A session with what its role may see.
pub(crate) struct Asker<'s> {
    session: &'s ServerSession,
    reads_all_stats: bool,
}

impl<'s> Asker<'s> {
    /// Asks on this session.
    pub(crate) fn new(session: &'s ServerSession, reads_all_stats: bool) -> Self {
        Asker { session, reads_all_stats }
    }

    /// Asks one question. What cannot be asked, and what the server refuses, is an answer as well.
    pub(crate) async fn ask<T: DeserializeOwned>(&self, question: &Question) -> Answer<T> {
        if question.needs_stats_role && !self.reads_all_stats {
            let why = "the role sees only its own sessions: GRANT pg_monitor TO it".to_owned();
            return Answer { rows: Err(why) };
        }
        let sql = match compose(self.session.catalog(), question) {
            Ok(sql) => sql,
            Err(missing) => return Answer { rows: Err(missing) },
        };
        let wrapped = format!("SELECT to_jsonb(answer)::text FROM ({sql}) answer");
        let rows = match self.session.rows::<Line>(&wrapped).await {
            Ok(rows) => {
                let rows =
                    rows.iter().map(|row| serde_json::from_str(&row.line)).collect::<Result<Vec<T>, _>>();
                rows.map_err(|error| format!("the server's answer is not understood: {error}"))
            }
            // What the server says may quote a statement.
            Err(skipped) => Err(match skipped.reason {
                SkipReason::Locked => "a lock of somebody else is in the way".to_owned(),
                SkipReason::TimedOut => "the server took too long to say".to_owned(),
                SkipReason::Refused => "the server refused the question".to_owned(),
                _ => skipped.detail,
            }),
        };
        Answer { rows }
    }
}

/// The statement as this server can answer it.
///
/// # Errors
/// The view or column that is not there, or not for this role.
fn compose(catalog: &Catalog, question: &Question) -> Result<String, Missing> {
    let mut sql = String::with_capacity(question.sql.len());
    let mut rest = question.sql;
    while let Some((before, after)) = rest.split_once('{') {
        sql.push_str(before);
        let Some((name, behind)) = after.split_once('}') else { break };
        // An empty array of SQL.
        if name.is_empty() {
            sql.push_str("{}");
        } else {
            sql.push_str(&resolve(catalog, question, name)?);
        }
        rest = behind;
    }
    sql.push_str(rest);
    Ok(sql)
}

fn resolve(catalog: &Catalog, question: &Question, name: &str) -> Result<String, Missing> {
    let (optional, name) = match name.strip_suffix('?') {
        Some(name) => (true, name),
        None => (false, name),
    };
    let (alias, columns) = name.split_once('.').unwrap_or((name, ""));
    let view = question.from.iter().find(|(known, _)| *known == alias).map_or(alias, |(_, view)| *view);
    let relation = catalog.qualified(view).map_err(|skipped| skipped.detail)?;
    if columns.is_empty() {
        return Ok(relation);
    }
    match columns.split('|').find(|column| catalog.has_column(view, column)) {
        Some(column) => Ok(format!("{alias}.{column}")),
        None if optional => Ok("NULL".to_owned()),
        None => Err(format!("{view} has no column {}", columns.replace('|', " or "))),
    }
}
