//! What has been applied: diesel's own table, and ours beside it.
//!
//! Diesel's table says which versions are applied, so that a service can go back to diesel's CLI. Ours says
//! what was applied, when, by whom, and how far a migration came that was cut off; a row of ours without one
//! of diesel's means that diesel's CLI undid the migration since.

use std::collections::BTreeMap;
use std::time::Duration;

use db_core::{Error, SqlState};
use diesel::sql_types::{Array, BigInt, Bool, Integer, Nullable, Text};
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};

use crate::error::MigrationError;
use crate::location::{DIESEL, Location, OURS, UNDER_WAY};
use crate::run::Direction;
use crate::source::{Migration, Version};

/// The runner's name in the ledger.
const RUNNER: &str = concat!("db-migrations ", env!("CARGO_PKG_VERSION"));

/// The tables, with the schema they are in.
#[derive(Debug, Clone)]
pub(crate) struct Ledger {
    diesel: String,
    ours: String,
    under_way: String,
    location: Location,
}

/// What the tables say.
#[derive(Debug, Clone, Default)]
pub(crate) struct State {
    /// The applied versions in order.
    pub(crate) applied: Vec<Version>,
    /// The checksum of what was applied, where it is known; repeatable migrations among them.
    pub(crate) checksums: BTreeMap<Version, String>,
    /// The migrations that were cut off.
    pub(crate) under_way: Vec<UnderWay>,
}

/// How far a migration came that was cut off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UnderWay {
    pub(crate) version: Version,
    pub(crate) direction: Direction,
    /// How many segments have committed.
    pub(crate) done: usize,
    /// The hash of what they ran.
    pub(crate) hash: String,
    /// Of a segment outside a transaction that was begun: the indexes that its table had before.
    pub(crate) begun: Option<Vec<i64>>,
}

#[derive(QueryableByName)]
struct NamedRow {
    #[diesel(sql_type = BigInt)]
    oid: i64,
    #[diesel(sql_type = Text)]
    name: String,
}

#[derive(QueryableByName)]
struct AppliedRow {
    #[diesel(sql_type = Text)]
    version: String,
}

#[derive(QueryableByName)]
struct OurRow {
    #[diesel(sql_type = Text)]
    version: String,
    #[diesel(sql_type = Text)]
    checksum: String,
}

#[derive(QueryableByName)]
struct UnderWayRow {
    #[diesel(sql_type = Text)]
    version: String,
    #[diesel(sql_type = Bool)]
    down: bool,
    #[diesel(sql_type = Integer)]
    done: i32,
    #[diesel(sql_type = Text)]
    hash: String,
    #[diesel(sql_type = Nullable<Array<BigInt>>)]
    begun: Option<Vec<i64>>,
}

impl Ledger {
    /// Finds the tables, or where they would be made, and reads them; `schema` is the one that a setting
    /// names.
    pub(crate) async fn read(
        conn: &mut AsyncPgConnection,
        schema: Option<&str>,
    ) -> Result<(Ledger, State), MigrationError> {
        let location = Location::find(conn, schema).await?;
        let ledger = Ledger {
            diesel: location.name_of(DIESEL),
            ours: location.name_of(OURS),
            under_way: location.name_of(UNDER_WAY),
            location,
        };
        let mut state = State::default();
        if ledger.location.diesel.is_some() {
            let sql = format!("SELECT version FROM {}", ledger.diesel);
            let rows: Vec<AppliedRow> = sql_query(sql).get_results(conn).await?;
            state.applied = rows.into_iter().map(|row| Version::from_stored(row.version)).collect();
            state.applied.sort_unstable();
        }
        if ledger.location.ours.is_some() {
            ledger.read_ours(conn, &mut state).await?;
        }
        Ok((ledger, state))
    }

    /// The schema of the tables.
    #[cfg(feature = "check")]
    pub(crate) fn schema(&self) -> &str {
        &self.location.schema
    }

