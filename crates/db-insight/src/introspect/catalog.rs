//! The one statement that reads everything, on every version.

/// Sizes are NULL for a table that somebody drops meanwhile, and count as nothing.
pub(super) const EVERYTHING: &str = r#"
WITH rel AS (
  SELECT c.*, n.nspname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND c.relpersistence <> 't'
    AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
      AND d.deptype = 'e')),
idx AS (
  SELECT i.indrelid, c.relname, json_build_object('name', c.relname,
    'definition', pg_catalog.pg_get_indexdef(c.oid), 'method', am.amname,
    'keys', (SELECT json_agg(pg_catalog.pg_get_indexdef(c.oid, k, false) ORDER BY k)
      FROM generate_series(1, i.indnkeyatts) k),
    'include', coalesce((SELECT json_agg(a.attname ORDER BY k)
      FROM generate_series(i.indnkeyatts + 1, i.indnatts) k
      JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[k - 1]), '[]'),
    'predicate', pg_catalog.pg_get_expr(i.indpred, i.indrelid), 'unique', i.indisunique,
    'primary', i.indisprimary, 'valid', i.indisvalid AND i.indisready AND i.indislive,
    'bytes', coalesce(pg_catalog.pg_relation_size(c.oid), 0)) AS one
  FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
  JOIN pg_catalog.pg_am am ON am.oid = c.relam),
con AS (
  SELECT k.*, coalesce((SELECT json_agg(a.attname ORDER BY u.place)
      FROM unnest(k.conkey) WITH ORDINALITY u (number, place)
      JOIN pg_catalog.pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.number), '[]') AS columns
  FROM pg_catalog.pg_constraint k WHERE k.contype IN ('c', 'f', 'p', 'u', 'x') AND k.conrelid <> 0)
SELECT json_build_object(
'database', current_database(), 'server_version', current_setting('server_version_num')::int,
'tables', coalesce((SELECT json_agg(json_build_object(
  'schema', r.nspname, 'name', r.relname,
  'kind', CASE r.relkind WHEN 'r' THEN 'table' WHEN 'p' THEN 'partitioned' WHEN 'v' THEN 'view'
    WHEN 'm' THEN 'materialized_view' ELSE 'foreign' END,
  'partition_of', CASE WHEN r.relispartition THEN (SELECT format('%I.%I', n.nspname, c.relname)
    FROM pg_catalog.pg_inherits h JOIN pg_catalog.pg_class c ON c.oid = h.inhparent
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE h.inhrelid = r.oid) END,
  'partition_bound', pg_catalog.pg_get_expr(r.relpartbound, r.oid),
  'partition_key', CASE WHEN r.relkind = 'p' THEN pg_catalog.pg_get_partkeydef(r.oid) END,
  'estimated_rows', CASE WHEN r.reltuples >= 0 AND r.relkind <> 'v' THEN r.reltuples::float8 END,
  'sizes', (SELECT json_build_object('rows', whole - toast, 'toast', toast, 'indexes', indexes,
      'total', whole + indexes)
    FROM (SELECT coalesce(pg_catalog.pg_table_size(r.oid), 0) AS whole,
      coalesce(pg_catalog.pg_indexes_size(r.oid), 0) AS indexes,
      coalesce(pg_catalog.pg_total_relation_size(nullif(r.reltoastrelid, 0)), 0) AS toast) sizes),
  'comment', pg_catalog.obj_description(r.oid, 'pg_class'),
  'columns', coalesce((SELECT json_agg(json_build_object('name', a.attname,
      'sql_type', pg_catalog.format_type(a.atttypid, a.atttypmod), 'nullable', NOT a.attnotnull,
      'default', CASE WHEN a.attgenerated = '' THEN pg_catalog.pg_get_expr(d.adbin, d.adrelid) END,
      'generated', CASE WHEN a.attgenerated <> '' THEN pg_catalog.pg_get_expr(d.adbin, d.adrelid) END,
      'identity', CASE a.attidentity WHEN 'a' THEN 'always' WHEN 'd' THEN 'by default' END,
      'collation', CASE WHEN a.attcollation <> t.typcollation THEN (SELECT format('%I', l.collname)
        FROM pg_catalog.pg_collation l WHERE l.oid = a.attcollation) END,
      'comment', pg_catalog.col_description(r.oid, a.attnum)) ORDER BY a.attnum)
    FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
    LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped), '[]'),
  'indexes', coalesce((SELECT json_agg(one ORDER BY relname) FROM idx WHERE idx.indrelid = r.oid), '[]'),
  'constraints', coalesce((SELECT json_agg(json_build_object('name', k.conname,
      'kind', CASE k.contype WHEN 'c' THEN 'check' WHEN 'f' THEN 'foreign_key' WHEN 'p' THEN 'primary_key'
        WHEN 'u' THEN 'unique' ELSE 'exclusion' END,
      'columns', k.columns, 'definition', pg_catalog.pg_get_constraintdef(k.oid),
      'validated', k.convalidated, 'deferrable', k.condeferrable) ORDER BY k.conname)
    FROM con k WHERE k.conrelid = r.oid), '[]')) ORDER BY r.nspname, r.relname)
  FROM rel r), '[]'),
'relations', coalesce((SELECT json_agg(json_build_object('name', k.conname,
    'table', format('%I.%I', r.nspname, r.relname), 'columns', k.columns,
    'referenced_table', format('%I.%I', fn.nspname, f.relname),
    'referenced_columns', (SELECT json_agg(a.attname ORDER BY u.place)
      FROM unnest(k.confkey) WITH ORDINALITY u (number, place)
      JOIN pg_catalog.pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = u.number),
    'on_delete', CASE k.confdeltype WHEN 'a' THEN 'no action' WHEN 'r' THEN 'restrict' WHEN 'c' THEN 'cascade'
      WHEN 'n' THEN 'set null' ELSE 'set default' END,
    'on_update', CASE k.confupdtype WHEN 'a' THEN 'no action' WHEN 'r' THEN 'restrict' WHEN 'c' THEN 'cascade'
      WHEN 'n' THEN 'set null' ELSE 'set default' END,
    'one_to_one', EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indrelid = r.oid AND i.indisunique
      AND i.indisvalid AND i.indpred IS NULL AND (i.indkey::int2[])[0:i.indnkeyatts - 1] <@ k.conkey))
    ORDER BY r.nspname, r.relname, k.conname)
  FROM con k JOIN rel r ON r.oid = k.conrelid
  -- Partitions have a key for each of their parent's, and one for each part that is referred to.
  JOIN pg_catalog.pg_class f ON f.oid = k.confrelid JOIN pg_catalog.pg_namespace fn ON fn.oid = f.relnamespace
  WHERE k.contype = 'f' AND k.conparentid = 0), '[]'))::text AS json
"#;
