//! Reads a database's schema from its catalogs into a value that can be compared.
//!
//! Object ids, physical order and data are left out; names, definitions, grants, comments and everything else
//! that a `down.sql` can forget are in. The query is prepared once for each connection: planning it takes
//! longer than running it.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use diesel::sql_types::{Array, BigInt, Bool, Nullable, Text};
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};

use super::difference::{self, Difference};
use super::error::CheckError;
use super::question::Question;

const PARTS: [&str; 3] = [
    include_str!("catalog/1_relations.sql"),
    include_str!("catalog/2_types_and_routines.sql"),
    include_str!("catalog/3_database.sql"),
];

/// What decides how the server prints names, constants and definitions.
const PRINTING: [(&str, &str); 10] = [
    ("search_path", "pg_catalog"),
    ("role", "none"),
    ("timezone", "UTC"),
    ("datestyle", "ISO, YMD"),
    ("intervalstyle", "postgres"),
    ("quote_all_identifiers", "off"),
    ("bytea_output", "hex"),
    ("extra_float_digits", "1"),
    ("jit", "off"),
    // With parameters the server would plan anew five times.
    ("plan_cache_mode", "force_generic_plan"),
];

/// A database's schema at one moment.
///
/// It holds relations with columns, constraints, indexes, triggers, policies and rules, types, routines,
/// operators, schemas, extensions, privileges, comments, publications and the rest; the tables of applied
/// migrations and what belongs to an extension are left out.
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
    #[diesel(sql_type = BigInt)]
    of: i64,
}

/// An object with the table, view or sequence that it belongs to, 0 where it belongs to none.
pub(crate) type Placed = (i64, String, Object);

#[derive(QueryableByName)]
pub(crate) struct Printing {
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Text)]
    before: String,
}

