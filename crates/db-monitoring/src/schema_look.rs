//! What checks want to know of one database's tables and indexes beyond counters: keys, definitions,
//! leftovers, bloat.
//!
//! Only the catalogue is read, which takes no lock on any relation.

use serde::Deserialize;

use crate::asker::{Answer, Asker, Missing, Question};
use crate::bloat::{Bloat, Bloats};
use crate::server::ServerSession;

/// A foreign key whose own side has no index that begins with its columns.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct ForeignKey {
    pub(crate) table: String,
    pub(crate) name: String,
    pub(crate) parent: String,
    pub(crate) columns: String,
    pub(crate) rows: f64,
    pub(crate) parent_changes: f64,
}

const FOREIGN_KEYS: Question = Question {
    from: &[
        ("k", "pg_constraint"),
        ("c", "pg_class"),
        ("n", "pg_namespace"),
        ("p", "pg_class"),
        ("q", "pg_namespace"),
        ("i", "pg_index"),
        ("a", "pg_attribute"),
        ("s", "pg_stat_all_tables"),
    ],
    sql: "SELECT format('%I.%I', {n.nspname}, {c.relname}) AS \"table\", {k.conname}::text AS name, \
      format('%I.%I', {q.nspname}, {p.relname}) AS parent, (SELECT string_agg(format('%I', {a.attname}), ', ' ORDER BY o.place) \
        FROM unnest({k.conkey}) WITH ORDINALITY o(number, place) JOIN {a} a ON {a.attrelid} = k.conrelid \
        AND {a.attnum} = o.number) AS columns, {c.reltuples}::float8 AS rows, \
      (coalesce({s.n_tup_del}, 0) + coalesce({s.n_tup_upd}, 0))::float8 AS parent_changes \
      FROM {k} k JOIN {c} c ON {c.oid} = {k.conrelid} JOIN {n} n ON {n.oid} = {c.relnamespace} \
      JOIN {p} p ON {p.oid} = {k.confrelid} JOIN {q} q ON {q.oid} = {p.relnamespace} LEFT JOIN {s} s ON {s.relid} = p.oid \
      WHERE {k.contype} = 'f' AND {c.relkind} = 'r' AND NOT EXISTS (SELECT FROM {i} i WHERE {i.indrelid} = k.conrelid \
        AND {i.indisvalid} AND {i.indpred} IS NULL \
        AND ({i.indkey}::int2[])[0:cardinality(k.conkey) - 1] @> k.conkey)",
    needs_stats_role: false,
};

/// How an index is defined, in a form that can be compared.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct Definition {
    pub(crate) table: String,
    pub(crate) name: String,
    pub(crate) method: String,
    /// The columns, then the classes, collations and orders of the key: one place for each column.
    pub(crate) keys: Vec<i64>,
    pub(crate) classes: Vec<i64>,
    pub(crate) collations: Vec<i64>,
    pub(crate) options: Vec<i64>,
    pub(crate) key_columns: usize,
    pub(crate) predicate: Option<String>,
    pub(crate) expressions: Option<String>,
    pub(crate) bytes: f64,
    pub(crate) is_unique: bool,
    pub(crate) is_valid: bool,
    pub(crate) is_ready: bool,
    /// It stands for a constraint, identifies rows in replication, or orders the table: not to be dropped.
    pub(crate) is_needed: bool,
    pub(crate) is_built: bool,
    /// The index of a partitioned index: dropped with that one.
    pub(crate) is_part: bool,
}

const DEFINITIONS: Question = Question {
    from: &[
        ("i", "pg_index"),
        ("c", "pg_class"),
        ("t", "pg_class"),
        ("n", "pg_namespace"),
        ("m", "pg_am"),
        ("k", "pg_constraint"),
        ("b", "pg_stat_progress_create_index"),
    ],
    sql: "SELECT format('%I.%I', {n.nspname}, {t.relname}) AS \"table\", format('%I.%I', {n.nspname}, {c.relname}) AS name, \
      {m.amname}::text AS method, {i.indkey}::int2[]::int8[] AS keys, {i.indclass}::oid[]::int8[] AS classes, \
      {i.indcollation}::oid[]::int8[] AS collations, {i.indoption}::int2[]::int8[] AS options, {i.indnkeyatts}::int AS key_columns, \
      regexp_replace({i.indpred}::text, ':location -?[0-9]+', '', 'g') AS predicate, \
      regexp_replace({i.indexprs}::text, ':location -?[0-9]+', '', 'g') AS expressions, \
      {c.relpages}::float8 * current_setting('block_size')::float8 AS bytes, {i.indisunique} AS is_unique, \
      {i.indisvalid} AS is_valid, {i.indisready} AS is_ready, \
      {i.indisprimary} OR {i.indisreplident} OR {i.indisclustered} OR {i.indisexclusion} \
        OR EXISTS (SELECT FROM {k} k WHERE {k.conindid} = i.indexrelid) AS is_needed, \
      EXISTS (SELECT FROM {b} b WHERE {b.index_relid} = i.indexrelid) AS is_built, {c.relispartition} AS is_part \
      FROM {i} i JOIN {c} c ON {c.oid} = {i.indexrelid} JOIN {t} t ON {t.oid} = {i.indrelid} \
      JOIN {n} n ON {n.oid} = {t.relnamespace} JOIN {m} m ON {m.oid} = {c.relam} \
      WHERE {c.relkind} = 'i' AND {n.nspname} NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema' ORDER BY 1, 2",
    needs_stats_role: false,
};

