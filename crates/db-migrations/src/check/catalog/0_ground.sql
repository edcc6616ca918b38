-- What every part below builds on: the schemas of this database, what belongs to an extension, and the relations.
WITH ns AS (
    SELECT oid, nspname, nspowner, nspacl, format('%I.', nspname) AS prefix
    FROM pg_namespace
    WHERE nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast') AND nspname !~ '^pg_(toast_)?temp_'
), member AS MATERIALIZED (
    SELECT classid, objid FROM pg_depend WHERE deptype = 'e' AND refclassid = 'pg_extension'::regclass
), /* and these */ rel AS MATERIALIZED (
    SELECT c.*, ns.nspname, ns.prefix || quote_ident(c.relname) AS name,
        CASE c.relkind WHEN 'r' THEN 'table' WHEN 'p' THEN 'partitioned table' WHEN 'v' THEN 'view'
            WHEN 'm' THEN 'materialized view' WHEN 'f' THEN 'foreign table' WHEN 'S' THEN 'sequence'
            WHEN 'c' THEN 'composite type' WHEN 'i' THEN 'index' ELSE 'partitioned index' END AS kind
    FROM pg_class c JOIN ns ON ns.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S', 'c', 'i', 'I')
        AND c.oid NOT IN (SELECT objid FROM member WHERE classid = 'pg_class'::regclass)
        AND NOT (c.relkind IN ('r', 'i') AND c.relname ~ '^__(diesel_schema|db)_migrations') /* only these */
), typ AS MATERIALIZED (
    SELECT t.*, ns.prefix || quote_ident(t.typname) AS name
    FROM pg_type t JOIN ns ON ns.oid = t.typnamespace
    WHERE t.oid NOT IN (SELECT objid FROM member WHERE classid = 'pg_type'::regclass)
), extra AS MATERIALIZED (
    SELECT objoid, classoid, objsubid, description FROM pg_description WHERE objoid >= 16384 OR objoid = 'public'::regnamespace
)
