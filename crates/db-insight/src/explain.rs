//! Asks a server for the plan of a statement: of any diesel query, and of a text with parameters.

mod allowed;
mod read_catalog;
mod rewritten;

use std::sync::atomic::{AtomicU64, Ordering};

use db_core::{Classify as _, SqlState};
use diesel::pg::Pg;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::Text;
use diesel::{QueryResult, QueryableByName, sql_query};
use diesel_async::{AnsiTransactionManager, AsyncPgConnection, RunQueryDsl, TransactionManager as _};

use crate::plan::{NotAPlan, Plan};
use crate::tips::{Tip, tips_on_text, tips_with};

pub use allowed::Refused;
pub use read_catalog::read_catalog;

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExplainError {
    /// The statement may not be explained this way.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The server refused it, or the connection was lost.
    #[error(transparent)]
    Server(#[from] db_core::Error),
    /// The server's answer is no plan.
    #[error("the server's answer is no plan: {0}")]
    NotAPlan(#[from] NotAPlan),
}

impl From<diesel::result::Error> for ExplainError {
    fn from(error: diesel::result::Error) -> Self {
        ExplainError::Server(error.into())
    }
}

/// How a text is explained.
///
/// ```
/// use db_insight::ExplainConfig;
///
/// let config = ExplainConfig { analyze: true, parameters: vec!["17".to_owned()], ..ExplainConfig::default() };
/// assert!(!config.writes_too);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExplainConfig {
    /// Run the statement, in a transaction that is rolled back, so that rows and times are measured.
    ///
    /// Without it nothing runs, and a plan tells expectations only.
    pub analyze: bool,
    /// With `analyze`, run also what writes or locks rows.
    ///
    /// The rollback undoes the rows. What remains: numbers taken from sequences, locks on rows until the
    /// rollback, bloat, and whatever functions and triggers do outside the database.
    pub writes_too: bool,
    /// The values of `$1`, `$2` and so on, as text. Without them the plan is the generic one, which fits any
    /// values.
    pub parameters: Vec<String>,
}

/// The plan of a diesel query, with its own values; nothing runs.
///
/// # Errors
/// What the server says of the query, and if its answer is no plan.
///
/// ```no_run
/// # use diesel::prelude::*;
/// diesel::table! { orders (id) { id -> Integer, customer_id -> Integer, } }
///
/// # async fn show(conn: &mut diesel_async::AsyncPgConnection) -> Result<(), db_insight::ExplainError> {
/// let plan = db_insight::explain(conn, orders::table.filter(orders::customer_id.eq(17))).await?;
/// for tip in db_insight::tips(&plan) {
///     println!("{} at {}: {}", tip.code, tip.node, tip.fix);
/// }
/// # Ok(())
/// # }
/// ```
pub async fn explain<Q>(conn: &mut AsyncPgConnection, query: Q) -> Result<Plan, ExplainError>
where
    Q: QueryFragment<Pg> + Send,
{
    Ok(load(conn, Explained { query, options: "FORMAT JSON, SETTINGS" }).await?.parse()?)
}

/// The plan of a diesel query that only reads, measured: it runs in a read-only transaction that is rolled
/// back.
///
/// # Errors
/// [`Refused`] if the query writes, locks rows or calls what acts outside the transaction; else as
/// [`explain`].
pub async fn explain_analyze<Q>(conn: &mut AsyncPgConnection, query: Q) -> Result<Plan, ExplainError>
where
    Q: QueryFragment<Pg> + Send,
{
    let text = diesel::debug_query::<Pg, _>(&query).to_string();
    // Behind the text stand the values.
    let text = text.rsplit_once(" -- binds: ").map_or(text.as_str(), |(text, _)| text);
    allowed::to_run(text, false)?;
    begin(conn, true).await?;
    let answer = load(conn, Explained { query, options: ANALYZE }).await;
    undo(conn, answer).await
}

const ANALYZE: &str = "ANALYZE, BUFFERS, SETTINGS, FORMAT JSON";

/// The plan of one statement's text, also with parameters (`$1`), as `pg_stat_statements` and diesel have it.
///
/// Without [`parameters`](ExplainConfig::parameters) it is the plan for any values, on every version.
///
/// # Errors
/// [`Refused`] if the text has several statements, none that has a plan, or, with `analyze`, one that writes,
/// unless that was asked for; else what the server says.
pub async fn explain_text(
    conn: &mut AsyncPgConnection,
    sql: &str,
    config: &ExplainConfig,
) -> Result<Plan, ExplainError> {
    let sql = allowed::one_statement(sql)?;
    let only_reads = if config.analyze { allowed::to_run(sql, config.writes_too)? } else { true };
    match prepared(conn, sql, config, only_reads).await {
        // What normalizing broke: `interval $1` is no SQL.
        Err(ExplainError::Server(error)) if is_syntax_error(&error) => match rewritten::rewritten(sql) {
            Some(rewritten) => prepared(conn, &rewritten, config, only_reads).await,
            None => Err(error.into()),
        },
        other => other,
    }
}

/// As [`explain_text`], with what is wrong with the plan and the text, and what the catalogue says of it.
///
/// # Errors
/// As [`explain_text`].
pub async fn explain_with_tips(
    conn: &mut AsyncPgConnection,
    sql: &str,
    config: &ExplainConfig,
) -> Result<(Plan, Vec<Tip>), ExplainError> {
    let plan = explain_text(conn, sql, config).await?;
    let mut tips = tips_with(&plan, &read_catalog(conn, &plan).await?);
    for tip in tips_on_text(sql) {
        if tips.iter().all(|known| known.code != tip.code) {
            tips.push(tip);
        }
    }
    Ok((plan, tips))
}

fn is_syntax_error(error: &db_core::Error) -> bool {
    error.code().is_some_and(|code: SqlState| code.as_str() == "42601")
}

/// Tells apart the statements that are prepared on one connection.
static NEXT: AtomicU64 = AtomicU64::new(1);

/// By PREPARE: the server finds the parameters' types itself, and no second statement can hide in the text.
async fn prepared(
    conn: &mut AsyncPgConnection,
    sql: &str,
    config: &ExplainConfig,
    only_reads: bool,
) -> Result<Plan, ExplainError> {
    let name = format!("dbp_explain_{}", NEXT.fetch_add(1, Ordering::Relaxed));
    sql_query(format!("PREPARE {name} AS {sql}")).execute(conn).await?;
    let explained = execute(conn, &name, config, only_reads).await;
    // A prepared statement outlives a rollback.
    let ended = sql_query(format!("DEALLOCATE {name}")).execute(conn).await;
    let plan = explained?;
    ended?;
    Ok(plan)
}

async fn execute(
    conn: &mut AsyncPgConnection,
    name: &str,
    config: &ExplainConfig,
    only_reads: bool,
) -> Result<Plan, ExplainError> {
    let count =
        "SELECT cardinality(parameter_types) AS count FROM pg_catalog.pg_prepared_statements WHERE name = $1";
    let counted: Count = sql_query(count).bind::<Text, _>(name).get_result(conn).await?;
    let wanted = usize::try_from(counted.count).unwrap_or_default();
    let given = config.parameters.len();
    if given > 0 && given != wanted || given == 0 && wanted > 0 && config.analyze {
        return Err(Refused::Parameters { wanted, given }.into());
    }
    let (mode, values) = if given == 0 {
        ("force_generic_plan", vec!["NULL".to_owned(); wanted])
    } else {
        ("force_custom_plan", config.parameters.iter().map(|value| literal(value)).collect())
    };
    let values = if values.is_empty() { String::new() } else { format!("({})", values.join(", ")) };
    let options = if config.analyze { ANALYZE } else { "FORMAT JSON, SETTINGS" };
    let explain = format!("EXPLAIN ({options}) EXECUTE {name}{values}");
    begin(conn, only_reads).await?;
    let answer = with_mode(conn, mode, &explain).await;
    undo(conn, answer).await
}

async fn with_mode(conn: &mut AsyncPgConnection, mode: &str, explain: &str) -> QueryResult<String> {
    sql_query(format!("SET LOCAL plan_cache_mode = {mode}")).execute(conn).await?;
    let answer: Answer = sql_query(explain).get_result(conn).await?;
    Ok(answer.plan)
}

/// A value as SQL has it, whatever `standard_conforming_strings` says.
fn literal(value: &str) -> String {
    let quoted = value.replace('\'', "''");
    if quoted.contains('\\') { format!("E'{}'", quoted.replace('\\', "\\\\")) } else { format!("'{quoted}'") }
}

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = diesel::sql_types::Integer)]
    count: i32,
}

