//! How far each backfill came: two tables of ours, beside the ledger of migrations.

use std::time::Duration;

use db_core::{Error, SqlState};
use diesel::sql_types::{Array, BigInt, Bool, Double, Nullable, Text};
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};

use super::error::BackfillError;
use crate::error::MigrationError;
use crate::location::{Location, quoted};

/// The tables with their schema, quoted.
#[derive(Debug, Clone)]
pub(crate) struct Tables {
    pub(crate) progress: String,
    pub(crate) skipped: String,
    schema: String,
    exist: bool,
}

/// How far a backfill came.
#[derive(Debug, Clone, PartialEq, QueryableByName)]
pub struct BackfillStatus {
    /// Its name.
    #[diesel(sql_type = Text)]
    pub name: String,
    /// Rows that it has looked at.
    #[diesel(sql_type = BigInt)]
    pub rows_seen: i64,
    /// Rows that it has filled.
    #[diesel(sql_type = BigInt)]
    pub rows_filled: i64,
    /// Rows that it has filled with NULL.
    #[diesel(sql_type = BigInt)]
    pub stayed_null: i64,
    /// Rows that wait to be tried again, since they were locked or could not be written.
    #[diesel(sql_type = BigInt)]
    pub noted: i64,
    /// Whether it came to its end.
    #[diesel(sql_type = Bool)]
    pub finished: bool,
    /// Whether a session runs it just now.
    #[diesel(sql_type = Bool)]
    pub running: bool,
    /// Seconds since its last batch.
    #[diesel(sql_type = Double)]
    pub seconds_ago: f64,
}

#[derive(Debug, Clone, QueryableByName)]
pub(crate) struct Progress {
    #[diesel(sql_type = Text)]
    pub(crate) definition: String,
    #[diesel(sql_type = Nullable<Array<Text>>)]
    pub(crate) came_to: Option<Vec<String>>,
    #[diesel(sql_type = Nullable<Array<Text>>)]
    pub(crate) ends_at: Option<Vec<String>>,
    #[diesel(sql_type = BigInt)]
    pub(crate) rows_seen: i64,
    #[diesel(sql_type = BigInt)]
    pub(crate) rows_filled: i64,
    #[diesel(sql_type = BigInt)]
    pub(crate) stayed_null: i64,
    #[diesel(sql_type = BigInt)]
    pub(crate) failed: i64,
    #[diesel(sql_type = Bool)]
    pub(crate) finished: bool,
}

#[derive(QueryableByName)]
struct Answer {
    #[diesel(sql_type = Bool)]
    yes: bool,
}

/// The session lock of one backfill, by its name in `$1`.
const LOCK_KEY: &str = "pg_catalog.hashtextextended($1, 7162545)";

/// A client that was killed leaves its session for a second, until the server notices.
const LOCK_PATIENCE: Duration = Duration::from_secs(4);

impl Tables {
    /// Finds the tables, or where they would be.
    pub(crate) async fn find(
        conn: &mut AsyncPgConnection,
        schema: Option<&str>,
    ) -> Result<Tables, BackfillError> {
        let location = Location::find(conn, schema).await?;
        let schema = quoted(&location.schema);
        let progress = format!("{schema}.__db_backfills");
        let answer: Answer = sql_query("SELECT to_regclass($1) IS NOT NULL AS yes")
            .bind::<Text, _>(&progress)
            .get_result(conn)
            .await?;
        let skipped = format!("{schema}.__db_backfill_rows");
        Ok(Tables { progress, skipped, schema: location.schema, exist: answer.yes })
    }

    /// Makes the tables where they are missing.
    pub(crate) async fn create(&mut self, conn: &mut AsyncPgConnection) -> Result<(), BackfillError> {
        if self.exist {
            return Ok(());
        }
        let Tables { progress, skipped, .. } = &*self;
        let sql = format!(
            "BEGIN; SELECT pg_advisory_xact_lock(7162545); CREATE TABLE IF NOT EXISTS {progress} (name text \
                PRIMARY KEY, \
             definition text NOT NULL, came_to text[], ends_at text[], rows_seen bigint NOT NULL DEFAULT 0, \
             rows_filled bigint NOT NULL DEFAULT 0, stayed_null bigint NOT NULL DEFAULT 0, \
             failed bigint NOT NULL DEFAULT 0, begun_by text NOT NULL DEFAULT session_user, \
             begun_at timestamptz NOT NULL DEFAULT clock_timestamp(), \
             at timestamptz NOT NULL DEFAULT clock_timestamp(), finished_at timestamptz); \
             CREATE TABLE IF NOT EXISTS {skipped} (backfill text REFERENCES {progress} ON DELETE CASCADE, \
             key text[], \
             reason text NOT NULL, PRIMARY KEY (backfill, key)); COMMIT"
        );
        conn.batch_execute(&sql).await.map_err(|error| {
            let error = Error::from(error);
            match error.sqlstate() {
                Some(SqlState::INSUFFICIENT_PRIVILEGE) => {
                    BackfillError::Ledger(MigrationError::LedgerNotMade {
                        schema: self.schema.clone(),
                        source: Box::new(error),
                    })
                }
                _ => BackfillError::Database(error),
            }
        })?;
        self.exist = true;
        Ok(())
    }

