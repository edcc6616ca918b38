//! Finds the ledger: by its tables' names and columns in the catalogue, in whatever schema they are.
//!
//! `search_path` decides nothing here. Roles, databases, migrations and extensions change it, and a ledger
//! that is looked for along it is lost with the change: then every migration would run again. For the same
//! reason each name in the queries has its schema.

use diesel::sql_types::{Array, BigInt, Bool, Text};
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use crate::error::MigrationError;

/// Where a new ledger is made unless a setting names another schema.
pub(crate) const DEFAULT_SCHEMA: &str = "public";

/// A table of the ledger: its name, and the columns that tell it from a stranger of the same name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LedgerTable {
    pub(crate) name: &'static str,
    columns: &'static [&'static str],
}

/// Diesel's own.
pub(crate) const DIESEL: LedgerTable =
    LedgerTable { name: "__diesel_schema_migrations", columns: &["version", "run_on"] };
/// What was applied.
pub(crate) const OURS: LedgerTable =
    LedgerTable { name: "__db_migrations", columns: &["version", "name", "checksum", "how"] };
/// What was cut off.
pub(crate) const UNDER_WAY: LedgerTable =
    LedgerTable { name: "__db_migrations_under_way", columns: &["version", "down", "done", "hash", "begun"] };

/// A table that has the name of one of the ledger's.
#[derive(Debug, Clone, PartialEq, Eq, QueryableByName)]
pub(crate) struct Candidate {
    /// Its schema, not quoted.
    #[diesel(sql_type = Text)]
    pub(crate) schema: String,
    #[diesel(sql_type = Text)]
    pub(crate) name: String,
    #[diesel(sql_type = BigInt)]
    pub(crate) oid: i64,
    /// None where it is no table, but a view or the like.
    #[diesel(sql_type = Array<Text>)]
    pub(crate) columns: Vec<String>,
    /// Whether the current role may read it.
    #[diesel(sql_type = Bool)]
    pub(crate) readable: bool,
}

/// The schema of the ledger, and which of its tables are there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Location {
    /// Not quoted.
    pub(crate) schema: String,
    /// Schemas that have a ledger of their own, where a setting named this one.
    pub(crate) others: Vec<String>,
    pub(crate) diesel: Option<i64>,
    pub(crate) ours: Option<i64>,
    pub(crate) under_way: Option<i64>,
}

const CANDIDATES: &str = "SELECT n.nspname::pg_catalog.text AS schema, c.relname::pg_catalog.text AS name, \
    c.oid::bigint AS oid, ARRAY(SELECT a.attname::pg_catalog.text FROM pg_catalog.pg_attribute AS a WHERE \
    a.attrelid OPERATOR(pg_catalog.=) c.oid AND a.attnum OPERATOR(pg_catalog.>) 0 AND NOT a.attisdropped AND \
    c.relkind OPERATOR(pg_catalog.=) ANY ('{r,p}'::pg_catalog.\"char\"[])) AS columns, \
    pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND pg_catalog.has_table_privilege(c.oid, 'SELECT') AS \
    readable FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) \
    c.relnamespace WHERE c.relname OPERATOR(pg_catalog.=) ANY (\
    '{__diesel_schema_migrations,__db_migrations,__db_migrations_under_way}'::pg_catalog.name[]) \
    AND c.relpersistence OPERATOR(pg_catalog.<>) 't'";

#[derive(QueryableByName)]
struct Answer {
    #[diesel(sql_type = Bool)]
    yes: bool,
}

impl Location {
    /// Where the ledger is, or where it would be made.
    pub(crate) async fn find(
        conn: &mut AsyncPgConnection,
        wanted: Option<&str>,
    ) -> Result<Self, MigrationError> {
        let candidates: Vec<Candidate> = sql_query(CANDIDATES).get_results(conn).await?;
        let location = Location::choose(&candidates, wanted)?;
        if location.is_empty() {
            location.must_exist(conn).await?;
        }
        Ok(location)
    }