impl Fingerprint {
    /// Reads the schema of the database that `conn` is connected to, in its transaction if one is open.
    ///
    /// The session's settings are as before when this returns; a prepared statement
    /// `db_migrations_fingerprint` stays.
    ///
    /// # Errors
    /// [`CheckError::Database`] where the server refuses.
    ///
    /// # Cancel safety
    /// A dropped future may leave the session with other settings for printing (`search_path` among them).
    pub async fn of(conn: &mut AsyncPgConnection) -> Result<Fingerprint, CheckError> {
        let before = print_plainly(conn).await?;
        let rows = all(conn).await?;
        print_as(conn, before).await?;
        Ok(Fingerprint { objects: rows.into_iter().map(|(_, object, rest)| (object, rest)).collect() })
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

/// Everything, in a session that prints plainly.
pub(crate) async fn all(conn: &mut AsyncPgConnection) -> Result<Vec<Placed>, CheckError> {
    prepared(conn).await?;
    let rows: Vec<Row> = sql_query("EXECUTE db_migrations_fingerprint").get_results(conn).await?;
    Ok(rows.into_iter().map(placed).collect())
}

/// Some relations with their indexes and the views on them, and what refers to others, in a session that
/// prints plainly.
pub(crate) async fn some(
    conn: &mut AsyncPgConnection,
    relations: Vec<i64>,
    referred_to: Vec<i64>,
) -> Result<Vec<Placed>, CheckError> {
    let rows: Vec<Row> = Some::about(&[relations, referred_to]).get_results(conn).await?;
    Ok(rows.into_iter().map(placed).collect())
}

/// What is of no relation, in a session that prints plainly.
pub(crate) async fn rest(conn: &mut AsyncPgConnection) -> Result<Vec<Placed>, CheckError> {
    let rows: Vec<Row> = Rest::about(&[]).get_results(conn).await?;
    Ok(rows.into_iter().map(placed).collect())
}

fn placed(row: Row) -> Placed {
    (row.of, row.object, Object { parent: row.parent, definition: row.definition })
}

/// How the rows of what migrations made are found beside thousands of rows of the server's own: without this
/// it reads all of them each time, since a large part of each catalog is asked for.
const BY_INDEX: [&str; 2] = ["SET enable_seqscan = off", "SET enable_bitmapscan = off"];

/// What makes a session print plainly.
pub(crate) fn plainly() -> String {
    let each = PRINTING.iter().map(|(name, value)| format!("SET {name} = '{value}'"));
    let each = each.chain(BY_INDEX.map(str::to_owned));
    each.collect::<Vec<_>>().join("; ")
}

/// Prepares the query where it is not yet: a migration may have removed it.
async fn prepared(conn: &mut AsyncPgConnection) -> Result<(), CheckError> {
    #[derive(QueryableByName)]
    struct Prepared {
        #[diesel(sql_type = Bool)]
        prepared: bool,
    }
    let asked = sql_query(
        "SELECT EXISTS (SELECT FROM pg_catalog.pg_prepared_statements WHERE name = 'db_migrations_fingerprint') AS prepared",
    );
    let Prepared { prepared } = asked.get_result(conn).await?;
    if !prepared {
        conn.batch_execute(&format!("PREPARE db_migrations_fingerprint AS {}", everything())).await?;
    }
    Ok(())
}

/// Sets what decides how the server prints, and says what was set before.
pub(crate) async fn print_plainly(conn: &mut AsyncPgConnection) -> Result<Vec<Printing>, CheckError> {
    let (names, values): (Vec<_>, Vec<_>) = PRINTING.iter().copied().unzip();
    let before: Vec<Printing> = sql_query(
        "SELECT name, before FROM (SELECT name, value, current_setting(name) AS before \
            FROM unnest($1, $2) setting(name, value) OFFSET 0) settings \
         WHERE set_config(name, value, false) IS NOT NULL",
    )
    .bind::<Array<Text>, _>(names)
    .bind::<Array<Text>, _>(values)
    .get_results(conn)
    .await?;
    Ok(before)
}

pub(crate) async fn print_as(conn: &mut AsyncPgConnection, before: Vec<Printing>) -> Result<(), CheckError> {
    let (names, values): (Vec<_>, Vec<_>) =
        before.into_iter().map(|setting| (setting.name, setting.before)).unzip();
    sql_query("SELECT set_config(name, value, false) FROM unnest($1, $2) setting(name, value)")
        .bind::<Array<Text>, _>(names)
        .bind::<Array<Text>, _>(values)
        .execute(conn)
        .await?;
    Ok(())
}

const OBJECT: &str =
    "kind || ' ' || name AS object, parent, jsonb_strip_nulls(definition)::text AS definition";

fn ground(and_these: &str, only: &str) -> String {
    include_str!("catalog/0_ground.sql")
        .replace("/* and these */", and_these)
        .replace("/* only these */", only)
}

fn relations() -> String {
    let [relations, ..] = PARTS;
    format!("SELECT {OBJECT}, of::int8 FROM ({relations}) objects (kind, name, parent, definition, of)")
}

fn others() -> String {
    let [_, rest @ ..] = PARTS;
    let rest = rest.join("\nUNION ALL\n");
    format!("SELECT {OBJECT}, 0::int8 AS of FROM ({rest}) objects (kind, name, parent, definition)")
}

fn everything() -> String {
    format!("{} {} UNION ALL {}", ground("", ""), relations(), others())
}

/// Some relations with their indexes, and what is printed with their names: views on them, and what refers to
/// them.
struct Some;

impl Question for Some {
    fn sql() -> &'static str {
        static SQL: LazyLock<String> = LazyLock::new(|| format!("{} {}", ground(WANTED, ONLY), relations()));
        &SQL
    }
}

/// What is of no relation.
struct Rest;

impl Question for Rest {
    fn sql() -> &'static str {
        static SQL: LazyLock<String> = LazyLock::new(|| format!("{} {}", ground("", ""), others()));
        &SQL
    }
}

const ONLY: &str = "AND c.oid = ANY (ARRAY(SELECT oid FROM wanted))";

/// What [`ONLY`] goes by.
const WANTED: &str = "asked AS MATERIALIZED (SELECT $list::int8[]::oid[] AS relations, $list::int8[]::oid[] AS referred_to), \
    listed AS MATERIALIZED (SELECT unnest(relations) AS oid FROM asked \
        UNION SELECT indrelid FROM pg_index WHERE indexrelid = ANY ((SELECT relations FROM asked)::oid[]) \
        UNION SELECT conrelid FROM pg_constraint WHERE (SELECT cardinality(referred_to) > 0 FROM asked) \
            AND confrelid = ANY ((SELECT referred_to FROM asked)::oid[])), \
    named AS MATERIALIZED (SELECT oid FROM listed UNION SELECT ev_class FROM pg_rewrite WHERE oid = ANY (ARRAY(\
        SELECT objid FROM pg_depend WHERE refclassid = 'pg_class'::regclass AND refobjid = ANY (ARRAY(SELECT oid FROM listed)) \
            AND classid = 'pg_rewrite'::regclass))), \
    wanted AS MATERIALIZED (SELECT oid FROM named UNION SELECT indexrelid FROM pg_index \
        WHERE indrelid = ANY (ARRAY(SELECT oid FROM named))), ";
