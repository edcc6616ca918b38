//! The views and functions that people look for by name: statements that are slow, and connections by state.

use serde::Deserialize;

use super::{MARK, SetupStep, identifier, step};

/// A kind of object of ours in the schema `dbp`.
struct Object {
    /// What the server knows it by.
    name: &'static str,
    kind: &'static str,
    does: &'static str,
    /// Its definition; `@` is pg_stat_statements with its schema.
    sql: &'static str,
    grant: &'static str,
}

/// In the order in which one may need another.
const OBJECTS: [Object; 3] = [
    Object {
        name: "dbp.slow_queries",
        kind: "VIEW",
        does: "make dbp.slow_queries: statements of this database, the slowest on average first",
        // A command that sets a password has it in its text: that text is not shown.
        sql: "CREATE VIEW dbp.slow_queries AS SELECT s.queryid, s.calls, s.mean_exec_time AS mean_ms, \
            s.max_exec_time AS max_ms, s.total_exec_time AS total_ms, s.rows, \
            s.shared_blks_hit + s.shared_blks_read AS blocks, \
            CASE WHEN s.query ~* 'password' THEN '(not shown: it may hold a password)' ELSE s.query END AS query \
            FROM @ s WHERE s.dbid = (SELECT d.oid FROM pg_catalog.pg_database d \
            WHERE d.datname = pg_catalog.current_database()) AND s.calls > 0 ORDER BY s.mean_exec_time DESC",
        grant: "GRANT SELECT ON dbp.slow_queries TO",
    },
    Object {
        name: "dbp.get_slow_queries(double precision)",
        kind: "FUNCTION",
        does: "make dbp.get_slow_queries(ms): those that take so many milliseconds on average or more",
        sql: "CREATE FUNCTION dbp.get_slow_queries(ms double precision) RETURNS SETOF dbp.slow_queries \
            LANGUAGE sql STABLE SET search_path = pg_catalog \
            AS 'SELECT * FROM dbp.slow_queries WHERE mean_ms >= ms'",
        grant: "GRANT EXECUTE ON FUNCTION dbp.get_slow_queries(double precision) TO",
    },
    Object {
        name: "dbp.get_connection_stats()",
        kind: "FUNCTION",
        does: "make dbp.get_connection_stats(): connections of clients by state, and what part of all they are",
        sql: "CREATE FUNCTION dbp.get_connection_stats(OUT state text, OUT connections bigint, \
            OUT longest_seconds double precision, OUT waiting bigint, OUT percent_of_max double precision) \
            RETURNS SETOF record LANGUAGE sql STABLE SET search_path = pg_catalog \
            AS 'SELECT coalesce(a.state, ''not visible''), count(*), \
            max(date_part(''epoch'', clock_timestamp() - a.state_change)), \
            count(*) FILTER (WHERE a.wait_event_type = ''Lock''), \
            100.0 * count(*) / current_setting(''max_connections'')::int \
            FROM pg_stat_activity a WHERE a.backend_type = ''client backend'' GROUP BY 1 ORDER BY 2 DESC'",
        grant: "GRANT EXECUTE ON FUNCTION dbp.get_connection_stats() TO",
    },
];

/// What there is in the schema `dbp`.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Objects {
    schema_exists: bool,
    schema_mark: Option<String>,
    /// How many relations and functions it holds.
    holds: i64,
    /// Whether pg_stat_statements has the columns of today.
    pub(super) counts_in_milliseconds: bool,
    /// Those of ours that are there, in the order of [`OBJECTS`], with their comments.
    there: [bool; 3],
    marks: [Option<String>; 3],
}

