//! One visit to a server: everything that checks judge, read once on one session.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::checks::{BlockingLook, Evidence};
use crate::server::record::record;
use crate::server::{DatabaseSnapshot, Round, ServerSession, Snapshot};

/// So many texts of statements are read, of those that take the most time.
const MOST_TEXTS: &str = "200";

record! {
    struct TextRow: "", "" {
        queryid: i64;
        query: String;
    }
}

record! {
    struct One: "", "(SELECT 1) AS s" {
        one: i64, as "1", from [];
    }
}

/// Everything that checks judge, as it was at one moment.
///
/// ```no_run
/// # async fn example(conn: diesel_async::AsyncPgConnection) -> Result<(), db_monitoring::server::Skipped> {
/// use db_monitoring::checks::{self, Selection, Visit};
/// use db_monitoring::server::ServerSession;
///
/// let session = ServerSession::open(conn, db_core::Endpoint::new("db", 5432)).await?;
/// let visit = Visit::to(&session).await;
/// for result in checks::judge(&visit.evidence(None), &Selection::default()) {
///     println!("{:10} {} {}", result.status.word(), result.id, result.summary);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Visit {
    /// The server, and the database that the session is in with its schema.
    pub snapshot: Snapshot,
    /// Who waits for whom.
    pub blocking: BlockingLook,
    /// How long `SELECT 1` took.
    pub round_trip: Option<Duration>,
}

impl Visit {
    /// Reads everything. What could not be read is known as such.
    ///
    /// # Cancel safety
    /// Dropping the future drops what was read; the session stays usable.
    pub async fn to(session: &ServerSession) -> Self {
        let mut visit = Self::counters(session).await;
        for database in visit.snapshot.by_database.values_mut() {
            database.collect(session, Round::Hourly).await;
        }
        visit
    }

    /// The same without schemas and extensions: for the first of two visits, whose counters are compared.
    ///
    /// # Cancel safety
    /// As [`Visit::to`].
    pub async fn counters(session: &ServerSession) -> Self {
        let (mut snapshot, mut database) = (Snapshot::default(), DatabaseSnapshot::default());
        let sent = Instant::now();
        let round_trip = session.read_one::<One>("").await.ok().map(|_| sent.elapsed());
        // What the role may see goes first: the other rounds ask.
        for round in [Round::Sizes, Round::Activity, Round::Counters, Round::Statements] {
            snapshot.collect(session, round).await;
            database.collect(session, round).await;
        }
        let access = snapshot.access.get().ok().cloned();
        let sees_all = access.as_ref().is_some_and(|access| access.reads_all_stats);
        let blocking = BlockingLook::read(session, sees_all).await;
        // Where the extension is there and its library is not loaded, asking again would be another error in
        // the log.
        if sees_all && snapshot.statements.get().is_ok() {
            snapshot.statement_texts = Arc::new(texts(session).await);
        }
        if let Some(access) = access {
            snapshot.by_database.insert(access.database, database);
        }
        Visit { snapshot, blocking, round_trip }
    }

    /// What checks judge, compared with an earlier visit if there is one.
    pub fn evidence<'a>(&'a self, before: Option<&'a Visit>) -> Evidence<'a> {
        Evidence {
            before: before.map(|visit| &visit.snapshot),
            blocking: Some(&self.blocking),
            round_trip: self.round_trip,
            ..Evidence::of(&self.snapshot)
        }
    }
}

/// The texts of the statements that take the most time, in their normal form.
async fn texts(session: &ServerSession) -> BTreeMap<i64, Arc<str>> {
    let catalog = session.catalog();
    let time = ["total_exec_time", "total_time"]
        .into_iter()
        .find(|name| catalog.has_column("pg_stat_statements", name));
    let (Ok(view), Some(time)) = (catalog.qualified("pg_stat_statements"), time) else {
        return BTreeMap::new();
    };
    let sql = format!(
        "SELECT s.queryid, left(s.query, 10000) FROM {view} s WHERE s.queryid IS NOT NULL ORDER BY s.{time} DESC LIMIT {MOST_TEXTS}"
    );
    let rows = session.rows::<TextRow>(&sql).await.unwrap_or_default();
    rows.into_iter().map(|row| (row.queryid, Arc::from(db_statement::normalize(&row.query)))).collect()
}

/// A statement of the server's, with its share of the time of all.
///
/// Times are milliseconds. The text is in the normal form: no constants, no comments.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[non_exhaustive]
pub struct TopStatement {
    /// The server's number for it, as text: JSON's numbers are too short.
    pub query_id: String,
    /// Its share of the execution time of all, from 0 to 100.
    pub share_percent: f64,
    /// How long all its executions took together.
    pub total_ms: f64,
    /// How often it was executed.
    pub calls: i64,
    /// How long one execution takes on average.
    pub mean_ms: f64,
    /// The longest execution.
    pub max_ms: Option<f64>,
    /// Rows that all executions returned or changed.
    pub rows: i64,
    /// The statement in its normal form; none where it was not read.
    pub statement: Option<String>,
}

impl TopStatement {
    /// The statements that take most of the time: all that was counted, of all roles and databases, by query
    /// identifier.
    ///
    /// # Errors
    /// Why it is not known.
    pub fn of(snapshot: &Snapshot, most: usize) -> Result<Vec<Self>, String> {
        let evidence = Evidence::of(snapshot);
        let all = snapshot.statements.get().map_err(|skipped| skipped.detail.clone())?;
        evidence.sees_all()?;
        let total: f64 = all.iter().map(|one| one.total_exec_time).sum();
        let mut by_id: HashMap<i64, TopStatement> = HashMap::new();
        for one in all {
            let Some(id) = one.queryid else { continue };
            let top = by_id.entry(id).or_insert_with(|| TopStatement {
                query_id: id.to_string(),
                share_percent: 0.0,
                total_ms: 0.0,
                calls: 0,
                mean_ms: 0.0,
                max_ms: None,
                rows: 0,
                statement: snapshot.statement_texts.get(&id).map(ToString::to_string),
            });
            top.total_ms += one.total_exec_time;
            top.calls = top.calls.saturating_add(one.calls);
            top.rows = top.rows.saturating_add(one.rows);
            top.max_ms = match (top.max_ms, one.max_exec_time) {
                (Some(before), Some(now)) => Some(before.max(now)),
                (before, now) => before.or(now),
            };
        }
        let mut tops: Vec<_> = by_id.into_values().collect();
        for top in &mut tops {
            top.share_percent = if total > 0.0 { 100.0 * top.total_ms / total } else { 0.0 };
            top.mean_ms = if top.calls > 0 { top.total_ms / top.calls as f64 } else { 0.0 };
        }
        tops.sort_by(|a, b| b.total_ms.total_cmp(&a.total_ms).then(a.query_id.cmp(&b.query_id)));
        tops.truncate(most);
        Ok(tops)
    }

    /// Whether it only looks at the server's own catalogs and views of statistics, as whoever watches the
    /// server does.
    ///
    /// A text that was not read, or that names no table, is none of these.
    pub fn reads_only_catalogs(&self) -> bool {
        let Some(statement) = &self.statement else { return false };
        let touched = db_statement::touched(statement);
        let is_catalog = |table: &db_statement::Table| match table.schema.as_deref() {
            Some(schema) => schema == "pg_catalog" || schema == "information_schema",
            None => table.name.starts_with("pg_"),
        };
        touched.writes.is_empty() && !touched.reads.is_empty() && touched.reads.iter().all(is_catalog)
    }
}
