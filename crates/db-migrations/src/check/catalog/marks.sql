-- Where the rows of the catalogs stand, as one number for each table, view and sequence with all that belongs to it: a row that
-- is written anew stands elsewhere, one that is gone stands nowhere. What is not a relation's is relation 0, and -1 where only views
-- tell; what belongs to extensions is relation -2. `old` leaves out what this transaction wrote.
WITH m AS MATERIALIZED (
    SELECT c.oid, coalesce(i.indrelid, c.oid) AS rel, c.relkind, c.ctid AS place
    FROM pg_catalog.pg_class c LEFT JOIN pg_catalog.pg_index i ON i.indexrelid = c.oid
    WHERE c.oid >= 16384 AND c.relkind <> 't'
), own (rel, place, seed) AS (
    SELECT rel, place, 1 FROM m
    UNION ALL SELECT m.rel, a.ctid, 2 FROM pg_catalog.pg_attribute a JOIN m ON m.oid = a.attrelid
        WHERE a.attnum > 0
    UNION ALL SELECT d.adrelid, d.ctid, 3 FROM pg_catalog.pg_attrdef d
    UNION ALL SELECT i.indrelid, i.ctid, 4 FROM pg_catalog.pg_index i WHERE i.indrelid >= 16384
    UNION ALL SELECT c.conrelid, c.ctid, 5 FROM pg_catalog.pg_constraint c WHERE c.conrelid <> 0
    UNION ALL SELECT t.tgrelid, t.ctid, 6 FROM pg_catalog.pg_trigger t
    UNION ALL SELECT p.polrelid, p.ctid, 7 FROM pg_catalog.pg_policy p
    UNION ALL SELECT r.ev_class, r.ctid, 8 FROM pg_catalog.pg_rewrite r WHERE r.ev_class >= 16384
    UNION ALL SELECT s.stxrelid, s.ctid, 9 FROM pg_catalog.pg_statistic_ext s
    UNION ALL SELECT s.seqrelid, s.ctid, 10 FROM pg_catalog.pg_sequence s
    UNION ALL SELECT m.rel, h.ctid, 11 FROM pg_catalog.pg_inherits h JOIN m ON m.oid = h.inhrelid
    UNION ALL SELECT f.ftrelid, f.ctid, 12 FROM pg_catalog.pg_foreign_table f
    UNION ALL SELECT p.partrelid, p.ctid, 13 FROM pg_catalog.pg_partitioned_table p
    UNION ALL SELECT m.rel, d.ctid, 14 FROM m JOIN pg_catalog.pg_depend d ON d.classid = 1259
        AND d.objid = m.oid WHERE m.relkind = 'S'
    UNION ALL SELECT coalesce(m.rel, con.conrelid, tg.tgrelid, pol.polrelid, ru.ev_class, st.stxrelid), d.ctid, 15
        FROM pg_catalog.pg_description d
        LEFT JOIN m ON d.classoid = 1259 AND m.oid = d.objoid
        LEFT JOIN pg_catalog.pg_constraint con ON d.classoid = 'pg_catalog.pg_constraint'::regclass
            AND con.oid = d.objoid AND con.conrelid <> 0
        LEFT JOIN pg_catalog.pg_trigger tg ON d.classoid = 'pg_catalog.pg_trigger'::regclass
            AND tg.oid = d.objoid
        LEFT JOIN pg_catalog.pg_policy pol ON d.classoid = 'pg_catalog.pg_policy'::regclass
            AND pol.oid = d.objoid
        LEFT JOIN pg_catalog.pg_rewrite ru ON d.classoid = 'pg_catalog.pg_rewrite'::regclass
            AND ru.oid = d.objoid
        LEFT JOIN pg_catalog.pg_statistic_ext st ON d.classoid = 'pg_catalog.pg_statistic_ext'::regclass
            AND st.oid = d.objoid
        WHERE d.objoid >= 16384
), others (place, seed, written) AS (
    SELECT ctid, 21, xmin FROM pg_catalog.pg_namespace
    UNION ALL SELECT ctid, 22, xmin FROM pg_catalog.pg_type t WHERE t.oid >= 16384
        AND t.typrelid = 0 AND NOT EXISTS (SELECT FROM pg_catalog.pg_type e
            WHERE e.oid = t.typelem AND e.typrelid <> 0)
    UNION ALL SELECT ctid, 23, xmin FROM pg_catalog.pg_proc WHERE oid >= 16384
    UNION ALL SELECT ctid, 24, xmin FROM pg_catalog.pg_enum
    UNION ALL SELECT ctid, 25, xmin FROM pg_catalog.pg_range WHERE rngtypid >= 16384
    UNION ALL SELECT ctid, 26, xmin FROM pg_catalog.pg_constraint WHERE conrelid = 0
        AND oid >= 16384
    UNION ALL SELECT ctid, 27, xmin FROM pg_catalog.pg_aggregate WHERE aggfnoid::oid >= 16384
    UNION ALL SELECT ctid, 28, xmin FROM pg_catalog.pg_cast WHERE oid >= 16384
    UNION ALL SELECT ctid, 29, xmin FROM pg_catalog.pg_operator WHERE oid >= 16384
    UNION ALL SELECT ctid, 30, xmin FROM pg_catalog.pg_opclass WHERE oid >= 16384
    UNION ALL SELECT ctid, 31, xmin FROM pg_catalog.pg_opfamily WHERE oid >= 16384
    UNION ALL SELECT ctid, 32, xmin FROM pg_catalog.pg_amop WHERE oid >= 16384
    UNION ALL SELECT ctid, 33, xmin FROM pg_catalog.pg_amproc WHERE oid >= 16384
    UNION ALL SELECT ctid, 34, xmin FROM pg_catalog.pg_default_acl
    UNION ALL SELECT ctid, 35, xmin FROM pg_catalog.pg_publication
    UNION ALL SELECT ctid, 36, xmin FROM pg_catalog.pg_publication_rel
    UNION ALL SELECT ctid, 37, xmin FROM pg_catalog.pg_event_trigger
    UNION ALL SELECT ctid, 38, xmin FROM pg_catalog.pg_collation WHERE oid >= 16384
    UNION ALL SELECT ctid, 39, xmin FROM pg_catalog.pg_conversion WHERE oid >= 16384
    UNION ALL SELECT ctid, 40, xmin FROM pg_catalog.pg_am
    UNION ALL SELECT ctid, 41, xmin FROM pg_catalog.pg_transform
    UNION ALL SELECT ctid, 42, xmin FROM pg_catalog.pg_ts_config WHERE oid >= 16384
    UNION ALL SELECT ctid, 43, xmin FROM pg_catalog.pg_ts_config_map WHERE mapcfg >= 16384
    UNION ALL SELECT ctid, 44, xmin FROM pg_catalog.pg_ts_dict WHERE oid >= 16384
    UNION ALL SELECT ctid, 45, xmin FROM pg_catalog.pg_ts_parser WHERE oid >= 16384
    UNION ALL SELECT ctid, 46, xmin FROM pg_catalog.pg_ts_template WHERE oid >= 16384
    UNION ALL SELECT ctid, 47, xmin FROM pg_catalog.pg_foreign_data_wrapper
    UNION ALL SELECT ctid, 48, xmin FROM pg_catalog.pg_foreign_server
        UNION ALL SELECT ctid, 50, xmin FROM pg_catalog.pg_language
    UNION ALL SELECT ctid, 51, xmin FROM pg_catalog.pg_db_role_setting
    UNION ALL SELECT ctid, 52, xmin FROM pg_catalog.pg_seclabel
    UNION ALL SELECT ctid, 54, xmin FROM pg_catalog.pg_tablespace
    UNION ALL SELECT d.ctid, 56, d.xmin FROM pg_catalog.pg_description d
        WHERE (d.objoid >= 16384 OR d.objoid = 2200)
            AND d.classoid <> 1259
)
SELECT rel::int8 AS rel, pg_catalog.bit_xor(pg_catalog.hashtidextended(place, seed)) AS mark, 0::int8 AS old
FROM own WHERE rel IS NOT NULL GROUP BY rel
UNION ALL
SELECT 0, coalesce(pg_catalog.bit_xor(pg_catalog.hashtidextended(place, seed)), 0),
    coalesce(pg_catalog.bit_xor(pg_catalog.hashtidextended(place, seed)) FILTER (WHERE pg_catalog.age(written) > 0), 0)
FROM others
UNION ALL
-- Not everybody may read these catalogs: what the views show is compared.
SELECT -1, coalesce(pg_catalog.bit_xor(pg_catalog.hashtextextended(told, 0)), 0), 0 FROM (
    SELECT pg_catalog.concat_ws(' ', 'role', oid, rolname) FROM pg_catalog.pg_roles
    UNION ALL SELECT pg_catalog.concat_ws(' ', 'mapping', umid, srvname, usename, umoptions) FROM pg_catalog.pg_user_mappings
    UNION ALL SELECT pg_catalog.concat_ws(' ', 'subscription', oid, subname, subenabled, subpublications, subslotname)
        FROM pg_catalog.pg_subscription
) views (told)
UNION ALL
SELECT -2, coalesce(pg_catalog.bit_xor(pg_catalog.hashtidextended(ctid, 60)), 0), 0 FROM pg_catalog.pg_depend
WHERE refclassid = 3079 AND deptype = 'e'
