//! Reads a database's schema from its catalogs into a value that can be compared.
//!
//! Object ids, physical order and data are left out; names, definitions, grants, comments and everything else that a
//! `down.sql` can forget are in. The query is prepared once for each connection: planning it takes longer than
//! running it.

use std::collections::BTreeMap;

use diesel::sql_types::{Array, Bool, Nullable, Text};
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};

use super::difference::{self, Difference};
use super::error::CheckError;

const PARTS: [&str; 3] = [
    include_str!("catalog/1_relations.sql"),
    include_str!("catalog/2_types_and_routines.sql"),
    include_str!("catalog/3_database.sql"),
];

/// What decides how the server prints names, constants and definitions.
const PRINTING: [(&str, &str); 9] = [
    ("search_path", "pg_catalog"),
    ("role", "none"),
    ("timezone", "UTC"),
    ("datestyle", "ISO, YMD"),
    ("intervalstyle", "postgres"),
    ("quote_all_identifiers", "off"),
    ("bytea_output", "hex"),
    ("extra_float_digits", "1"),
    ("jit", "off"),
];

/// A database's schema at one moment.
///
/// It holds relations with columns, constraints, indexes, triggers, policies and rules, types, routines, operators,
/// schemas, extensions, privileges, comments, publications and the rest; the tables of applied migrations and what
/// belongs to an extension are left out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Fingerprint {
    pub(crate) objects: BTreeMap<String, Object>,
}

/// One object: what it belongs to, and its properties as a JSON object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Object {
    pub(crate) parent: Option<String>,
    pub(crate) definition: String,
}

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = Text)]
    object: String,
    #[diesel(sql_type = Nullable<Text>)]
    parent: Option<String>,
    #[diesel(sql_type = Text)]
    definition: String,
}

#[derive(QueryableByName)]
struct Printing {
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Text)]
    before: String,
    #[diesel(sql_type = Bool)]
    prepared: bool,
}

impl Fingerprint {
    /// Reads the schema of the database that `conn` is connected to, in its transaction if one is open.
    ///
    /// The session's settings are as before when this returns; a prepared statement `db_migrations_fingerprint` stays.
    ///
    /// # Errors
    /// [`CheckError::Database`] where the server refuses.
    ///
    /// # Cancel safety
    /// A dropped future may leave the session with other settings for printing (`search_path` among them).
    pub async fn of(conn: &mut AsyncPgConnection) -> Result<Fingerprint, CheckError> {
        let before = print_plainly(conn).await?;
        let rows: Vec<Row> = sql_query("EXECUTE db_migrations_fingerprint").get_results(conn).await?;
        print_as(conn, before).await?;
        let objects = rows
            .into_iter()
            .map(|row| (row.object, Object { parent: row.parent, definition: row.definition }))
            .collect();
        Ok(Fingerprint { objects })
    }

    /// A hash of the same: two are equal where the fingerprints are. Ten times cheaper, since nothing is sent.
    pub(crate) async fn hash_of(conn: &mut AsyncPgConnection) -> Result<String, CheckError> {
        #[derive(QueryableByName)]
        struct Hash {
            #[diesel(sql_type = Text)]
            hash: String,
        }
        let before = print_plainly(conn).await?;
        let Hash { hash } = sql_query("EXECUTE db_migrations_hash").get_result(conn).await?;
        print_as(conn, before).await?;
        Ok(hash)
    }

    /// What it would take to get from here to there: what is lost, what is left over, what has changed.
    ///
    /// Where a table is lost, its columns and indexes are not listed beside it.
    pub fn diff(&self, found: &Fingerprint) -> Vec<Difference> {
        if self == found { Vec::new() } else { difference::between(self, found) }
    }

    /// How many objects there are, columns and constraints included.
    pub fn len(&self) -> usize {
        self.objects.len()
    }

    /// Whether there is nothing in the database, not even the schema `public`.
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }
}

/// Sets what decides how the server prints, and says what was set before; prepares the queries where they are not yet.
async fn print_plainly(conn: &mut AsyncPgConnection) -> Result<Vec<Printing>, CheckError> {
    let (names, values): (Vec<_>, Vec<_>) = PRINTING.iter().copied().unzip();
    let before: Vec<Printing> = sql_query(
        "SELECT name, before, prepared FROM (SELECT name, value, current_setting(name) AS before, EXISTS (\
            SELECT FROM pg_catalog.pg_prepared_statements WHERE name = 'db_migrations_fingerprint') AS prepared \
            FROM unnest($1, $2) setting(name, value) OFFSET 0) settings \
         WHERE set_config(name, value, false) IS NOT NULL",
    )
    .bind::<Array<Text>, _>(names)
    .bind::<Array<Text>, _>(values)
    .get_results(conn)
    .await?;
    if !before.iter().any(|setting| setting.prepared) {
        conn.batch_execute(&prepare()).await?;
    }
    Ok(before)
}

async fn print_as(conn: &mut AsyncPgConnection, before: Vec<Printing>) -> Result<(), CheckError> {
    let (names, values): (Vec<_>, Vec<_>) =
        before.into_iter().map(|setting| (setting.name, setting.before)).unzip();
    sql_query("SELECT set_config(name, value, false) FROM unnest($1, $2) setting(name, value)")
        .bind::<Array<Text>, _>(names)
        .bind::<Array<Text>, _>(values)
        .execute(conn)
        .await?;
    Ok(())
}

fn prepare() -> String {
    let ground = include_str!("catalog/0_ground.sql");
    let parts = PARTS.join("\nUNION ALL\n");
    let object = "kind || ' ' || name AS object, parent, jsonb_strip_nulls(definition)::text AS definition";
    let all = format!("SELECT {object} FROM ({parts}) objects (kind, name, parent, definition)");
    format!(
        "PREPARE db_migrations_fingerprint AS {ground} {all}; PREPARE db_migrations_hash AS {ground} \
         SELECT md5(coalesce(string_agg(concat_ws('|', object, parent, definition), '\n' \
         ORDER BY object COLLATE \"C\", definition COLLATE \"C\"), '')) AS hash FROM ({all}) objects"
    )
}