/// What is asked for [`Objects`], as a value of JSON.
pub(super) const STATE: &str = "json_build_object( \
     'schema_exists', to_regnamespace('dbp') IS NOT NULL, \
     'schema_mark', obj_description(to_regnamespace('dbp'), 'pg_namespace'), \
     'holds', (SELECT count(*) FROM pg_class c WHERE c.relnamespace = to_regnamespace('dbp')) \
        + (SELECT count(*) FROM pg_proc p WHERE p.pronamespace = to_regnamespace('dbp')), \
     'counts_in_milliseconds', EXISTS (SELECT FROM pg_extension e JOIN pg_class c ON c.relnamespace = e.extnamespace \
        AND c.relname = 'pg_stat_statements' JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'mean_exec_time' \
        WHERE e.extname = 'pg_stat_statements'), \
     'there', json_build_array(to_regclass('dbp.slow_queries') IS NOT NULL, \
        to_regprocedure('dbp.get_slow_queries(double precision)') IS NOT NULL, \
        to_regprocedure('dbp.get_connection_stats()') IS NOT NULL), \
     'marks', json_build_array(obj_description(to_regclass('dbp.slow_queries'), 'pg_class'), \
        obj_description(to_regprocedure('dbp.get_slow_queries(double precision)'), 'pg_proc'), \
        obj_description(to_regprocedure('dbp.get_connection_stats()'), 'pg_proc')))";

impl Objects {
    /// What is missing; `schema` is where pg_stat_statements is or will be, and none where statements are not
    /// counted.
    pub(super) fn plan(
        &self,
        (role, uses_schema): (&str, bool),
        schema: Option<&str>,
        steps: &mut Vec<SetupStep>,
        already: &mut Vec<String>,
    ) {
        let mut missing = Vec::new();
        let mut slow_queries = self.there[0] && self.marks[0].as_deref() == Some(MARK);
        for (object, there) in OBJECTS.iter().zip(self.there) {
            let statements = match (schema, object.kind) {
                _ if there => {
                    already.push(format!("{} is there", object.name));
                    continue;
                }
                (Some(schema), _) => format!("{}.pg_stat_statements", identifier(schema)),
                (None, "VIEW") => continue,
                (None, _) => String::new(),
            };
            slow_queries |= object.kind == "VIEW";
            // The function stands on our view, and on nobody else's of that name.
            if object.sql.contains("dbp.slow_queries") && !slow_queries {
                continue;
            }
            missing.push((object, object.sql.replace('@', &statements)));
        }
        if missing.is_empty() {
            return;
        }
        if !self.schema_exists {
            steps.push(step("make the schema dbp", "CREATE SCHEMA dbp"));
            steps.push(step("mark what was done, for --undo", format!("COMMENT ON SCHEMA dbp IS '{MARK}'")));
        }
        if !uses_schema {
            steps.push(step(
                format!("let {role} look into the schema dbp"),
                format!("GRANT USAGE ON SCHEMA dbp TO {}", identifier(role)),
            ));
        }
        for (object, sql) in missing {
            steps.push(step(object.does, sql));
            if object.kind == "FUNCTION" {
                let sql = format!("REVOKE ALL ON FUNCTION {} FROM PUBLIC", object.name);
                steps.push(step(format!("keep {} from everybody else", object.name), sql));
            }
            steps.push(step(format!("let {role} use it"), format!("{} {}", object.grant, identifier(role))));
            steps.push(step(
                "mark what was done, for --undo",
                format!("COMMENT ON {} {} IS '{MARK}'", object.kind, object.name),
            ));
        }
    }

    /// Takes ours away, the last made first, and the schema if we made it and nothing else is in it; from
    /// `role` where the setup let it in.
    pub(super) fn undo(&self, role: Option<&str>, steps: &mut Vec<SetupStep>, already: &mut Vec<String>) {
        let mut dropped = 0;
        for (object, mark) in OBJECTS.iter().zip(&self.marks).rev() {
            if mark.as_deref() == Some(MARK) {
                steps.push(step(
                    format!("drop {}", object.name),
                    format!("DROP {} {}", object.kind, object.name),
                ));
                dropped += 1;
            }
        }
        let is_ours = self.schema_mark.as_deref() == Some(MARK);
        if is_ours && self.holds == dropped {
            steps.push(step("drop the schema dbp", "DROP SCHEMA dbp"));
            return;
        }
        if let (Some(role), true) = (role, self.schema_exists) {
            steps.push(step(
                format!("take the schema dbp from {role}"),
                format!("REVOKE USAGE ON SCHEMA dbp FROM {}", identifier(role)),
            ));
        }
        if is_ours {
            steps.push(step("take the mark away", "COMMENT ON SCHEMA dbp IS NULL"));
            already.push("the schema dbp stays: history or alerts are kept in it".to_owned());
        }
    }
}
