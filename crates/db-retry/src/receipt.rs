//! Begins a transaction and learns its id on the way, without a round trip for that.
//!
//! The id alone proves nothing once the server has crashed or another one has taken over: both may give the
//! same id to another transaction (seen on PostgreSQL 15, one timeline: 725, `kill -9` of a backend, 725
//! again). So the server's history is noted with it: its timeline, and when its statistics were begun anew,
//! which every crash recovery does and no orderly restart. Whose history it is, the system identifier says.

use db_core::{Error, Facts, Opening, Result, SqlState};
use diesel::pg::Pg;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::result::{OptionalExtension, QueryResult};
use diesel::sql_types::Text;
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};

use crate::begin::Begin;
use crate::search_path::SearchPath;

macro_rules! timeline {
    () => {
        "pg_catalog.left(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn()), 8)"
    };
}

macro_rules! incarnation {
    () => {
        "coalesce(extract(epoch FROM pg_catalog.pg_stat_get_bgwriter_stat_reset_time())::pg_catalog.text, '')"
    };
}

/// The server's timeline; fails on a standby.
pub(crate) const TIMELINE: &str = timeline!();

/// When the server's statistics were begun anew, as text that no session setting changes.
pub(crate) const INCARNATION: &str = incarnation!();

/// Asks for the receipt of the transaction that it runs in; no row where that cannot write.
const IDENTIFY: &str = concat!(
    "SELECT pg_catalog.pg_current_xact_id()::pg_catalog.text, ",
    timeline!(),
    ", ",
    incarnation!(),
    " WHERE NOT pg_catalog.current_setting('transaction_read_only')::pg_catalog.bool"
);

/// What identifies a transaction after its connection is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Receipt {
    /// Its id, as the server writes it.
    pub(crate) transaction: String,
    pub(crate) timeline: String,
    pub(crate) incarnation: String,
    /// The cluster's system identifier, where the connection's source knows it: every new cluster is on
    /// timeline 1.
    pub(crate) system: Option<u64>,
}

/// [`IDENTIFY`].
///
/// A query type of its own, because a connection prepares one of those once and finds it again.
#[derive(Debug, Clone, Copy, QueryId)]
struct Identify;

impl QueryFragment<Pg> for Identify {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(IDENTIFY);
        Ok(())
    }
}

impl Query for Identify {
    type SqlType = (Text, Text, Text);
}

/// How a transaction begins that goes out with its first request.
pub(crate) fn opening(begin: Begin, path: Option<&SearchPath>) -> Opening {
    let mut opening = Opening::new(begin.sql());
    if let Some(path) = path {
        // The server takes it back with the transaction, whatever the end of that is.
        opening = opening.then(path.set_local());
    }
    if let Some(statements) = begin.batched().filter(|_| path.is_none()) {
        opening = opening.batch(statements);
    }
    if begin.is_identified() { opening.asking(IDENTIFY) } else { opening }
}

/// Begins a transaction by itself, and asks for its receipt in the same flush where `opening` wants one.
pub(crate) async fn begin(conn: &mut AsyncPgConnection, opening: &Opening) -> Result<Option<Receipt>> {
    let sql = opening.sql();
    if opening.question().is_none() {
        conn.batch_execute(&sql).await?;
        return Ok(None);
    }
    let (mut beginning, mut asking) = (&*conn, &*conn);
    let (begun, row) = tokio::join!(
        biased;
        beginning.batch_execute(&sql),
        Identify.get_result::<(String, String, String)>(&mut asking),
    );
    begun?;
    let row = row.optional()?;
    Ok(row.map(|(transaction, timeline, incarnation)| Receipt {
        transaction,
        timeline,
        incarnation,
        system: None,
    }))
}

impl Receipt {
    /// The receipt of a transaction whose BEGIN went out with its first request, once it is answered.
    pub(crate) fn of(facts: &Facts) -> Option<Receipt> {
        let [transaction, timeline, incarnation] = facts.opened.as_deref()? else { return None };
        Some(Receipt {
            transaction: transaction.clone()?,
            timeline: timeline.clone()?,
            incarnation: incarnation.clone()?,
            system: facts.server.and_then(|server| server.system),
        })
    }

    /// A statement that fails unless this transaction is still the one that is open: its work may have ended
    /// it and begun another one, which the transaction's status does not show.
    ///
    /// None where the server's id is none.
    pub(crate) fn guard(&self) -> Option<String> {
        let id: u64 = self.transaction.parse().ok()?;
        // Not a constant, or it would be evaluated when the statement is parsed.
        Some(format!(
            "SELECT CASE WHEN pg_catalog.pg_current_xact_id_if_assigned()::pg_catalog.text OPERATOR(pg_catalog.=) '{id}' \
             THEN 1 \
             ELSE pg_catalog.concat('{ANOTHER}', pg_catalog.pg_current_xact_id_if_assigned())::pg_catalog.int4 END"
        ))
    }

    /// Whether an error is that of [`Receipt::guard`], whatever language the server speaks.
    pub(crate) fn is_guards(error: &Error) -> bool {
        let invalid = error.sqlstate() == Some(SqlState::INVALID_TEXT_REPRESENTATION);
        invalid && error.report().is_some_and(|report| report.message.contains(ANOTHER))
    }
}

/// What the guard's error quotes.
const ANOTHER: &str = "db-retry: another transaction is open: ";