    pub(crate) async fn read(
        &self,
        conn: &mut AsyncPgConnection,
        name: &str,
    ) -> Result<Option<Progress>, BackfillError> {
        if !self.exist {
            return Ok(None);
        }
        let sql = format!(
            "SELECT definition, came_to, ends_at, rows_seen, rows_filled, stayed_null, failed, \
             finished_at IS NOT NULL AS finished FROM {} WHERE name = $1",
            self.progress
        );
        let rows: Vec<Progress> = sql_query(sql).bind::<Text, _>(name).get_results(conn).await?;
        Ok(rows.into_iter().next())
    }

    /// Begins a backfill anew.
    pub(crate) async fn begin(
        &self,
        conn: &mut AsyncPgConnection,
        name: &str,
        definition: &str,
        ends_at: Option<&[String]>,
    ) -> Result<(), BackfillError> {
        let sql = format!(
            "WITH old AS (DELETE FROM {} WHERE backfill = $1) \
             INSERT INTO {} AS p (name, definition, ends_at) VALUES ($1, $2, $3) ON CONFLICT (name) DO \
             UPDATE SET \
             definition = EXCLUDED.definition, ends_at = EXCLUDED.ends_at, came_to = NULL, rows_seen = 0, \
             rows_filled = 0, stayed_null = 0, failed = 0, begun_by = DEFAULT, begun_at = DEFAULT, at = \
             DEFAULT, \
             finished_at = NULL",
            self.skipped, self.progress
        );
        sql_query(sql)
            .bind::<Text, _>(name)
            .bind::<Text, _>(definition)
            .bind::<Nullable<Array<Text>>, _>(ends_at)
            .execute(conn)
            .await?;
        Ok(())
    }

    /// Notes how far a batch came, within its transaction. False where somebody else has moved the note
    /// since.
    pub(crate) async fn came(
        &self,
        conn: &mut AsyncPgConnection,
        name: &str,
        from: Option<&[String]>,
        now: &Progress,
    ) -> Result<bool, diesel::result::Error> {
        let sql = format!(
            "UPDATE {} SET came_to = $3, rows_seen = $4, rows_filled = $5, stayed_null = $6, failed = $7, \
             at = clock_timestamp(), finished_at = CASE WHEN $8 THEN clock_timestamp() END \
             WHERE name = $1 AND came_to IS NOT DISTINCT FROM $2 AND finished_at IS NULL",
            self.progress
        );
        let moved = sql_query(sql)
            .bind::<Text, _>(name)
            .bind::<Nullable<Array<Text>>, _>(from)
            .bind::<Nullable<Array<Text>>, _>(now.came_to.as_deref())
            .bind::<BigInt, _>(now.rows_seen)
            .bind::<BigInt, _>(now.rows_filled)
            .bind::<BigInt, _>(now.stayed_null)
            .bind::<BigInt, _>(now.failed)
            .bind::<Bool, _>(now.finished)
            .execute(conn)
            .await?;
        Ok(moved == 1)
    }

    /// Takes the backfill's own lock: two sessions would share its rows, and both would report half.
    pub(crate) async fn lock(&self, conn: &mut AsyncPgConnection, name: &str) -> Result<(), BackfillError> {
        let sql = format!("SELECT pg_catalog.pg_try_advisory_lock({LOCK_KEY}) AS yes");
        let until = std::time::Instant::now() + LOCK_PATIENCE;
        loop {
            let answer: Answer = sql_query(&sql).bind::<Text, _>(name).get_result(conn).await?;
            if answer.yes {
                return Ok(());
            }
            if std::time::Instant::now() >= until {
                return Err(BackfillError::Running { name: name.to_owned() });
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    pub(crate) async fn unlock(&self, conn: &mut AsyncPgConnection, name: &str) {
        let sql = format!("SELECT pg_catalog.pg_advisory_unlock({LOCK_KEY}) AS yes");
        let given: Result<Answer, _> = sql_query(sql).bind::<Text, _>(name).get_result(conn).await;
        if let Err(error) = given {
            tracing::debug!(%error, "the lock goes with the connection");
        }
    }

    pub(crate) async fn status(
        &self,
        conn: &mut AsyncPgConnection,
    ) -> Result<Vec<BackfillStatus>, BackfillError> {
        if !self.exist {
            return Ok(Vec::new());
        }
        let key = LOCK_KEY.replace("$1", "name");
        let sql = format!(
            "SELECT name, rows_seen, rows_filled, stayed_null, \
             (SELECT count(*) FROM {} WHERE backfill = name) AS noted, finished_at IS NOT NULL AS finished, \
             EXISTS (SELECT FROM pg_catalog.pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = \
             1 \
             AND database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database()) \
             AND ((classid::bigint << 32) | objid::bigint) = {key}) AS running, \
             extract(epoch FROM clock_timestamp() - at)::float8 AS seconds_ago FROM {} ORDER BY name",
            self.skipped, self.progress
        );
        Ok(sql_query(sql).get_results(conn).await?)
    }

    pub(crate) async fn forget(&self, conn: &mut AsyncPgConnection, name: &str) -> Result<(), BackfillError> {
        let missing = || BackfillError::NoSuchBackfill { name: name.to_owned() };
        if !self.exist {
            return Err(missing());
        }
        let sql = format!("DELETE FROM {} WHERE name = $1", self.progress);
        let gone = sql_query(sql).bind::<Text, _>(name).execute(conn).await?;
        if gone == 1 { Ok(()) } else { Err(missing()) }
    }
}