    async fn read_ours(&self, conn: &mut AsyncPgConnection, state: &mut State) -> Result<(), MigrationError> {
        let rows: Vec<OurRow> =
            sql_query(format!("SELECT version, checksum FROM {}", self.ours)).get_results(conn).await?;
        let checksums = rows.into_iter().map(|row| (Version::from_stored(row.version), row.checksum));
        state.checksums = checksums
            .filter(|(version, _)| version.is_repeatable() || state.applied.contains(version))
            .collect();
        if self.location.under_way.is_none() {
            return Ok(());
        }
        let sql = format!("SELECT version, down, done, hash, begun FROM {} ORDER BY version", self.under_way);
        let rows: Vec<UnderWayRow> = sql_query(sql).get_results(conn).await?;
        state.under_way = rows
            .into_iter()
            .map(|row| UnderWay {
                version: Version::from_stored(row.version),
                direction: if row.down { Direction::Down } else { Direction::Up },
                done: usize::try_from(row.done).unwrap_or_default(),
                hash: row.hash,
                begun: row.begun,
            })
            .collect();
        Ok(())
    }

    /// The statement that reads what was applied, the newest `most` first; none where there is no record.
    pub(crate) fn history(&self, most: usize) -> Option<String> {
        let Ledger { diesel, ours, location, .. } = self;
        location.diesel?;
        let (columns, join) = match location.ours {
            Some(_) => (
                "o.name, o.duration_ms, o.applied_by, o.how, date_part('epoch', coalesce(o.applied_at, \
                 d.run_on AT TIME ZONE current_setting('TimeZone')))",
                format!("LEFT JOIN {ours} AS o ON o.version = d.version"),
            ),
            None => (
                "NULL::text AS name, NULL::bigint AS duration_ms, NULL::text AS applied_by, NULL::text AS how, \
                 date_part('epoch', d.run_on AT TIME ZONE current_setting('TimeZone'))",
                String::new(),
            ),
        };
        Some(format!(
            "SELECT d.version, {columns} AS at FROM {diesel} AS d {join} ORDER BY at DESC NULLS LAST, d.version DESC \
             LIMIT {most}"
        ))
    }

    /// Creates the tables where they are missing. Only under the lock: `IF NOT EXISTS` does not protect
    /// against a race.
    pub(crate) async fn create(&self, conn: &mut AsyncPgConnection) -> Result<(), MigrationError> {
        let Ledger { diesel, ours, under_way, location } = self;
        if location.diesel.is_some() && location.ours.is_some() && location.under_way.is_some() {
            return Ok(());
        }
        if location.is_empty() && !location.others.is_empty() {
            let (schema, others) = (&location.schema, &location.others);
            tracing::warn!(
                schema,
                ?others,
                "a new ledger is made, since its schema was named; there are others"
            );
        }
        // The first as diesel creates it, so that both may.
        let sql = format!(
            "CREATE TABLE IF NOT EXISTS {diesel} (\
             version VARCHAR(50) PRIMARY KEY NOT NULL, run_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP); \
             CREATE TABLE IF NOT EXISTS {ours} (version text PRIMARY KEY, name text NOT NULL, checksum text NOT NULL, \
             statements int NOT NULL, duration_ms bigint NOT NULL, how text NOT NULL, runner text NOT NULL, \
             applied_by text NOT NULL DEFAULT session_user, applied_at timestamptz NOT NULL DEFAULT clock_timestamp()); \
             CREATE TABLE IF NOT EXISTS {under_way} (version text PRIMARY KEY, down boolean NOT NULL, done int NOT NULL, \
             hash text NOT NULL, begun bigint[], since timestamptz NOT NULL DEFAULT clock_timestamp())"
        );
        conn.batch_execute(&sql).await.map_err(|error| {
            let error = Error::from(error);
            match error.sqlstate() {
                Some(SqlState::INSUFFICIENT_PRIVILEGE) => {
                    MigrationError::LedgerNotMade { schema: location.schema.clone(), source: Box::new(error) }
                }
                _ => error.into(),
            }
        })
    }

    /// Statements that fail where a migration dropped one of the tables: what it did could not be recorded.
    pub(crate) fn guard(&self) -> String {
        let oids = self.oids();
        let count = oids.len();
        format!(
            "DO $guard$BEGIN IF (SELECT count(*) FROM pg_class WHERE oid = ANY ('{{{}}}'::oid[])) < {count} \
             THEN RAISE EXCEPTION 'the migration drops the tables that say which migrations are applied' \
             USING HINT = 'keep them out of what it drops, or give them a schema of their own with \
             --ledger-schema'; END IF; END$guard$",
            listed(&oids)
        )
    }

