//! What the relay asks the database for, and tells it.

use db_core::{Error, Lsn, Result};
use diesel::sql_types::{Array, BigInt, Binary, Bool, Integer, Nullable, Text};
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};

use super::RelayConfig;
use super::install::identifier;
use super::verdict::{Accident, Left, SlotSeen, Way};
use crate::position::History;

/// How many changes one look takes from a slot, beyond the transaction that it ends in.
const CHANGES: i32 = 10_000;

/// The server as the relay finds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Here {
    pub(crate) history: History,
    pub(crate) version: i32,
    pub(crate) way: Way,
    /// The database's own number in its cluster.
    pub(crate) database: i64,
    /// How much log a slot may hold back; none where there is no limit.
    pub(crate) most_retained: Option<u64>,
}

/// The slots of the relay's names now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Looked {
    pub(crate) slots: Vec<SlotSeen>,
    /// Log that the slots hold back, in bytes.
    pub(crate) retained: Option<u64>,
    /// Up to where the log is on disk.
    pub(crate) flushed: Lsn,
}

#[derive(QueryableByName)]
struct HereRow {
    #[diesel(sql_type = BigInt)]
    system: i64,
    #[diesel(sql_type = BigInt)]
    timeline: i64,
    #[diesel(sql_type = Integer)]
    version: i32,
    #[diesel(sql_type = Bool)]
    decodes: bool,
    #[diesel(sql_type = BigInt)]
    database: i64,
    #[diesel(sql_type = Nullable<BigInt>)]
    most_retained: Option<i64>,
}

#[derive(QueryableByName)]
struct Yes {
    #[diesel(sql_type = Bool)]
    yes: bool,
}

#[derive(QueryableByName)]
struct Word {
    #[diesel(sql_type = Text)]
    word: String,
}

#[derive(QueryableByName)]
struct LookedRow {
    #[diesel(sql_type = Text)]
    flushed: String,
    #[diesel(sql_type = Nullable<Text>)]
    name: Option<String>,
    #[diesel(sql_type = Nullable<Bool>)]
    ours: Option<bool>,
    #[diesel(sql_type = Nullable<Text>)]
    status: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    invalid: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    confirmed: Option<String>,
    #[diesel(sql_type = Nullable<BigInt>)]
    retained: Option<i64>,
}

#[derive(QueryableByName)]
struct LeftRow {
    #[diesel(sql_type = Text)]
    way: String,
    #[diesel(sql_type = BigInt)]
    system: i64,
    #[diesel(sql_type = BigInt)]
    timeline: i64,
    #[diesel(sql_type = Nullable<Text>)]
    acknowledged: Option<String>,
}

#[derive(QueryableByName)]
struct Change {
    #[diesel(sql_type = Binary)]
    data: Vec<u8>,
}

#[derive(QueryableByName)]
struct OutboxRow {
    #[diesel(sql_type = Text)]
    body: String,
}

/// Makes a session fit for the relay: no name is looked up elsewhere, no standby is waited for, nothing waits
/// for ever.
pub(crate) async fn prepare(conn: &mut AsyncPgConnection) -> Result<()> {
    let sql = "SET search_path = pg_catalog; SET synchronous_commit = local; SET statement_timeout = '60s'; \
               SET lock_timeout = '60s'; SET idle_session_timeout = 0";
    Ok(conn.batch_execute(sql).await?)
}

/// Whether this session leads from now on: one session of a database does, for as long as it lives.
pub(crate) async fn lead(conn: &mut AsyncPgConnection, config: &RelayConfig) -> Result<bool> {
    let sql = "SELECT NOT pg_is_in_recovery() AND pg_try_advisory_lock(hashtextextended($1, 0)) AS yes";
    let lock = format!("db_cache relay {}", config.name);
    Ok(sql_query(sql).bind::<Text, _>(lock).get_result::<Yes>(conn).await?.yes)
}

/// Whether all that [`RelayConfig::install_sql`] makes is there.
pub(crate) async fn is_installed(conn: &mut AsyncPgConnection, config: &RelayConfig) -> Result<bool> {
    let schema = identifier(&config.name);
    let sql = "SELECT to_regprocedure($1 || '.emit(text)') IS NOT NULL AND to_regprocedure($1 || '.touched()') IS NOT NULL \
               AND to_regclass($1 || '.relay') IS NOT NULL AND to_regclass($1 || '.outbox') IS NOT NULL \
               AND EXISTS (SELECT FROM pg_publication WHERE pubname = $2) AS yes";
    let asked = sql_query(sql).bind::<Text, _>(schema).bind::<Text, _>(&config.name);
    Ok(asked.get_result::<Yes>(conn).await?.yes)
}