/// A table without a primary key.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Keyless {
    pub(crate) table: String,
    pub(crate) rows: f64,
    pub(crate) is_published: bool,
}

const KEYLESS: Question = Question {
    from: &[
        ("c", "pg_class"),
        ("n", "pg_namespace"),
        ("i", "pg_index"),
        ("p", "pg_publication"),
        ("r", "pg_publication_rel"),
    ],
    sql: "SELECT format('%I.%I', {n.nspname}, {c.relname}) AS \"table\", {c.reltuples}::float8 AS rows, \
      {c.relreplident} IN ('d', 'n') AND EXISTS (SELECT FROM {p} p WHERE ({p.pubupdate} OR {p.pubdelete}) AND ({p.puballtables} \
        OR EXISTS (SELECT FROM {r} r WHERE {r.prpubid} = {p.oid} AND {r.prrelid} = c.oid))) AS is_published \
      FROM {c} c JOIN {n} n ON {n.oid} = {c.relnamespace} WHERE {c.relkind} IN ('r', 'p') AND NOT {c.relispartition} \
      AND {c.relpersistence} <> 't' AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema' \
      AND NOT EXISTS (SELECT FROM {i} i WHERE {i.indrelid} = c.oid AND {i.indisprimary}) ORDER BY 1",
    needs_stats_role: false,
};

/// Which column a sequence fills.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Filled {
    pub(crate) sequence: i64,
    pub(crate) column: String,
    pub(crate) table: String,
    pub(crate) column_name: String,
    /// The largest number that the column takes; none where it is no integer.
    pub(crate) ceiling: Option<f64>,
}

const FILLED: Question = Question {
    from: &[
        ("d", "pg_depend"),
        ("c", "pg_class"),
        ("n", "pg_namespace"),
        ("a", "pg_attribute"),
        ("t", "pg_type"),
        ("q", "pg_sequence"),
    ],
    sql: "SELECT {d.objid}::int8 AS sequence, format('%I.%I.%I', {n.nspname}, {c.relname}, {a.attname}) AS \"column\", \
      format('%I.%I', {n.nspname}, {c.relname}) AS \"table\", format('%I', {a.attname}) AS column_name, \
      CASE {t.typname} WHEN 'int2' THEN 32767 WHEN 'int4' THEN 2147483647 WHEN 'int8' THEN 9223372036854775807 END::float8 AS ceiling \
      FROM {d} d JOIN {q} q ON {q.seqrelid} = {d.objid} JOIN {c} c ON {c.oid} = {d.refobjid} JOIN {n} n ON {n.oid} = {c.relnamespace} \
      JOIN {a} a ON {a.attrelid} = {c.oid} AND {a.attnum} = {d.refobjsubid} JOIN {t} t ON {t.oid} = {a.atttypid} \
      WHERE {d.deptype} IN ('a', 'i') AND {d.classid} = 'pg_class'::regclass AND {d.refclassid} = 'pg_class'::regclass",
    needs_stats_role: false,
};

/// Something about a table that somebody meant to put in order again.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Leftover {
    /// `not_valid` or `trigger_off`.
    pub(crate) kind: String,
    pub(crate) table: String,
    pub(crate) name: String,
}

const LEFTOVERS: Question = Question {
    from: &[("k", "pg_constraint"), ("g", "pg_trigger"), ("c", "pg_class"), ("n", "pg_namespace")],
    sql: "SELECT 'not_valid' AS kind, format('%I.%I', {n.nspname}, {c.relname}) AS \"table\", format('%I', {k.conname}) AS name \
      FROM {k} k JOIN {c} c ON {c.oid} = {k.conrelid} JOIN {n} n ON {n.oid} = {c.relnamespace} WHERE NOT {k.convalidated} \
      UNION ALL SELECT 'trigger_off', format('%I.%I', {n.nspname}, {c.relname}), format('%I', {g.tgname}) \
      FROM {g} g JOIN {c} c ON {c.oid} = {g.tgrelid} JOIN {n} n ON {n.oid} = {c.relnamespace} \
      WHERE {g.tgenabled} = 'D' ORDER BY 1, 2, 3",
    needs_stats_role: false,
};