    /// Learns the tables' names anew: a migration may have renamed their schema, or moved them.
    pub(crate) async fn follow(&mut self, conn: &mut AsyncPgConnection) -> Result<(), diesel::result::Error> {
        let rows: Vec<NamedRow> = sql_query(format!(
            "SELECT c.oid::bigint AS oid, format('%I.%I', nspname, relname) AS name FROM pg_class AS c \
             JOIN pg_namespace AS n ON n.oid = relnamespace WHERE c.oid = ANY ('{{{}}}'::oid[])",
            listed(&self.oids())
        ))
        .get_results(conn)
        .await?;
        for NamedRow { oid, name } in rows {
            match Some(oid) {
                found if found == self.location.diesel => self.diesel = name,
                found if found == self.location.ours => self.ours = name,
                _ => self.under_way = name,
            }
        }
        Ok(())
    }

    fn oids(&self) -> Vec<i64> {
        let Location { diesel, ours, under_way, .. } = self.location;
        [diesel, ours, under_way].into_iter().flatten().collect()
    }

    /// Records that a migration is applied to its end; `how` is `ran`, `baseline` or `repaired`.
    pub(crate) async fn applied(
        &self,
        conn: &mut AsyncPgConnection,
        migration: &Migration,
        how: &str,
        (statements, elapsed): (usize, Duration),
    ) -> Result<(), diesel::result::Error> {
        let Ledger { diesel, ours, under_way, .. } = self;
        let theirs = match (migration.version.is_repeatable(), how) {
            (true, _) | (false, "repaired") => String::new(),
            _ => format!("theirs AS (INSERT INTO {diesel} (version) VALUES ($1)), "),
        };
        sql_query(format!(
            "WITH {theirs}cut AS (DELETE FROM {under_way} WHERE version = $1) \
             INSERT INTO {ours} (version, name, checksum, statements, duration_ms, how, runner) \
             VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (version) DO UPDATE SET name = EXCLUDED.name, \
             checksum = EXCLUDED.checksum, statements = EXCLUDED.statements, duration_ms = EXCLUDED.duration_ms, \
             how = EXCLUDED.how, runner = EXCLUDED.runner, applied_by = DEFAULT, applied_at = DEFAULT"
        ))
        .bind::<Text, _>(migration.version.as_str())
        .bind::<Text, _>(&migration.name)
        .bind::<Text, _>(&migration.checksum)
        .bind::<Integer, _>(i32::try_from(statements).unwrap_or(i32::MAX))
        .bind::<BigInt, _>(i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX))
        .bind::<Text, _>(how)
        .bind::<Text, _>(RUNNER)
        .execute(conn)
        .await?;
        Ok(())
    }

    /// Records that a migration is applied no more.
    pub(crate) async fn forget(
        &self,
        conn: &mut AsyncPgConnection,
        version: &Version,
    ) -> Result<(), diesel::result::Error> {
        let Ledger { diesel, ours, under_way, .. } = self;
        sql_query(format!(
            "WITH ours AS (DELETE FROM {ours} WHERE version = $1), \
             cut AS (DELETE FROM {under_way} WHERE version = $1) DELETE FROM {diesel} WHERE version = $1"
        ))
        .bind::<Text, _>(version.as_str())
        .execute(conn)
        .await?;
        Ok(())
    }

    /// Records how far a migration came.
    pub(crate) async fn came(
        &self,
        conn: &mut AsyncPgConnection,
        to: &UnderWay,
    ) -> Result<(), diesel::result::Error> {
        sql_query(format!(
            "INSERT INTO {} (version, down, done, hash, begun) VALUES ($1, $2, $3, $4, $5) ON CONFLICT (version) \
             DO UPDATE SET down = EXCLUDED.down, done = EXCLUDED.done, hash = EXCLUDED.hash, begun = EXCLUDED.begun",
            self.under_way
        ))
        .bind::<Text, _>(to.version.as_str())
        .bind::<Bool, _>(to.direction == Direction::Down)
        .bind::<Integer, _>(i32::try_from(to.done).unwrap_or(i32::MAX))
        .bind::<Text, _>(&to.hash)
        .bind::<Nullable<Array<BigInt>>, _>(&to.begun)
        .execute(conn)
        .await?;
        Ok(())
    }
}

fn listed(oids: &[i64]) -> String {
    oids.iter().map(i64::to_string).collect::<Vec<_>>().join(",")
}
