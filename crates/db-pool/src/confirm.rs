//! Asks a connection whether it is as a new one would be: whether its search path is the one that the role
//! has now, and the types that its client knows are still there.

use diesel::sql_types::{Bool, Text};
use diesel::{QueryResult, QueryableByName, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

/// What the session started with is what a reset would bring back. Start-up options win over the role's
/// settings, and of these the ones that are for the role and the database.
const QUERY: &str = "
    WITH kept AS (SELECT reset_val, source FROM pg_catalog.pg_settings WHERE name = 'search_path'),
    chosen AS (
        SELECT pg_catalog.substr(setting, 13) AS value
        FROM pg_catalog.pg_db_role_setting, pg_catalog.unnest(setconfig) AS setting
        WHERE setdatabase IN (0, (SELECT oid FROM pg_catalog.pg_database
                                  WHERE datname = pg_catalog.current_database()))
            AND setrole IN (0, (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = session_user))
            AND setting LIKE 'search\\_path=%'
        ORDER BY setrole <> 0 DESC, setdatabase <> 0 DESC LIMIT 1
    )
    SELECT (
            source = 'client'
            OR (source NOT IN ('user', 'database', 'database user', 'global') AND NOT EXISTS (SELECT FROM chosen))
            OR reset_val IS NOT DISTINCT FROM (SELECT value FROM chosen)
        ) AND NOT EXISTS (
            SELECT FROM pg_catalog.unnest(pg_catalog.string_to_array($1, ',')) AS known (oid)
            WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_type AS t WHERE t.oid = known.oid::pg_catalog.oid)
        ) AS as_new
    FROM kept";

#[derive(QueryableByName)]
struct Answer {
    #[diesel(sql_type = Bool)]
    as_new: bool,
}

/// Whether it is as new; `types` are those that its client knows, separated by commas.
pub(crate) async fn is_as_new(conn: &mut AsyncPgConnection, types: &str) -> QueryResult<bool> {
    let answer = sql_query(QUERY).bind::<Text, _>(types).get_result::<Answer>(conn).await?;
    Ok(answer.as_new)
}