/// Where the relay is.
pub(crate) async fn here(conn: &mut AsyncPgConnection) -> Result<Here> {
    let sql = "SELECT (SELECT system_identifier FROM pg_control_system()) AS system, \
               ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int8 AS timeline, \
               current_setting('server_version_num')::int4 AS version, \
               coalesce(current_setting('effective_wal_level', true), current_setting('wal_level')) = 'logical' \
                 OR current_setting('server_version_num')::int4 >= 190000 AND current_setting('wal_level') = 'replica' \
                 AS decodes, \
               (SELECT oid::int8 FROM pg_database WHERE datname = current_database()) AS database, \
               (SELECT nullif(setting, '-1')::int8 * 1048576 FROM pg_settings WHERE name = 'max_slot_wal_keep_size') \
                 AS most_retained";
    let row: HereRow = sql_query(sql).get_result(conn).await?;
    let history = history(row.system, row.timeline)?;
    let way = if row.decodes { Way::Slot } else { Way::Outbox };
    let most_retained = row.most_retained.and_then(|bytes| u64::try_from(bytes).ok());
    Ok(Here { history, version: row.version, way, database: row.database, most_retained })
}

/// The slots of these names, and the log.
pub(crate) async fn look(conn: &mut AsyncPgConnection, names: &[String]) -> Result<Looked> {
    let sql = "SELECT pg_current_wal_flush_lsn()::text AS flushed, s.slot_name::text AS name, \
               s.slot_type = 'logical' AND s.plugin = 'pgoutput' AND s.database = current_database() AS ours, \
               s.wal_status AS status, \
               coalesce(to_jsonb(s) ->> 'invalidation_reason', nullif(to_jsonb(s) ->> 'conflicting', 'false')) AS invalid, \
               s.confirmed_flush_lsn::text AS confirmed, \
               pg_wal_lsn_diff(pg_current_wal_flush_lsn(), s.restart_lsn)::int8 AS retained \
               FROM (SELECT) AS one LEFT JOIN pg_replication_slots AS s ON s.slot_name = ANY ($1)";
    let rows: Vec<LookedRow> = sql_query(sql).bind::<Array<Text>, _>(names).get_results(conn).await?;
    let flushed = rows.as_slice().first().map(|row| position(&row.flushed)).transpose()?.unwrap_or_default();
    let ours = rows.iter().filter(|row| row.ours == Some(true));
    let retained = ours.filter_map(|row| u64::try_from(row.retained?).ok()).max();
    let slots: Result<Vec<_>> = rows.into_iter().filter_map(LookedRow::slot).collect();
    Ok(Looked { slots: slots?, retained, flushed })
}

impl LookedRow {
    fn slot(self) -> Option<Result<SlotSeen>> {
        let is_lost = self.status.as_deref() == Some("lost") || self.invalid.is_some();
        let lost = match self.invalid.as_deref() {
            _ if !is_lost => None,
            Some("idle_timeout") => Some(Accident::TimedOut),
            Some(_) | None => Some(Accident::Lost),
        };
        let (name, is_ours) = (self.name?, self.ours.unwrap_or_default());
        let confirmed = self.confirmed.as_deref().map(position).transpose();
        let seen = |confirmed: Option<Lsn>| SlotSeen {
            name,
            is_ours,
            lost,
            confirmed: confirmed.unwrap_or_default(),
        };
        Some(confirmed.map(seen))
    }
}

/// What the last relay left.
pub(crate) async fn left(conn: &mut AsyncPgConnection, config: &RelayConfig) -> Result<Option<Left>> {
    let sql = format!(
        "SELECT \"way\", \"system\", \"timeline\", \"acknowledged\"::text AS acknowledged FROM {}.\"relay\" WHERE \"name\" = $1",
        identifier(&config.name)
    );
    let rows: Vec<LeftRow> = sql_query(sql).bind::<Text, _>(&config.name).get_results(conn).await?;
    let Some(row) = rows.into_iter().next() else { return Ok(None) };
    let acknowledged = row.acknowledged.as_deref().map(position).transpose()?;
    Ok(Some(Left { way: row.way, history: history(row.system, row.timeline)?, acknowledged }))
}

/// Leaves that to the next relay: the slot is read up to `acknowledged` at most.
pub(crate) async fn leave(
    conn: &mut AsyncPgConnection,
    config: &RelayConfig,
    here: Here,
    acknowledged: Option<Lsn>,
) -> Result<()> {
    let sql = format!(
        "INSERT INTO {}.\"relay\" (\"name\", \"way\", \"system\", \"timeline\", \"acknowledged\") \
         VALUES ($1, $2, $3, $4, $5::pg_lsn) ON CONFLICT (\"name\") DO UPDATE SET \"way\" = excluded.\"way\", \
         \"system\" = excluded.\"system\", \"timeline\" = excluded.\"timeline\", \"acknowledged\" = excluded.\"acknowledged\"",
        identifier(&config.name)
    );
    sql_query(sql)
        .bind::<Text, _>(&config.name)
        .bind::<Text, _>(here.way.as_str())
        .bind::<BigInt, _>(here.history.system.cast_signed())
        .bind::<BigInt, _>(i64::from(here.history.timeline))
        .bind::<Nullable<Text>, _>(acknowledged.map(|lsn| lsn.to_string()))
        .execute(conn)
        .await?;
    Ok(())
}