/// An index on one column that is null most of the time.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct MostlyNull {
    pub(crate) table: String,
    pub(crate) index: String,
    pub(crate) column: String,
    pub(crate) rows: f64,
    pub(crate) null_share: f64,
}

const MOSTLY_NULL: Question = Question {
    from: &[
        ("i", "pg_index"),
        ("c", "pg_class"),
        ("t", "pg_class"),
        ("n", "pg_namespace"),
        ("a", "pg_attribute"),
        ("s", "pg_stats"),
    ],
    sql: "SELECT format('%I.%I', {n.nspname}, {t.relname}) AS \"table\", format('%I.%I', {n.nspname}, {c.relname}) AS index, \
      format('%I', {a.attname}) AS \"column\", {t.reltuples}::float8 AS rows, {s.null_frac}::float8 AS null_share \
      FROM {i} i JOIN {c} c ON {c.oid} = {i.indexrelid} JOIN {t} t ON {t.oid} = {i.indrelid} \
      JOIN {n} n ON {n.oid} = {t.relnamespace} JOIN {a} a ON {a.attrelid} = {t.oid} AND {a.attnum} = {i.indkey}[0] \
      JOIN {s} s ON {s.schemaname} = {n.nspname} AND {s.tablename} = {t.relname} AND {s.attname} = {a.attname} AND NOT {s.inherited} \
      WHERE {i.indnatts} = 1 AND {i.indpred} IS NULL AND NOT {i.indisunique} AND {i.indisvalid} AND {t.relkind} = 'r'",
    needs_stats_role: false,
};

/// How many relations have statistics that this role may not read: what is concluded from the others is not
/// the whole truth.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Unreadable {
    pub(crate) tables: f64,
    pub(crate) sequences: f64,
}

const UNREADABLE: Question = Question {
    from: &[("c", "pg_class"), ("n", "pg_namespace"), ("q", "pg_sequence")],
    sql: "SELECT count(*)::float8 AS tables, (SELECT count(*) FROM {q} q \
      WHERE NOT has_sequence_privilege({q.seqrelid}, 'SELECT,USAGE'))::float8 AS sequences FROM {c} c JOIN {n} n ON {n.oid} = {c.relnamespace} WHERE {c.relkind} IN ('r', 'm') \
      AND NOT has_any_column_privilege({c.oid}, 'SELECT') AND n.nspname NOT LIKE 'pg\\_%' \
      AND n.nspname <> 'information_schema'",
    needs_stats_role: false,
};

/// What there is to know of one database's schema.
///
/// It is read on a session of the database itself, once an hour or when somebody asks.
#[derive(Debug, Clone, Default)]
pub struct SchemaLook {
    pub(crate) foreign_keys: Answer<ForeignKey>,
    pub(crate) definitions: Answer<Definition>,
    pub(crate) keyless: Answer<Keyless>,
    pub(crate) filled: Answer<Filled>,
    pub(crate) leftovers: Answer<Leftover>,
    pub(crate) mostly_null: Answer<MostlyNull>,
    pub(crate) unreadable: Answer<Unreadable>,
    pub(crate) bloat: Option<Result<Bloats, Missing>>,
}

impl SchemaLook {
    /// Reads it; what could not be read is known as such.
    ///
    /// # Cancel safety
    /// Dropping the future drops the answers; the session stays usable.
    pub async fn read(session: &ServerSession) -> Self {
        // None of these needs more than the catalogue.
        let asker = Asker::new(session, true);
        SchemaLook {
            foreign_keys: asker.ask(&FOREIGN_KEYS).await,
            definitions: asker.ask(&DEFINITIONS).await,
            keyless: asker.ask(&KEYLESS).await,
            filled: asker.ask(&FILLED).await,
            leftovers: asker.ask(&LEFTOVERS).await,
            mostly_null: asker.ask(&MOSTLY_NULL).await,
            unreadable: asker.ask(&UNREADABLE).await,
            bloat: Some(Bloats::read(&asker).await),
        }
    }

    /// The bloat of its tables and B-trees of at least 100 pages, the most wasteful first.
    ///
    /// # Errors
    /// Why it is not known.
    pub fn bloat(&self) -> Result<&[Bloat], &str> {
        match &self.bloat {
            Some(Ok(bloats)) => Ok(&bloats.found),
            Some(Err(missing)) => Err(missing),
            None => Err("it was not looked at"),
        }
    }

    /// The relations of which the bloat is not known, and why.
    pub fn unknown_bloat(&self) -> &[(String, String)] {
        match &self.bloat {
            Some(Ok(bloats)) => &bloats.unknown,
            _ => &[],
        }
    }
}
