//! Asks a connection whether it is as a new one would be: whether the role's settings are those that it started with, and
//! the types that its client knows are still there.

use std::sync::Arc;

use diesel::result::Error;
use diesel::sql_types::{Bool, Nullable, Text};
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use crate::baseline::RoleSettings;
use crate::role::{self, Role};

const TYPES: &str = "SELECT NOT EXISTS (SELECT FROM pg_catalog.unnest(pg_catalog.string_to_array($1, ',')) AS kept (oid) \
                     WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_type AS t \
                                       WHERE t.oid = kept.oid::pg_catalog.oid)) AS there";

#[derive(QueryableByName)]
struct Setting {
    #[diesel(sql_type = Nullable<Text>)]
    setting: Option<String>,
}

#[derive(QueryableByName)]
struct There {
    #[diesel(sql_type = Bool)]
    there: bool,
}

/// Whether it is as new; none where it could not be asked.
///
/// What the role's settings are now is known from then on.
pub(crate) async fn is_as_new(
    conn: &mut AsyncPgConnection,
    started_with: &Arc<RoleSettings>,
    types: &str,
    role: &Role,
) -> Option<bool> {
    let settings: Result<Vec<Setting>, Error> = sql_query(role::QUERY).load(conn).await;
    let settings = match settings {
        Ok(rows) => role.learn(rows.iter().filter_map(|row| row.setting.as_deref())),
        // A role that may not ask has none that anybody knows of.
        Err(Error::DatabaseError(..)) => Arc::clone(started_with),
        Err(_) => return None,
    };
    let there = match types {
        "" => true,
        types => sql_query(TYPES).bind::<Text, _>(types).get_result::<There>(conn).await.ok()?.there,
    };
    Some(settings == *started_with && there)
}
