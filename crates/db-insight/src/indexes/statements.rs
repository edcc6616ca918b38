//! Takes the workload from `pg_stat_statements`: the statements that cost the server most, and how often they
//! run.

use db_core::Error;
use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Double, Nullable, Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use serde_json::json;

use super::{AdviceError, Query};

#[derive(QueryableByName)]
struct Extension {
    #[diesel(sql_type = Text)]
    relation: String,
    #[diesel(sql_type = Text)]
    info: String,
}

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = Text)]
    id: String,
    #[diesel(sql_type = Text)]
    sql: String,
    #[diesel(sql_type = BigInt)]
    calls: i64,
    #[diesel(sql_type = Double)]
    ms: f64,
    #[diesel(sql_type = BigInt)]
    rows: i64,
    #[diesel(sql_type = Nullable<Double>)]
    days: Option<f64>,
}

const EXTENSION: &str = "SELECT format('%I.pg_stat_statements', n.nspname) AS relation, \
    format('%I.pg_stat_statements_info', n.nspname) AS info \
    FROM pg_catalog.pg_extension e JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace \
    WHERE e.extname = 'pg_stat_statements'";

/// The statements of this database that took most of the server's time, at most so many; none where the
/// extension is not there, or the server does not load it.
///
/// Their texts have parameters in place of constants: they are planned for any value, and partial indexes
/// cannot be told from them. What the role may not see is left out.
///
/// ```no_run
/// use db_insight::indexes::{AdviceConfig, advise, statements_of_server};
///
/// # async fn run(conn: &mut diesel_async::AsyncPgConnection) -> Result<(), Box<dyn std::error::Error>> {
/// if let Some(workload) = statements_of_server(conn, 100).await? {
///     println!("{:?}", advise(conn, &workload, &AdviceConfig::default()).await?.suggestions);
/// }
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// [`AdviceError`] where the database does not answer.
pub async fn statements_of_server(
    conn: &mut AsyncPgConnection,
    most: u32,
) -> Result<Option<Vec<Query>>, AdviceError> {
    let found = counts_of_server(conn, most).await?;
    Ok(found.map(|all| all.into_iter().map(|(query, _)| query).collect()))
}

/// What the server has counted of a statement since its counters were reset.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct StatementCounts {
    pub(crate) calls: u64,
    pub(crate) ms: f64,
    pub(crate) rows: u64,
}

/// As [`statements_of_server`], with what was counted of each.
pub(crate) async fn counts_of_server(
    conn: &mut AsyncPgConnection,
    most: u32,
) -> Result<Option<Vec<(Query, StatementCounts)>>, AdviceError> {
    let found: Vec<Extension> = diesel::sql_query(EXTENSION).get_results(conn).await.map_err(Error::from)?;
    let Some(Extension { relation, info }) = found.into_iter().next() else { return Ok(None) };
    // Statements of the catalogue are those of tools like this one.
    let sql = format!(
        "SELECT s.queryid::text AS id, min(s.query) AS sql, sum(s.calls)::int8 AS calls, \
            sum(s.total_exec_time)::float8 AS ms, sum(s.rows)::int8 AS rows, \
            (SELECT extract(epoch FROM now() - i.stats_reset) / 86400 FROM {info} i)::float8 AS days \
         FROM {relation} s JOIN pg_catalog.pg_database d ON d.oid = s.dbid \
         WHERE d.datname = current_database() AND s.queryid IS NOT NULL AND s.toplevel \
            AND s.query ~* '^\\s*(/\\*.*\\*/\\s*)?(select|insert|update|delete|merge|with)\\M' \
            AND s.query !~ 'pg_catalog|pg_stat|pg_class|pg_prepared|information_schema' \
         GROUP BY s.queryid ORDER BY sum(s.total_exec_time) DESC LIMIT $1"
    );
    let rows = diesel::sql_query(sql).bind::<BigInt, _>(i64::from(most)).get_results::<Row>(conn).await;
    let rows = match rows {
        Ok(rows) => rows,
        Err(error) => {
            // Made in the database, and not loaded by the server: the setting's name is in no language
            // another one.
            let is_not_loaded = error.to_string().contains("shared_preload_libraries");
            return if is_not_loaded { Ok(None) } else { Err(Error::from(error).into()) };
        }
    };
    let a_day = |row: &Row| row.days.filter(|days| *days > 1.0 / 24.0).map(|days| row.calls as f64 / days);
    let counted = |row: Row| {
        let counts = StatementCounts {
            calls: u64::try_from(row.calls).unwrap_or(0),
            ms: row.ms,
            rows: u64::try_from(row.rows).unwrap_or(0),
        };
        (Query { calls_per_day: a_day(&row), id: json!(row.id), sql: row.sql, params: Vec::new() }, counts)
    };
    Ok(Some(rows.into_iter().map(counted).collect()))
}
