//! What the catalogue says of the table that is changed.

use diesel::sql_types::{Array, BigInt, Bool, Nullable, Text};
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use super::ChangeError;
use crate::location::quoted;

/// A table, and the columns that were asked for.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    oid: i64,
    /// Its schema and its name, not quoted.
    pub(crate) schema: String,
    pub(crate) name: String,
    pub(crate) partitioned: bool,
    /// The columns of its primary key.
    pub(crate) key: Vec<String>,
    pub(crate) columns: Vec<Column>,
}

/// A column.
#[derive(Debug, Clone, QueryableByName)]
pub(crate) struct Column {
    #[diesel(sql_type = Text)]
    pub(crate) name: String,
    #[diesel(sql_type = Text)]
    pub(crate) kind: String,
    #[diesel(sql_type = Bool)]
    pub(crate) not_null: bool,
    #[diesel(sql_type = Nullable<Text>)]
    pub(crate) default: Option<String>,
    #[diesel(sql_type = Bool)]
    pub(crate) generated: bool,
}

#[derive(QueryableByName)]
struct Found {
    #[diesel(sql_type = BigInt)]
    oid: i64,
    #[diesel(sql_type = Text)]
    schema: String,
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Text)]
    kind: String,
    #[diesel(sql_type = Array<Text>)]
    key: Vec<String>,
}

#[derive(QueryableByName)]
struct Line {
    #[diesel(sql_type = Text)]
    line: String,
}

#[derive(QueryableByName)]
struct Answer {
    #[diesel(sql_type = Bool)]
    yes: bool,
}

/// What hangs on a column, and would not follow to another one.
const BOUND: &str = "SELECT DISTINCT pg_catalog.pg_describe_object(d.classid, d.objid, d.objsubid) AS line \
    FROM pg_catalog.pg_depend AS d JOIN pg_catalog.pg_attribute AS a ON a.attrelid = d.refobjid \
    AND a.attnum = d.refobjsubid WHERE d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjid = \
    $1::oid \
    AND a.attname = $2 AND NOT (d.classid = 'pg_catalog.pg_attrdef'::regclass AND d.deptype = 'a') \
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint AS k WHERE d.classid = \
    'pg_catalog.pg_constraint'::regclass \
    AND k.oid = d.objid AND k.contype = 'n') ORDER BY 1";

impl Facts {
    pub(crate) async fn of(
        conn: &mut AsyncPgConnection,
        table: &str,
        columns: &[String],
    ) -> Result<Facts, ChangeError> {
        let found: Vec<Found> = sql_query(
            "SELECT c.oid::bigint AS oid, nspname::text AS schema, relname::text AS name, relkind::text AS \
                kind, \
             ARRAY(SELECT a.attname::text FROM pg_catalog.pg_index AS i, \
             generate_series(0, i.indnkeyatts - 1) AS place, pg_catalog.pg_attribute AS a \
             WHERE i.indrelid = c.oid AND i.indisprimary AND a.attrelid = c.oid AND a.attnum = \
             i.indkey[place] \
             ORDER BY place) AS key FROM pg_catalog.pg_class AS c \
             JOIN pg_catalog.pg_namespace AS n ON n.oid = relnamespace WHERE c.oid = to_regclass($1)",
        )
        .bind::<Text, _>(table)
        .get_results(conn)
        .await?;
        let found = found.into_iter().find(|found| matches!(found.kind.as_str(), "r" | "p"));
        let Some(found) = found else { return Err(ChangeError::NoTable { table: table.to_owned() }) };
        let all: Vec<Column> = sql_query(
            "SELECT attname::text AS name, format_type(atttypid, atttypmod) AS kind, attnotnull AS not_null, \
             pg_get_expr(adbin, adrelid) AS default, attgenerated <> '' OR attidentity <> '' AS generated \
             FROM pg_catalog.pg_attribute LEFT JOIN pg_catalog.pg_attrdef ON adrelid = attrelid AND adnum = \
             attnum \
             WHERE attrelid = $1::oid AND attname = ANY ($2) AND attnum > 0 AND NOT attisdropped",
        )
        .bind::<BigInt, _>(found.oid)
        .bind::<Array<Text>, _>(columns)
        .get_results(conn)
        .await?;
        if let Some(column) = columns.iter().find(|wanted| all.iter().all(|one| one.name != **wanted)) {
            return Err(ChangeError::NoColumn { table: found.name, column: column.clone() });
        }
        Ok(Facts {
            oid: found.oid,
            partitioned: found.kind == "p",
            schema: found.schema,
            name: found.name,
            key: found.key,
            columns: all,
        })
    }