#[derive(QueryableByName)]
struct Answer {
    #[diesel(sql_type = Text, column_name = "QUERY PLAN")]
    plan: String,
}

/// Opens a transaction, or a part of the one that is open.
async fn begin(conn: &mut AsyncPgConnection, read_only: bool) -> QueryResult<()> {
    AnsiTransactionManager::begin_transaction(conn).await?;
    if !read_only {
        return Ok(());
    }
    match sql_query("SET TRANSACTION READ ONLY").execute(conn).await {
        Ok(_) => Ok(()),
        Err(error) => {
            // The first error says why.
            let _ = AnsiTransactionManager::rollback_transaction(conn).await;
            Err(error)
        }
    }
}

/// Undoes all since [`begin`], whatever came of it.
async fn undo(conn: &mut AsyncPgConnection, answer: QueryResult<String>) -> Result<Plan, ExplainError> {
    let undone = AnsiTransactionManager::rollback_transaction(conn).await;
    let text = answer?;
    undone?;
    Ok(text.parse()?)
}

/// A query with EXPLAIN before it.
struct Explained<Q> {
    query: Q,
    options: &'static str,
}

impl<Q> Query for Explained<Q> {
    type SqlType = Text;
}

impl<Q> QueryId for Explained<Q> {
    type QueryId = ();

    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<Q: QueryFragment<Pg>> QueryFragment<Pg> for Explained<Q> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.unsafe_to_cache_prepared();
        out.push_sql("EXPLAIN (");
        out.push_sql(self.options);
        out.push_sql(") ");
        self.query.walk_ast(out)
    }
}

async fn load<Q: QueryFragment<Pg> + Send>(
    conn: &mut AsyncPgConnection,
    query: Explained<Q>,
) -> QueryResult<String> {
    query.get_result(conn).await
}
