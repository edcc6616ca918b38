-- Where the rows of the catalogs stand, as one number for each relation: a row that is written anew stands elsewhere, one that is
-- gone stands nowhere. Row 0 says how often each catalog was written, and only the catalogs are read of which that is not as it
-- was known; below 0 is what is of no relation: all of it, and without what this transaction wrote.
WITH asked AS MATERIALIZED (SELECT $list::int8[] AS known), n AS MATERIALIZED (/* counts */), own (place, rel, row, written) AS (
    SELECT 1, c.oid, c.ctid, c.xmin FROM pg_class c
        WHERE (SELECT changed[1] FROM n) AND c.oid >= 16384 AND c.relkind <> 't'
    UNION ALL SELECT 2, a.attrelid, a.ctid, a.xmin FROM pg_attribute a
        WHERE (SELECT changed[2] FROM n) AND a.attrelid >= 16384 AND a.attnum > 0
    UNION ALL SELECT 3, d.adrelid, d.ctid, d.xmin FROM pg_attrdef d WHERE (SELECT changed[3] FROM n)
    UNION ALL SELECT 4, i.indrelid, i.ctid, i.xmin FROM pg_index i WHERE (SELECT changed[4] FROM n) AND i.indrelid >= 16384
    UNION ALL SELECT 5, c.conrelid, c.ctid, c.xmin FROM pg_constraint c WHERE (SELECT changed[5] FROM n) AND c.conrelid >= 16384
    UNION ALL SELECT 6, t.tgrelid, t.ctid, t.xmin FROM pg_trigger t WHERE (SELECT changed[6] FROM n)
    UNION ALL SELECT 7, p.polrelid, p.ctid, p.xmin FROM pg_policy p WHERE (SELECT changed[7] FROM n)
    UNION ALL SELECT 8, r.ev_class, r.ctid, r.xmin FROM pg_rewrite r WHERE (SELECT changed[8] FROM n) AND r.ev_class >= 16384
    UNION ALL SELECT 9, s.stxrelid, s.ctid, s.xmin FROM pg_statistic_ext s WHERE (SELECT changed[9] FROM n)
    UNION ALL SELECT 10, s.seqrelid, s.ctid, s.xmin FROM pg_sequence s WHERE (SELECT changed[10] FROM n)
    UNION ALL SELECT 11, h.inhrelid, h.ctid, h.xmin FROM pg_inherits h WHERE (SELECT changed[11] FROM n)
    UNION ALL SELECT 12, f.ftrelid, f.ctid, f.xmin FROM pg_foreign_table f WHERE (SELECT changed[12] FROM n)
    UNION ALL SELECT 13, p.partrelid, p.ctid, p.xmin FROM pg_partitioned_table p WHERE (SELECT changed[13] FROM n)
    UNION ALL SELECT 14, s.seqrelid, d.ctid, d.xmin FROM pg_sequence s JOIN pg_depend d ON d.classid = 1259 AND d.objid = s.seqrelid
        WHERE (SELECT changed[14] FROM n)
    UNION ALL SELECT 15, CASE d.classoid WHEN 1259 THEN d.objoid
            WHEN 'pg_constraint'::regclass THEN (SELECT nullif(conrelid, 0) FROM pg_constraint WHERE oid = d.objoid)
            WHEN 'pg_trigger'::regclass THEN (SELECT tgrelid FROM pg_trigger WHERE oid = d.objoid)
            WHEN 'pg_policy'::regclass THEN (SELECT polrelid FROM pg_policy WHERE oid = d.objoid)
            WHEN 'pg_rewrite'::regclass THEN (SELECT ev_class FROM pg_rewrite WHERE oid = d.objoid)
            WHEN 'pg_statistic_ext'::regclass THEN (SELECT stxrelid FROM pg_statistic_ext WHERE oid = d.objoid) END, d.ctid, d.xmin
        FROM pg_description d WHERE (SELECT changed[15] FROM n) AND d.objoid >= 16384
), others (place, row, written) AS (
    SELECT -5, c.ctid, c.xmin FROM pg_constraint c WHERE (SELECT changed[5] FROM n) AND c.conrelid = 0 AND c.oid >= 16384
    -- What belongs to extensions.
    UNION ALL SELECT -14, d.ctid, d.xmin FROM pg_depend d
        WHERE (SELECT changed[14] FROM n) AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
    UNION ALL SELECT -15, d.ctid, d.xmin FROM pg_description d
        WHERE (SELECT changed[15] FROM n) AND (d.objoid >= 16384 OR d.objoid = 2200) AND d.classoid <> 1259
    UNION ALL SELECT -16, t.ctid, t.xmin FROM pg_type t
        WHERE (SELECT changed[16] FROM n) AND t.oid >= 16384 AND t.typrelid = 0
            AND coalesce((SELECT e.typrelid FROM pg_type e WHERE e.oid = t.typelem), 0) = 0
)
SELECT 0::int8 AS place, counts AS relations, '{}'::int8[] AS marks FROM n
UNION ALL
/* relations */
UNION ALL
SELECT place, '{}', ARRAY[bit_xor(hashtidextended(row, place)),
    coalesce(bit_xor(hashtidextended(row, place)) FILTER (WHERE age(written) > 0), 0)]
FROM others GROUP BY place
