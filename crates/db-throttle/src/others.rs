//! Whether anybody else works on the server: where nobody does, slow probes hurt nobody.

/// Asks, on the connection of the probes, whether a session other than this one and that of the backend `$1`,
/// which does the work, has run anything within a second: `others`, a boolean. A session that the role may
/// not see counts as one that has.
///
/// Source: the PostgreSQL manual, `pg_stat_activity`.
pub const OTHERS_SQL: &str = "SELECT pg_catalog.count(*) OPERATOR(pg_catalog.>) 0 AS others \
    FROM pg_catalog.pg_stat_activity WHERE pid OPERATOR(pg_catalog.<>) pg_catalog.pg_backend_pid() \
    AND pid OPERATOR(pg_catalog.<>) $1 \
    AND COALESCE(backend_type OPERATOR(pg_catalog.=) 'client backend', true) \
    AND COALESCE(state OPERATOR(pg_catalog.=) 'active' OR state_change OPERATOR(pg_catalog.>) \
    (pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) '1 second'::pg_catalog.interval), true)";

/// Asked behind so many probes, it costs little.
pub const OTHERS_EVERY: u32 = 16;