    /// The table as SQL names it.
    pub(crate) fn sql(&self) -> String {
        format!("{}.{}", quoted(&self.schema), quoted(&self.name))
    }

    /// A column that was asked for.
    pub(crate) fn column(&self, name: &str) -> Result<&Column, ChangeError> {
        self.columns
            .iter()
            .find(|column| column.name == name)
            .ok_or_else(|| ChangeError::NoColumn { table: self.name.clone(), column: name.to_owned() })
    }

    /// A name for something that belongs to columns of the table, short enough for the server.
    pub(crate) fn named(&self, columns: &[String], what: &str) -> String {
        let mut name = format!("{}_{}", self.name, columns.join("_"));
        while name.len() + what.len() + 1 > LONGEST_NAME {
            name.pop();
        }
        format!("{name}_{what}")
    }

    /// The rights on the table, as statements that grant them on `{}`.
    pub(crate) async fn grants(&self, conn: &mut AsyncPgConnection) -> Result<Vec<String>, ChangeError> {
        let lines: Vec<Line> = sql_query(
            "SELECT format('GRANT %s ON {} TO %s%s;', privilege_type, CASE WHEN grantee = 0 THEN 'PUBLIC' \
             ELSE grantee::regrole::text END, CASE WHEN is_grantable THEN ' WITH GRANT OPTION' ELSE '' END) \
             AS line \
             FROM pg_catalog.pg_class, pg_catalog.aclexplode(relacl) WHERE oid = $1::oid AND grantee <> \
             relowner \
             AND privilege_type IN ('SELECT', 'INSERT', 'UPDATE', 'DELETE') ORDER BY 1",
        )
        .bind::<BigInt, _>(self.oid)
        .get_results(conn)
        .await?;
        Ok(lines.into_iter().map(|line| line.line).collect())
    }

    /// Fails where something hangs on the column that would stay with the old one.
    pub(crate) async fn refuse_bound(
        &self,
        conn: &mut AsyncPgConnection,
        column: &str,
    ) -> Result<(), ChangeError> {
        let query = sql_query(BOUND).bind::<BigInt, _>(self.oid).bind::<Text, _>(column);
        let bound: Vec<Line> = query.get_results(conn).await?;
        if bound.is_empty() {
            return Ok(());
        }
        let bound: Vec<String> = bound.into_iter().map(|line| line.line).collect();
        Err(ChangeError::Refused {
            what: format!("the type of {}.{column} cannot change through another column", self.name),
            reason: format!(
                "what hangs on it would stay with the old one: {}; drop it first, and make it again on the \
                    new \
                 column (an index with CREATE INDEX CONCURRENTLY)",
                bound.join(", ")
            ),
        })
    }

    /// Whether the shadow lacks a value that the column has.
    pub(crate) async fn any_null(
        &self,
        conn: &mut AsyncPgConnection,
        column: &str,
        shadow: &str,
    ) -> Result<bool, ChangeError> {
        let sql = format!(
            "SELECT EXISTS (SELECT FROM {} WHERE {} IS NOT NULL AND {} IS NULL) AS yes",
            self.sql(),
            quoted(column),
            quoted(shadow)
        );
        Ok(sql_query(sql).get_result::<Answer>(conn).await?.yes)
    }
}

/// The server cuts longer names off.
const LONGEST_NAME: usize = 63;
