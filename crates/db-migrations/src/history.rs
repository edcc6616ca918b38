//! What was applied to a database and when, as its own record says, without a directory of migrations.

#[cfg(feature = "panels")]
mod panel;

use std::time::{Duration, SystemTime};

use diesel::sql_types::{BigInt, Double, Nullable, Text};
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use crate::error::MigrationError;
use crate::ledger::Ledger;
use crate::source::Version;

/// What a database's record says of its migrations.
///
/// ```no_run
/// # async fn show(conn: &mut diesel_async::AsyncPgConnection) -> Result<(), db_migrations::MigrationError> {
/// let history = db_migrations::History::read(conn, None, 10).await?;
/// for one in &history.applied {
///     println!("{} {} {:?}", one.version, one.name.as_deref().unwrap_or("?"), one.at);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct History {
    /// The last ones that were applied, the newest first.
    pub applied: Vec<Applied>,
    /// How many are applied in all.
    pub count: u64,
    /// Those that were begun and not ended, with how many of their parts have committed.
    pub cut_off: Vec<(Version, usize)>,
}

/// One migration that is applied.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Applied {
    /// Its version.
    pub version: Version,
    /// Its name; none where another tool applied it.
    pub name: Option<String>,
    /// When.
    pub at: Option<SystemTime>,
    /// How long it took; none where another tool applied it.
    pub elapsed: Option<Duration>,
    /// As whom.
    pub by: Option<String>,
    /// `ran`, `baseline` or `repaired`; none where another tool applied it.
    pub how: Option<String>,
}

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = Text)]
    version: String,
    #[diesel(sql_type = Nullable<Text>)]
    name: Option<String>,
    #[diesel(sql_type = Nullable<Double>)]
    at: Option<f64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    duration_ms: Option<i64>,
    #[diesel(sql_type = Nullable<Text>)]
    applied_by: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    how: Option<String>,
}

impl History {
    /// Reads the newest `most` of them; `ledger_schema` is where the record is, or none to look for it. A
    /// database without a record has no history. It takes no lock but that of reading the record.
    ///
    /// # Errors
    /// Where there are several records and none is named, and where the server does not answer.
    ///
    /// # Cancel safety
    /// It only reads.
    pub async fn read(
        conn: &mut AsyncPgConnection,
        ledger_schema: Option<&str>,
        most: usize,
    ) -> Result<Self, MigrationError> {
        let (ledger, state) = Ledger::read(conn, ledger_schema).await?;
        let Some(sql) = ledger.history(most) else { return Ok(History::default()) };
        let rows: Vec<Row> = sql_query(sql).get_results(conn).await?;
        let applied = rows.into_iter().map(|row| Applied {
            version: Version::from_stored(row.version),
            name: row.name,
            at: row
                .at
                .and_then(|at| Duration::try_from_secs_f64(at).ok())
                .map(|at| SystemTime::UNIX_EPOCH + at),
            elapsed: row.duration_ms.and_then(|ms| u64::try_from(ms).ok()).map(Duration::from_millis),
            by: row.applied_by,
            how: row.how,
        });
        Ok(History {
            applied: applied.collect(),
            count: state.applied.len() as u64,
            cut_off: state.under_way.into_iter().map(|one| (one.version, one.done)).collect(),
        })
    }
}