/// Makes the slot; it waits for every transaction that writes now. From PostgreSQL 17 on standbys may carry
/// it over.
pub(crate) async fn make_slot(conn: &mut AsyncPgConnection, slot: &str, here: Here) -> Result<()> {
    let failover = if here.version >= 170_000 { ", failover => true" } else { "" };
    let sql = format!("SELECT FROM pg_create_logical_replication_slot($1, 'pgoutput'{failover})");
    sql_query(sql).bind::<Text, _>(slot).execute(conn).await?;
    Ok(())
}

/// Drops the slot, which is the relay's own.
pub(crate) async fn drop_slot(conn: &mut AsyncPgConnection, slot: &str) -> Result<()> {
    sql_query("SELECT pg_drop_replication_slot($1)").bind::<Text, _>(slot).execute(conn).await?;
    Ok(())
}

/// What has been committed since the slot was last advanced, up to `until`. Answers whether that is all, too.
pub(crate) async fn peek(
    conn: &mut AsyncPgConnection,
    config: &RelayConfig,
    slot: &str,
    until: Lsn,
) -> Result<(Vec<Vec<u8>>, bool)> {
    let sql = "SELECT data FROM pg_logical_slot_peek_binary_changes($1, $2::pg_lsn, $3, \
               'proto_version', '1', 'publication_names', $4, 'messages', 'true')";
    let rows: Vec<Change> = sql_query(sql)
        .bind::<Text, _>(slot)
        .bind::<Text, _>(until.to_string())
        .bind::<Integer, _>(CHANGES)
        .bind::<Text, _>(identifier(&config.name))
        .get_results(conn)
        .await?;
    let is_all = rows.len() < CHANGES.cast_unsigned() as usize;
    Ok((rows.into_iter().map(|row| row.data).collect(), is_all))
}

/// The transactions that are under way now, as the server prints them.
pub(crate) async fn snapshot(conn: &mut AsyncPgConnection) -> Result<String> {
    let row: Word = sql_query("SELECT pg_current_snapshot()::text AS word").get_result(conn).await?;
    Ok(row.word)
}

/// Lets go of the log up to `until`.
pub(crate) async fn advance(conn: &mut AsyncPgConnection, slot: &str, until: Lsn) -> Result<()> {
    let sql = "SELECT pg_replication_slot_advance($1, $2::pg_lsn)";
    sql_query(sql).bind::<Text, _>(slot).bind::<Text, _>(until.to_string()).execute(conn).await?;
    Ok(())
}

/// Takes the oldest rows out of the outbox, in a transaction that the caller ends when they have been bumped.
pub(crate) async fn take_out(
    conn: &mut AsyncPgConnection,
    config: &RelayConfig,
) -> Result<(Vec<String>, bool)> {
    let outbox = format!("{}.\"outbox\"", identifier(&config.name));
    let sql = format!(
        "DELETE FROM {outbox} WHERE \"id\" = ANY (ARRAY(SELECT \"id\" FROM {outbox} ORDER BY \"id\" LIMIT {CHANGES})) \
         RETURNING \"body\" AS body"
    );
    let rows: Vec<OutboxRow> = sql_query(sql).get_results(conn).await?;
    let is_all = rows.len() < CHANGES.cast_unsigned() as usize;
    Ok((rows.into_iter().map(|row| row.body).collect(), is_all))
}

/// Up to where the log is written: everything that is visible now was committed before.
pub(crate) async fn written(conn: &mut AsyncPgConnection) -> Result<Lsn> {
    let row: Word = sql_query("SELECT pg_current_wal_insert_lsn()::text AS word").get_result(conn).await?;
    position(&row.word)
}

/// Installs what is missing.
pub(crate) async fn install(conn: &mut AsyncPgConnection, config: &RelayConfig) -> Result<()> {
    Ok(conn.batch_execute(&config.install_sql()).await?)
}

fn position(text: &str) -> Result<Lsn> {
    text.parse().map_err(|error| Error::Client(Box::new(error)))
}

fn history(system: i64, timeline: i64) -> Result<History> {
    let no_timeline = |_| Error::Client(format!("{timeline} is no timeline").into());
    Ok(History { system: system.cast_unsigned(), timeline: u32::try_from(timeline).map_err(no_timeline)? })
}
