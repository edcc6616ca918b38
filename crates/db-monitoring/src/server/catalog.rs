//! What the server has: which views, columns and functions, and which of them we may use.

use std::collections::{BTreeMap, BTreeSet};

use diesel_async::AsyncPgConnection;

use crate::server::record::record;
use crate::server::sql::Sql;
use crate::server::{SkipReason, Skipped, sql};

/// Which views, columns and functions this database has and lets us use; asked for once on each connection.
///
/// Never derived from the server's version: an extension may be older than its server, and a major that
/// nobody has seen yet may lack what all before it had.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Catalog {
    relations: BTreeMap<String, Relation>,
    functions: BTreeSet<String>,
    refused_functions: BTreeSet<String>,
}

#[derive(Debug, Clone, PartialEq)]
struct Relation {
    qualified: String,
    allowed: bool,
    columns: BTreeSet<String>,
}

record! {
    /// A view or table, or, where the name is empty, all functions.
    pub(crate) struct CatalogRow: "", "" {
        name: String;
        qualified: String;
        allowed: bool;
        members: Vec<String>;
    }
}

/// Views of the system, and of the extensions that are ours to read wherever they are installed.
const QUESTION: &str = "\
SELECT c.relname::text, format('%I.%I', n.nspname, c.relname)::text, \
    has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT'), \
    array(SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT \
    a.attisdropped) \
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
 WHERE c.relnamespace = 'pg_catalog'::regnamespace AND c.relkind IN ('r', 'v') \
    OR EXISTS (SELECT FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid \
                WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid \
                  AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e' AND e.extname = \
                  'pg_stat_statements') \
UNION ALL \
SELECT '', '', allowed, array_agg(DISTINCT proname::text) \
  FROM (SELECT p.proname, has_function_privilege(p.oid, 'EXECUTE') AS allowed FROM pg_proc p \
         WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.proname LIKE 'pg\\_%') AS f GROUP BY \
         allowed";

impl Catalog {
    pub(crate) async fn ask(conn: &AsyncPgConnection) -> Result<Self, Skipped> {
        let mut catalog = Catalog::default();
        for row in sql::rows::<CatalogRow>(conn, Sql { text: QUESTION, comes_again: false }).await? {
            let members: BTreeSet<_> = row.members.into_iter().collect();
            match (row.name.is_empty(), row.allowed) {
                (true, true) => catalog.functions.extend(members),
                (true, false) => catalog.refused_functions.extend(members),
                (false, allowed) => {
                    let relation = Relation { qualified: row.qualified, allowed, columns: members };
                    catalog.relations.insert(row.name, relation);
                }
            }
        }
        Ok(catalog)
    }

    /// Whether the view or table is there, may be read, and has this column.
    pub fn has_column(&self, relation: &str, column: &str) -> bool {
        self.relations.get(relation).is_some_and(|found| found.allowed && found.columns.contains(column))
    }

    /// Whether the view or table is there and may be read.
    pub fn has_relation(&self, relation: &str) -> bool {
        self.relations.get(relation).is_some_and(|found| found.allowed)
    }

    /// Whether the function of `pg_catalog` is there and may be called.
    pub fn has_function(&self, function: &str) -> bool {
        self.functions.contains(function)
    }

    /// The view or table with its schema, ready to stand in a statement.
    ///
    /// # Errors
    /// Missing, or not permitted.
    pub fn qualified(&self, relation: &str) -> Result<String, Skipped> {
        match self.relations.get(relation) {
            None if relation.is_empty() => Ok(String::new()),
            Some(found) if found.allowed => Ok(found.qualified.clone()),
            Some(_) => {
                let detail = format!("the role may not read {relation}; grant it pg_monitor");
                Err(Skipped::new(SkipReason::NoPermission, detail))
            }
            None => {
                let detail = match relation {
                    "pg_stat_statements" => {
                        "the extension pg_stat_statements is not in this database; see dbctl monitoring setup"
                    }
                    _ => return Err(missing(relation)),
                };
                Err(Skipped::new(SkipReason::Missing, detail))
            }
        }
    }

    /// Fails where the function is missing or refused.
    ///
    /// # Errors
    /// Missing, or not permitted.
    pub fn needs_function(&self, function: &str) -> Result<(), Skipped> {
        if self.has_function(function) {
            return Ok(());
        }
        if self.refused_functions.contains(function) {
            let detail = format!("the role may not call {function}; grant it pg_monitor");
            return Err(Skipped::new(SkipReason::NoPermission, detail));
        }
        Err(missing(function))
    }
}

fn missing(what: &str) -> Skipped {
    Skipped::new(SkipReason::Missing, format!("{what} is not on this server"))
}