    /// The rule: the schema that was named; else the one that has a ledger, of which there may be only one;
    /// else `public`.
    pub(crate) fn choose(candidates: &[Candidate], wanted: Option<&str>) -> Result<Self, MigrationError> {
        let mut schemas: Vec<&str> = candidates
            .iter()
            .filter(|one| one.is(DIESEL) || one.is(OURS))
            .map(|one| one.schema.as_str())
            .collect();
        schemas.sort_unstable();
        schemas.dedup();
        let schema = match (wanted, &*schemas) {
            (Some(wanted), _) => wanted,
            (None, []) => DEFAULT_SCHEMA,
            (None, [one]) => one,
            (None, several) => {
                return Err(MigrationError::SeveralLedgers {
                    schemas: several.iter().map(|&one| one.to_owned()).collect(),
                });
            }
        };
        let oid = |table: LedgerTable| match candidates
            .iter()
            .find(|one| one.schema == schema && one.name == table.name)
        {
            None => Ok(None),
            Some(stranger) if !stranger.is(table) => {
                Err(MigrationError::NoLedger { table: stranger.shown() })
            }
            Some(hidden) if !hidden.readable => Err(MigrationError::LedgerDenied { table: hidden.shown() }),
            Some(found) => Ok(Some(found.oid)),
        };
        let others = schemas.iter().filter(|one| **one != schema).map(|&one| one.to_owned());
        Ok(Location {
            diesel: oid(DIESEL)?,
            ours: oid(OURS)?,
            under_way: oid(UNDER_WAY)?,
            others: others.collect(),
            schema: schema.to_owned(),
        })
    }

    /// Whether there is no ledger yet.
    pub(crate) fn is_empty(&self) -> bool {
        self.diesel.is_none() && self.ours.is_none()
    }

    /// A table in this schema, as SQL names it.
    pub(crate) fn name_of(&self, table: LedgerTable) -> String {
        format!("{}.{}", quoted(&self.schema), table.name)
    }

    /// A schema is never made here: a name that was misspelt must not run every migration once more.
    async fn must_exist(&self, conn: &mut AsyncPgConnection) -> Result<(), MigrationError> {
        let exists = "SELECT EXISTS (SELECT FROM pg_catalog.pg_namespace \
                      WHERE nspname OPERATOR(pg_catalog.=) $1) AS yes";
        let answer: Answer = sql_query(exists).bind::<Text, _>(&self.schema).get_result(conn).await?;
        if answer.yes { Ok(()) } else { Err(MigrationError::NoLedgerSchema { schema: self.schema.clone() }) }
    }
}

impl Candidate {
    fn is(&self, table: LedgerTable) -> bool {
        self.name == table.name
            && table.columns.iter().all(|column| self.columns.iter().any(|one| one == column))
    }

    fn shown(&self) -> String {
        format!("{}.{}", quoted(&self.schema), self.name)
    }
}

/// A name in double quotes: right whatever is in it.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(schema: &str, table: LedgerTable) -> Candidate {
        let columns = table.columns.iter().map(|&one| one.to_owned()).collect();
        Candidate { schema: schema.to_owned(), name: table.name.to_owned(), oid: 1, columns, readable: true }
    }

    fn chosen(candidates: &[Candidate], wanted: Option<&str>) -> Result<String, String> {
        let location = Location::choose(candidates, wanted).map_err(|error| error.to_string())?;
        Ok(format!("{} {}", location.schema, if location.is_empty() { "new" } else { "found" }))
    }

    #[test]
    fn one_ledger_is_found_wherever_it_is() {
        assert_eq!(chosen(&[], None).unwrap(), "public new");
        assert_eq!(chosen(&[table("a", DIESEL)], None).unwrap(), "a found");
        assert_eq!(chosen(&[table("a", DIESEL), table("a", OURS)], None).unwrap(), "a found");
        assert_eq!(chosen(&[table("a", DIESEL)], Some("b")).unwrap(), "b new");
    }

    #[test]
    fn of_two_ledgers_one_must_be_named() {
        let two = [table("b", DIESEL), table("a", OURS)];
        let error = chosen(&two, None).unwrap_err();
        assert!(error.contains("a and b") && error.contains("--ledger-schema"), "{error}");
        assert_eq!(chosen(&two, Some("b")).unwrap(), "b found");
    }

    #[test]
    fn a_stranger_of_the_same_name_is_no_ledger() {
        let stranger = Candidate { columns: vec!["id".to_owned()], ..table("a", DIESEL) };
        assert_eq!(chosen(std::slice::from_ref(&stranger), None).unwrap(), "public new");
        let error = chosen(&[stranger], Some("a")).unwrap_err();
        assert!(error.contains("\"a\".__diesel_schema_migrations"), "{error}");
    }

    #[test]
    fn a_ledger_that_the_role_may_not_read_is_no_empty_one() {
        let hidden = Candidate { readable: false, ..table("a", DIESEL) };
        let error = chosen(&[hidden], None).unwrap_err();
        assert!(error.contains("may not read") && error.contains("GRANT"), "{error}");
    }
}
