//! How far a long statement is, by the server's own views. Source: the PostgreSQL manual, "Progress
//! Reporting".

use std::fmt;

use diesel::sql_types::{BigInt, Integer, Nullable, Text};
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

/// How far a statement of a migration is.
///
/// ```
/// use db_migrations::{Migrations, Migrator, MigratorConfig};
/// # fn of(migrations: Migrations) -> Migrator {
/// Migrator::new(migrations, MigratorConfig::default()).with_progress(|progress| eprintln!("{progress}"))
/// # }
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Progress {
    /// The file and the line of the part that runs.
    pub at: String,
    /// How many seconds it has run.
    pub seconds: f64,
    /// What the server does: the command, and its phase where it has some.
    pub doing: String,
    /// How much is done of how much, and of what, where the server tells.
    pub done: Option<(i64, i64, &'static str)>,
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} has run for {:.0} s", self.at, self.seconds)?;
        if !self.doing.is_empty() {
            write!(f, ": {}", self.doing)?;
        }
        match self.done {
            Some((done, all, what)) if all > 0 => {
                let percent = 100.0 * done as f64 / all as f64;
                write!(f, ", {percent:.0} % of {all} {what}")
            }
            Some((done, _, what)) => write!(f, ", {done} {what}"),
            None => Ok(()),
        }
    }
}

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = Text)]
    doing: String,
    #[diesel(sql_type = Nullable<BigInt>)]
    done: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    of: Option<i64>,
    #[diesel(sql_type = Text)]
    what: String,
}

/// One row at most: a session runs one command.
const VIEWS: &str = "SELECT concat_ws(', ', command, phase) AS doing, CASE WHEN tuples_total > 0 THEN tuples_done \
        ELSE blocks_done END AS done, CASE WHEN tuples_total > 0 THEN tuples_total ELSE blocks_total END AS of, \
        CASE WHEN tuples_total > 0 THEN 'rows' ELSE 'pages' END AS what \
        FROM pg_catalog.pg_stat_progress_create_index WHERE pid = $1 \
    UNION ALL SELECT concat_ws(', ', command, phase), heap_blks_scanned, heap_blks_total, 'pages' \
        FROM pg_catalog.pg_stat_progress_cluster WHERE pid = $1 \
    UNION ALL SELECT concat_ws(', ', 'VACUUM', phase), heap_blks_scanned, heap_blks_total, 'pages' \
        FROM pg_catalog.pg_stat_progress_vacuum WHERE pid = $1 \
    UNION ALL SELECT concat_ws(', ', 'ANALYZE', phase), sample_blks_scanned, sample_blks_total, 'pages' \
        FROM pg_catalog.pg_stat_progress_analyze WHERE pid = $1 \
    UNION ALL SELECT command, tuples_processed, 0, 'rows' FROM pg_catalog.pg_stat_progress_copy WHERE pid = $1 LIMIT 1";

/// What the server tells of the session's command; that it tells nothing is an answer, too.
pub(crate) async fn of(
    conn: &mut AsyncPgConnection,
    pid: i32,
    (at, seconds): (&str, f64),
) -> diesel::QueryResult<Progress> {
    let rows: Vec<Row> = sql_query(VIEWS).bind::<Integer, _>(pid).get_results(conn).await?;
    let told = rows.into_iter().next();
    let done = told.as_ref().and_then(|row| {
        let what = if row.what == "rows" { "rows" } else { "pages" };
        Some((row.done?, row.of.unwrap_or_default(), what))
    });
    let doing = told.map(|row| row.doing).unwrap_or_default();
    Ok(Progress { at: at.to_owned(), seconds, doing, done })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_told_as_far_as_it_is_known() {
        let told = |doing: &str, done| {
            let (at, doing) = ("m/1_a/up.sql:3".to_owned(), doing.to_owned());
            Progress { at, seconds: 61.2, doing, done }.to_string()
        };
        let index = told("CREATE INDEX, building index: scanning table", Some((50, 200, "pages")));
        assert_eq!(
            index,
            "m/1_a/up.sql:3 has run for 61 s: CREATE INDEX, building index: scanning table, 25 % of 200 pages"
        );
        assert_eq!(
            told("COPY FROM", Some((7, 0, "rows"))),
            "m/1_a/up.sql:3 has run for 61 s: COPY FROM, 7 rows"
        );
        assert_eq!(told("", None), "m/1_a/up.sql:3 has run for 61 s");
    }
}
