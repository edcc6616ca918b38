//! The statements on the schema `dbp` in which incidents, and messages that are owed, outlive a process.

/// The advisory lock that the leading replica holds, in the place of two 32-bit numbers as one: "dbp alert".
pub(crate) const LOCK: i64 = 0x6462_7061_6c65_7274;

/// A leader that says nothing for so long loses its session, and with it the lead: its host is gone or it
/// hangs.
pub(crate) const SILENT_LEADER_SECONDS: u64 = 15;

/// Whether this session has the lock.
macro_rules! holds {
    () => {
        "EXISTS (SELECT FROM pg_locks l WHERE l.locktype = 'advisory' AND l.granted AND l.pid = pg_backend_pid() \
         AND l.objsubid = 1 AND (l.classid::bigint << 32) | l.objid::bigint = $1)"
    };
}
/// What the session is like. Nothing of ours waits behind a lock, and the names in our statements are
/// PostgreSQL's.
pub(crate) fn session() -> String {
    format!(
        "SET application_name = 'db-platform alerts'; SET search_path = pg_catalog; SET statement_timeout = '2s'; \
         SET lock_timeout = '1s'; SET idle_session_timeout = '{SILENT_LEADER_SECONDS}s'; \
         SET tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 2; SET tcp_keepalives_count = 3; \
         SET client_min_messages = warning"
    )
}

/// Made by the first replica that leads. Each is one statement, so that a role that may not create anything
/// is told of the first that it lacks.
pub(crate) const TABLES: [&str; 4] = [
    "CREATE SCHEMA IF NOT EXISTS dbp",
    "CREATE TABLE IF NOT EXISTS dbp.alert (key text PRIMARY KEY, number bigint NOT NULL, open jsonb, \
     writer text NOT NULL, changed timestamptz NOT NULL DEFAULT clock_timestamp())",
    "CREATE TABLE IF NOT EXISTS dbp.alert_message (id text, channel text, told jsonb NOT NULL, \
     owed timestamptz NOT NULL DEFAULT clock_timestamp(), done timestamptz, outcome text, PRIMARY KEY (id, channel))",
    "CREATE TABLE IF NOT EXISTS dbp.alert_reading (instance text PRIMARY KEY, readings jsonb NOT NULL, \
     at timestamptz NOT NULL DEFAULT clock_timestamp())",
];

/// Whether this session leads, where there are no tables.
pub(crate) const LEADS: &str = concat!("SELECT ", holds!(), " AS it");

/// Whether the server is one that nobody can write to.
pub(crate) const IN_RECOVERY: &str = "SELECT pg_is_in_recovery() AS it";

/// Whether all of them are there.
pub(crate) const ARE_THERE: &str = "SELECT pg_catalog.to_regclass('dbp.alert') IS NOT NULL \
    AND pg_catalog.to_regclass('dbp.alert_message') IS NOT NULL AND pg_catalog.to_regclass('dbp.alert_reading') IS NOT NULL AS it";

/// Tries to lead. A session that has the lock takes it no second time.
pub(crate) const TRY_TO_LEAD: &str =
    concat!("SELECT CASE WHEN ", holds!(), " THEN true ELSE pg_try_advisory_lock($1) END AS it");

/// One look: whether this session leads, what other replicas read lately, what others have kept since.
pub(crate) const LOOK: &str = concat!(
    "SELECT ",
    holds!(),
    " AS leads, \
     (SELECT coalesce(jsonb_agg(r.readings), '[]')::text FROM dbp.alert_reading r \
       WHERE r.instance <> $2 AND r.at > clock_timestamp() - interval '45 s') AS others, \
     (SELECT coalesce(jsonb_agg(jsonb_build_object('key', a.key, 'number', a.number, 'open', a.open)), '[]')::text \
       FROM dbp.alert a WHERE a.writer <> $2 AND a.changed > to_timestamp($3)) AS kept, \
     extract(epoch FROM clock_timestamp())::float8 AS now"
);

/// What is owed for at least so many seconds: `told` by `id` and `channel`.
pub(crate) const OWED: &str = "SELECT coalesce(jsonb_agg(jsonb_build_object('id', m.id, 'channel', m.channel, \
    'told', m.told) ORDER BY m.owed), '[]')::text AS it FROM dbp.alert_message m WHERE m.done IS NULL \
    AND m.owed <= clock_timestamp() - make_interval(secs => $1)";

/// The incidents that are open.
pub(crate) const OPEN: &str = "SELECT coalesce(pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object('key', a.key, \
    'number', a.number, 'open', a.open)), '[]')::text AS it FROM dbp.alert a WHERE a.open IS NOT NULL";

/// Keeps incidents and what is owed because of them, both or neither.
pub(crate) const KEEP: &str = "WITH owed AS (INSERT INTO dbp.alert_message (id, channel, told) \
    SELECT x.id, x.channel, x.told FROM jsonb_to_recordset($2::text::jsonb) AS x(id text, channel text, told jsonb) \
    ON CONFLICT DO NOTHING) \
    INSERT INTO dbp.alert AS a (key, number, open, writer) \
    SELECT x.key, x.number, nullif(x.open, 'null'::jsonb), $3 \
      FROM jsonb_to_recordset($1::text::jsonb) AS x(key text, number bigint, open jsonb) \
    ON CONFLICT (key) DO UPDATE SET number = excluded.number, open = excluded.open, writer = excluded.writer, \
      changed = clock_timestamp() WHERE excluded.number >= a.number";

/// What became of messages. Those of long ago go.
pub(crate) const DONE: &str = "WITH old AS (DELETE FROM dbp.alert_message m WHERE m.done < clock_timestamp() - interval '30 days') \
    UPDATE dbp.alert_message m SET done = clock_timestamp(), outcome = x.outcome \
    FROM jsonb_to_recordset($1::text::jsonb) AS x(id text, channel text, outcome text) \
    WHERE m.id = x.id AND m.channel = x.channel AND m.done IS NULL";

/// What this replica reads, for the one that leads. Those of replicas that are no more go.
pub(crate) const READ: &str = "WITH gone AS (DELETE FROM dbp.alert_reading r WHERE r.at < clock_timestamp() - interval '10 min') \
    INSERT INTO dbp.alert_reading (instance, readings) VALUES ($1, $2::text::jsonb) \
    ON CONFLICT (instance) DO UPDATE SET readings = excluded.readings, at = clock_timestamp()";
