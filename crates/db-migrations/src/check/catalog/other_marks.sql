-- The same of the catalogs that are rarely written, those of them that are asked for.
WITH asked AS MATERIALIZED (SELECT $list::int8[] AS places), others (place, row, written) AS (
    SELECT -17, ctid, xmin FROM pg_namespace WHERE 17 = ANY ((SELECT places FROM asked)::int8[])
    UNION ALL SELECT -18, ctid, xmin FROM pg_proc WHERE 18 = ANY ((SELECT places FROM asked)::int8[]) AND oid >= 16384
    UNION ALL SELECT -19, ctid, xmin FROM pg_enum WHERE 19 = ANY ((SELECT places FROM asked)::int8[])
    UNION ALL SELECT -20, ctid, xmin FROM pg_range WHERE 20 = ANY ((SELECT places FROM asked)::int8[]) AND rngtypid >= 16384
    UNION ALL SELECT -21, ctid, xmin FROM pg_aggregate WHERE 21 = ANY ((SELECT places FROM asked)::int8[]) AND aggfnoid::oid >= 16384
    UNION ALL SELECT -22, ctid, xmin FROM pg_cast WHERE 22 = ANY ((SELECT places FROM asked)::int8[]) AND oid >= 16384
    UNION ALL SELECT -23, ctid, xmin FROM pg_operator WHERE 23 = ANY ((SELECT places FROM asked)::int8[]) AND oid >= 16384
    UNION ALL SELECT -24, ctid, xmin FROM pg_opclass WHERE 24 = ANY ((SELECT places FROM asked)::int8[]) AND oid >= 16384
    UNION ALL SELECT -25, ctid, xmin FROM pg_opfamily WHERE 25 = ANY ((SELECT places FROM asked)::int8[]) AND oid >= 16384
    UNION ALL SELECT -26, ctid, xmin FROM pg_amop WHERE 26 = ANY ((SELECT places FROM asked)::int8[]) AND oid >= 16384
    UNION ALL SELECT -27, ctid, xmin FROM pg_amproc WHERE 27 = ANY ((SELECT places FROM asked)::int8[]) AND oid >= 16384
    UNION ALL SELECT -28, ctid, xmin FROM pg_default_acl WHERE 28 = ANY ((SELECT places FROM asked)::int8[])
    UNION ALL SELECT -29, ctid, xmin FROM pg_publication WHERE 29 = ANY ((SELECT places FROM asked)::int8[])
    UNION ALL SELECT -30, ctid, xmin FROM pg_publication_rel WHERE 30 = ANY ((SELECT places FROM asked)::int8[])
    UNION ALL SELECT -31, ctid, xmin FROM pg_event_trigger WHERE 31 = ANY ((SELECT places FROM asked)::int8[])
    UNION ALL SELECT -32, ctid, xmin FROM pg_collation WHERE 32 = ANY ((SELECT places FROM asked)::int8[]) AND oid >= 16384
    UNION ALL SELECT -33, ctid, xmin FROM pg_conversion WHERE 33 = ANY ((SELECT places FROM asked)::int8[]) AND oid >= 16384
    UNION ALL SELECT -34, ctid, xmin FROM pg_am WHERE 34 = ANY ((SELECT places FROM asked)::int8[])
    UNION ALL SELECT -35, ctid, xmin FROM pg_transform WHERE 35 = ANY ((SELECT places FROM asked)::int8[])
    UNION ALL SELECT -36, ctid, xmin FROM pg_ts_config WHERE 36 = ANY ((SELECT places FROM asked)::int8[]) AND oid >= 16384
    UNION ALL SELECT -37, ctid, xmin FROM pg_ts_config_map WHERE 37 = ANY ((SELECT places FROM asked)::int8[]) AND mapcfg >= 16384
    UNION ALL SELECT -38, ctid, xmin FROM pg_ts_dict WHERE 38 = ANY ((SELECT places FROM asked)::int8[]) AND oid >= 16384
    UNION ALL SELECT -39, ctid, xmin FROM pg_ts_parser WHERE 39 = ANY ((SELECT places FROM asked)::int8[]) AND oid >= 16384
    UNION ALL SELECT -40, ctid, xmin FROM pg_ts_template WHERE 40 = ANY ((SELECT places FROM asked)::int8[]) AND oid >= 16384
    UNION ALL SELECT -41, ctid, xmin FROM pg_foreign_data_wrapper WHERE 41 = ANY ((SELECT places FROM asked)::int8[])
    UNION ALL SELECT -42, ctid, xmin FROM pg_foreign_server WHERE 42 = ANY ((SELECT places FROM asked)::int8[])
    UNION ALL SELECT -43, ctid, xmin FROM pg_language WHERE 43 = ANY ((SELECT places FROM asked)::int8[])
    UNION ALL SELECT -44, ctid, xmin FROM pg_db_role_setting WHERE 44 = ANY ((SELECT places FROM asked)::int8[])
    UNION ALL SELECT -45, ctid, xmin FROM pg_seclabel WHERE 45 = ANY ((SELECT places FROM asked)::int8[])
    UNION ALL SELECT -46, ctid, xmin FROM pg_tablespace WHERE 46 = ANY ((SELECT places FROM asked)::int8[])
), views (place, told) AS (
    -- Not everybody may read these catalogs: what the views show is compared.
    SELECT -47, concat_ws(' ', 'role', oid, rolname) FROM pg_roles WHERE 47 = ANY ((SELECT places FROM asked)::int8[])
    UNION ALL SELECT -48, concat_ws(' ', 'mapping', umid, srvname, usename, umoptions) FROM pg_user_mappings
        WHERE 48 = ANY ((SELECT places FROM asked)::int8[])
    UNION ALL SELECT -49, concat_ws(' ', 'subscription', oid, subname, subenabled, subpublications, subslotname)
        FROM pg_subscription WHERE 49 = ANY ((SELECT places FROM asked)::int8[])
)
SELECT place::int8 AS place, '{}'::int8[] AS relations, ARRAY[bit_xor(hashtidextended(row, place)),
    coalesce(bit_xor(hashtidextended(row, place)) FILTER (WHERE age(written) > 0), 0)] AS marks
FROM others GROUP BY place
UNION ALL
SELECT place, '{}', ARRAY[bit_xor(hashtextextended(told, 0)), 0] FROM views GROUP BY place
