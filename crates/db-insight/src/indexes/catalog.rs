//! What the server's catalogue and statistics say of tables, columns, indexes and foreign keys.

use std::collections::BTreeMap;

use db_core::Error;
use diesel::QueryableByName;
use diesel::sql_types::Text;
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use serde::Deserialize;

use super::AdviceError;

/// All that the advisor knows of a database.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Catalog {
    pub(crate) tables: Vec<Table>,
    pub(crate) foreign_keys: Vec<ForeignKey>,
    /// Names of relations by schema, so that a new index collides with none.
    pub(crate) relations: BTreeMap<String, Vec<String>>,
    /// Names of extended statistics by schema.
    pub(crate) statistics: BTreeMap<String, Vec<String>>,
    /// Extensions that are there, with the schema that holds their operators, and those that could be had.
    pub(crate) extensions: BTreeMap<String, String>,
    pub(crate) available: Vec<String>,
    /// Whether this role may create extensions at all.
    pub(crate) may_extend: bool,
    /// Functions that give another answer each time: no index answers what is compared with them.
    pub(crate) volatile: Vec<String>,
    /// Days since the counters of use were reset; none where nobody knows.
    pub(crate) window_days: Option<f64>,
    pub(crate) standby: bool,
    pub(crate) standbys: i64,
    pub(crate) costs: CostSettings,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct CostSettings {
    pub(crate) seq_page: f64,
    pub(crate) random_page: f64,
    pub(crate) cpu_tuple: f64,
    pub(crate) cpu_index_tuple: f64,
    pub(crate) cpu_operator: f64,
    /// In pages.
    pub(crate) cache: f64,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Table {
    pub(crate) oid: i64,
    pub(crate) schema: String,
    pub(crate) name: String,
    /// As the role's search_path lets it be written.
    pub(crate) shown: String,
    /// `r` a table, `p` a partitioned one, `m` a materialized view.
    pub(crate) kind: String,
    /// -1 where it was never analysed; of a partitioned table the sum.
    pub(crate) rows: f64,
    pub(crate) pages: f64,
    pub(crate) visible_pages: f64,
    /// The partitioned table at the top, if it is a partition.
    pub(crate) root: Option<i64>,
    /// The leaves of a partitioned table.
    #[serde(default)]
    pub(crate) leaves: Vec<String>,
    pub(crate) owned: bool,
    pub(crate) owner: String,
    pub(crate) may_create: bool,
    pub(crate) changed_since_analyze: f64,
    pub(crate) inserts: f64,
    pub(crate) updates: f64,
    pub(crate) hot_updates: f64,
    #[serde(default)]
    pub(crate) columns: Vec<TableColumn>,
    #[serde(default)]
    pub(crate) indexes: Vec<TableIndex>,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct TableColumn {
    pub(crate) name: String,
    pub(crate) kind: String,
    pub(crate) category: String,
    pub(crate) c_collation: bool,
    pub(crate) width: Option<f64>,
    pub(crate) distinct: Option<f64>,
    pub(crate) correlation: Option<f64>,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct TableIndex {
    pub(crate) name: String,
    pub(crate) shown: String,
    pub(crate) method: String,
    pub(crate) unique: bool,
    pub(crate) valid: bool,
    /// A primary key, a unique or an exclusion constraint stands on it.
    pub(crate) constraint: bool,
    pub(crate) replica_identity: bool,
    pub(crate) clustered: bool,
    /// It is a partition of another index, or the parent of some.
    pub(crate) partitioned: bool,
    pub(crate) predicate: Option<String>,
    pub(crate) keys: Vec<IndexKey>,
    #[serde(default)]
    pub(crate) include: Vec<String>,
    pub(crate) bytes: f64,
    pub(crate) scans: f64,
    pub(crate) oid: i64,
    pub(crate) building: bool,
    /// Of a partitioned index, the partitions that lack their part of it.
    #[serde(default)]
    pub(crate) missing: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct IndexKey {
    pub(crate) text: String,
    pub(crate) opclass: String,
    pub(crate) default_opclass: bool,
    pub(crate) collation: i64,
    /// Whether it is in the order of the column's own collation.
    pub(crate) own_collation: bool,
    pub(crate) options: i64,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct ForeignKey {
    pub(crate) table: i64,
    pub(crate) columns: Vec<String>,
    pub(crate) referenced: i64,
}

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = Text)]
    json: String,
}

impl Catalog {
    pub(crate) async fn read(conn: &mut AsyncPgConnection) -> Result<Self, AdviceError> {
        let row: Row = diesel::sql_query(CATALOG).get_result(conn).await.map_err(Error::from)?;
        serde_json::from_str(&row.json).map_err(AdviceError::Answer)
    }

    pub(crate) fn table(&self, schema: &str, name: &str) -> Option<&Table> {
        self.tables.iter().find(|table| table.schema == schema && table.name == name)
    }

    pub(crate) fn by_oid(&self, oid: i64) -> Option<&Table> {
        self.tables.iter().find(|table| table.oid == oid)
    }

    /// The partitions of a table that hold rows.
    pub(crate) fn leaves<'a>(&'a self, table: &'a Table) -> impl Iterator<Item = &'a Table> {
        self.tables.iter().filter(|one| one.root == Some(table.oid) && one.kind == "r")
    }

    /// The table to which an index on this one belongs: of a partition the whole.
    pub(crate) fn whole<'a>(&'a self, table: &'a Table) -> &'a Table {
        table.root.and_then(|root| self.by_oid(root)).unwrap_or(table)
    }
}

impl Table {
    pub(crate) fn column(&self, name: &str) -> Option<&TableColumn> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// Whether anything is known of its rows.
    pub(crate) fn is_analysed(&self) -> bool {
        self.rows >= 0.0 && (self.rows == 0.0 || self.columns.iter().any(|column| column.distinct.is_some()))
    }

    /// How many different values a column has, by the statistics; a tenth of the rows where there are none.
    pub(crate) fn distinct(&self, column: &str) -> f64 {
        match self.column(column).and_then(|column| column.distinct) {
            Some(share) if share < 0.0 => (-share * self.rows).max(1.0),
            Some(count) if count > 0.0 => count,
            _ => (self.rows / 10.0).clamp(1.0, 200.0),
        }
    }

    /// Whether a value of this column may be as long as it likes.
    pub(crate) fn has_no_bound(&self, column: &str) -> bool {
        let kind = self.column(column).map(|column| column.kind.as_str()).unwrap_or_default();
        matches!(kind, "text" | "character varying" | "bytea" | "jsonb" | "numeric") || kind.ends_with("[]")
    }

    pub(crate) fn width(&self, column: &str) -> f64 {
        self.column(column).and_then(|column| column.width).unwrap_or(16.0)
    }
}

const CATALOG: &str = r#"
WITH rel AS (
  SELECT c.*, n.nspname, n.oid AS nsp FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE c.relkind IN ('r', 'p', 'm') AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
    AND c.relpersistence <> 't'),
leaf AS (
  SELECT r.oid AS root, t.relid::oid AS oid FROM rel r CROSS JOIN LATERAL pg_partition_tree(r.oid) t
  WHERE r.relkind = 'p' AND t.isleaf),
size AS (
  SELECT l.root AS oid, sum(greatest(c.reltuples, 0)) AS tuples, sum(c.relpages) AS pages,
    sum(c.relallvisible) AS visible, bool_and(c.reltuples < 0) AS never,
    (array_agg(c.oid ORDER BY c.reltuples DESC))[1] AS biggest, json_agg(c.oid::regclass::text ORDER BY c.oid) AS leaves
  FROM leaf l JOIN pg_class c ON c.oid = l.oid GROUP BY 1),
stat AS (SELECT s.*, c.oid AS relid FROM pg_stats s JOIN pg_namespace n ON n.nspname = s.schemaname
  JOIN pg_class c ON c.relname = s.tablename AND c.relnamespace = n.oid WHERE NOT s.inherited),
idx AS (
  SELECT i.indrelid, json_build_object('oid', i.indexrelid::int8, 'name', c.relname, 'shown', c.oid::regclass::text,
    'method', am.amname, 'unique', i.indisunique, 'valid', i.indisvalid AND i.indisready,
    'constraint', EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = i.indexrelid AND k.contype IN ('p', 'u', 'x')),
    'replica_identity', i.indisreplident, 'clustered', i.indisclustered,
    'partitioned', c.relkind = 'I' OR c.relispartition, 'predicate', pg_get_expr(i.indpred, i.indrelid),
    'bytes', pg_relation_size(c.oid), 'scans', coalesce(pg_stat_get_numscans(c.oid), 0),
    'building', EXISTS (SELECT FROM pg_stat_progress_create_index p WHERE p.index_relid = i.indexrelid),
    'missing', coalesce((SELECT json_agg(t.relid::text ORDER BY t.relid) FROM pg_partition_tree(i.indrelid) t
      WHERE c.relkind = 'I' AND t.isleaf AND NOT EXISTS (SELECT FROM pg_partition_tree(c.oid) p
        JOIN pg_index x ON x.indexrelid = p.relid AND x.indisvalid WHERE x.indrelid = t.relid)), '[]'),
    'keys', (SELECT json_agg(json_build_object('text', pg_get_indexdef(i.indexrelid, k, false),
        'opclass', o.opcname, 'default_opclass', o.opcdefault, 'collation', i.indcollation[k - 1]::int8,
        'own_collation', i.indcollation[k - 1] = 0 OR NOT EXISTS (SELECT FROM pg_attribute a
          WHERE a.attrelid = i.indrelid AND a.attnum = i.indkey[k - 1] AND a.attcollation <> i.indcollation[k - 1]),
        'options', i.indoption[k - 1]) ORDER BY k)
      FROM generate_series(1, i.indnkeyatts) k JOIN pg_opclass o ON o.oid = i.indclass[k - 1]),
    'include', coalesce((SELECT json_agg(pg_get_indexdef(i.indexrelid, k, false) ORDER BY k)
      FROM generate_series(i.indnkeyatts + 1, i.indnatts) k), '[]')) AS one
  FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am am ON am.oid = c.relam
  JOIN rel ON rel.oid = i.indrelid)
SELECT json_build_object(
'tables', coalesce((SELECT json_agg(json_build_object(
  'oid', r.oid::int8, 'schema', r.nspname, 'name', r.relname, 'shown', r.oid::regclass::text, 'kind', r.relkind,
  'rows', CASE WHEN r.relkind = 'p' THEN CASE WHEN z.never IS NOT FALSE THEN -1 ELSE z.tuples END ELSE r.reltuples END,
  'pages', CASE WHEN r.relkind = 'p' THEN coalesce(z.pages, 0) ELSE
    greatest(r.relpages, pg_relation_size(r.oid) / current_setting('block_size')::int8) END,
  'visible_pages', CASE WHEN r.relkind = 'p' THEN coalesce(z.visible, 0) ELSE r.relallvisible END,
  'root', CASE WHEN r.relispartition THEN pg_partition_root(r.oid)::oid::int8 END,
  'leaves', coalesce(z.leaves, '[]'), 'owned', pg_has_role(r.relowner, 'USAGE'),
  'owner', pg_get_userbyid(r.relowner), 'may_create', has_schema_privilege(r.nsp, 'CREATE'),
  'changed_since_analyze', coalesce(pg_stat_get_mod_since_analyze(r.oid), 0),
  'inserts', coalesce(pg_stat_get_tuples_inserted(r.oid), 0), 'updates', coalesce(pg_stat_get_tuples_updated(r.oid), 0),
  'hot_updates', coalesce(pg_stat_get_tuples_hot_updated(r.oid), 0),
  'columns', coalesce((SELECT json_agg(json_build_object('name', a.attname, 'kind', format_type(a.atttypid, NULL),
      'category', t.typcategory, 'c_collation', coalesce(co.collname IN ('C', 'POSIX', 'ucs_basic', 'pg_c_utf8')
        OR (co.collname = 'default' AND (SELECT
          CASE coalesce(to_jsonb(d) ->> 'datlocprovider', 'c') WHEN 'b' THEN true WHEN 'i' THEN false
            ELSE d.datcollate IN ('C', 'POSIX') END
          FROM pg_database d WHERE d.datname = current_database())), true),
      'width', s.avg_width, 'distinct', s.n_distinct, 'correlation', s.correlation)
      ORDER BY a.attnum)
    FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid LEFT JOIN pg_collation co ON co.oid = a.attcollation
    LEFT JOIN stat s ON s.relid = CASE WHEN r.relkind = 'p' THEN z.biggest ELSE r.oid END AND s.attname = a.attname
    WHERE a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped), '[]'),
  'indexes', coalesce((SELECT json_agg(one) FROM idx WHERE idx.indrelid = r.oid), '[]')))
  FROM rel r LEFT JOIN size z ON z.oid = r.oid), '[]'),
'foreign_keys', coalesce((SELECT json_agg(json_build_object('table', k.conrelid::int8, 'referenced', k.confrelid::int8,
  'columns', (SELECT json_agg(a.attname ORDER BY u.n) FROM unnest(k.conkey) WITH ORDINALITY u(num, n)
    JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.num)))
  FROM pg_constraint k WHERE k.contype = 'f' AND k.conparentid = 0), '[]'),
'relations', coalesce((SELECT json_object_agg(nspname, names) FROM (SELECT n.nspname, json_agg(c.relname) AS names
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname !~ '^pg_' GROUP BY 1) x), '{}'),
'statistics', coalesce((SELECT json_object_agg(nspname, names) FROM (SELECT n.nspname, json_agg(e.stxname) AS names
  FROM pg_statistic_ext e JOIN pg_namespace n ON n.oid = e.stxnamespace GROUP BY 1) x), '{}'),
'extensions', coalesce((SELECT json_object_agg(e.extname, n.nspname) FROM pg_extension e
  JOIN pg_namespace n ON n.oid = e.extnamespace), '{}'),
'available', coalesce((SELECT json_agg(name) FROM pg_available_extensions
  WHERE name IN ('pg_trgm', 'btree_gist', 'btree_gin')), '[]'),
'may_extend', has_database_privilege(current_database(), 'CREATE'),
'volatile', coalesce((SELECT json_agg(DISTINCT proname) FROM pg_proc WHERE provolatile = 'v'), '[]'),
'window_days', (SELECT extract(epoch FROM now() - stats_reset) / 86400 FROM pg_stat_database
  WHERE datname = current_database()),
'standby', pg_is_in_recovery(), 'standbys', (SELECT count(*) FROM pg_stat_replication),
'costs', json_build_object('seq_page', current_setting('seq_page_cost')::float8,
  'random_page', current_setting('random_page_cost')::float8, 'cpu_tuple', current_setting('cpu_tuple_cost')::float8,
  'cpu_index_tuple', current_setting('cpu_index_tuple_cost')::float8,
  'cpu_operator', current_setting('cpu_operator_cost')::float8,
  'cache', (SELECT setting::float8 FROM pg_settings WHERE name = 'effective_cache_size'))
)::text AS json
"#;
