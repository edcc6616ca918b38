SELECT 'schema', quote_ident(ns.nspname), NULL::text, jsonb_build_object(
    'owner', pg_get_userbyid(ns.nspowner),
    'grants', (SELECT string_agg(format('%s to %s%s', privilege_type,
                CASE grantee WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(grantee) END,
                CASE WHEN is_grantable THEN ' with grant option' END), ', ' ORDER BY grantee, privilege_type, is_grantable)
        FROM aclexplode(coalesce(ns.nspacl, acldefault('n', ns.nspowner)))),
    'comment', (SELECT description FROM pg_description WHERE classoid = 'pg_namespace'::regclass AND objoid = ns.oid)
)
FROM ns WHERE ns.oid NOT IN (SELECT objid FROM member WHERE classid = 'pg_namespace'::regclass)

UNION ALL
SELECT 'extension', quote_ident(e.extname), NULL, jsonb_build_object(
    'version', e.extversion, 'schema', e.extnamespace::regnamespace::text)
FROM pg_extension e

UNION ALL
SELECT 'default privileges', format('of %s%s for %s', pg_get_userbyid(d.defaclrole),
        (SELECT ' in schema ' || quote_ident(nspname) FROM pg_namespace WHERE oid = d.defaclnamespace),
        CASE d.defaclobjtype WHEN 'r' THEN 'tables' WHEN 'S' THEN 'sequences' WHEN 'f' THEN 'functions' WHEN 'T' THEN 'types'
            WHEN 'n' THEN 'schemas' ELSE d.defaclobjtype::text END), NULL, jsonb_build_object(
    'grants', (SELECT string_agg(format('%s to %s%s', privilege_type,
                CASE grantee WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(grantee) END,
                CASE WHEN is_grantable THEN ' with grant option' END), ', ' ORDER BY grantee, privilege_type, is_grantable)
        FROM aclexplode(d.defaclacl)))
FROM pg_default_acl d

UNION ALL
SELECT 'publication', quote_ident(p.pubname), NULL, (to_jsonb(p) - 'oid' - 'pubname' - 'pubowner') || jsonb_build_object(
    'tables', (SELECT string_agg((to_jsonb(t) - 'pubname')::text, ', ' ORDER BY t.schemaname, t.tablename)
        FROM pg_publication_tables t WHERE t.pubname = p.pubname),
    'comment', (SELECT description FROM pg_description WHERE classoid = 'pg_publication'::regclass AND objoid = p.oid))
FROM pg_publication p

UNION ALL
SELECT 'subscription', quote_ident(s.subname), NULL, jsonb_build_object(
    'enabled', s.subenabled, 'publications', array_to_string(s.subpublications, ', '), 'slot', s.subslotname)
FROM pg_subscription s WHERE s.subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())

UNION ALL
SELECT 'event trigger', quote_ident(e.evtname), NULL, jsonb_build_object(
    'event', e.evtevent, 'function', e.evtfoid::regprocedure::text, 'enabled', nullif(e.evtenabled, 'O'),
    'tags', array_to_string(e.evttags, ', '),
    'comment', (SELECT description FROM pg_description WHERE classoid = 'pg_event_trigger'::regclass AND objoid = e.oid))
FROM pg_event_trigger e WHERE e.oid NOT IN (SELECT objid FROM member WHERE classid = 'pg_event_trigger'::regclass)

UNION ALL
SELECT 'collation', ns.prefix || quote_ident(c.collname), NULL,
    to_jsonb(c) - 'oid' - 'collname' - 'collnamespace' - 'collowner' - 'collversion'
FROM pg_collation c JOIN ns ON ns.oid = c.collnamespace
WHERE c.oid NOT IN (SELECT objid FROM member WHERE classid = 'pg_collation'::regclass)

UNION ALL
SELECT 'conversion', ns.prefix || quote_ident(c.conname), NULL, jsonb_build_object(
    'from', pg_encoding_to_char(c.conforencoding), 'to', pg_encoding_to_char(c.contoencoding),
    'function', c.conproc::regproc::text, 'default', CASE WHEN c.condefault THEN 'yes' END)
FROM pg_conversion c JOIN ns ON ns.oid = c.connamespace
WHERE c.oid NOT IN (SELECT objid FROM member WHERE classid = 'pg_conversion'::regclass)

UNION ALL
SELECT 'access method', quote_ident(a.amname), NULL, jsonb_build_object('handler', a.amhandler::text, 'type', a.amtype)
FROM pg_am a WHERE a.oid >= 16384 AND a.oid NOT IN (SELECT objid FROM member WHERE classid = 'pg_am'::regclass)

UNION ALL
SELECT 'transform', format('for %s language %s', format_type(t.trftype, NULL), l.lanname), NULL, jsonb_build_object(
    'from', nullif(t.trffromsql, 0)::regprocedure::text, 'to', nullif(t.trftosql, 0)::regprocedure::text)
FROM pg_transform t JOIN pg_language l ON l.oid = t.trflang
WHERE t.oid >= 16384 AND t.oid NOT IN (SELECT objid FROM member WHERE classid = 'pg_transform'::regclass)

UNION ALL
SELECT 'text search configuration', ns.prefix || quote_ident(c.cfgname), NULL, jsonb_build_object(
    'parser', (SELECT prsname FROM pg_ts_parser WHERE oid = c.cfgparser),
    'mapping', (SELECT string_agg(format('%s: %s', maptokentype, mapdict::regdictionary), ', ' ORDER BY maptokentype, mapseqno)
        FROM pg_ts_config_map WHERE mapcfg = c.oid),
    'comment', (SELECT description FROM pg_description WHERE classoid = 'pg_ts_config'::regclass AND objoid = c.oid))
FROM pg_ts_config c JOIN ns ON ns.oid = c.cfgnamespace
WHERE c.oid NOT IN (SELECT objid FROM member WHERE classid = 'pg_ts_config'::regclass)

UNION ALL
SELECT 'text search dictionary', ns.prefix || quote_ident(d.dictname), NULL, jsonb_build_object(
    'template', (SELECT tmplname FROM pg_ts_template WHERE oid = d.dicttemplate), 'options', d.dictinitoption)
FROM pg_ts_dict d JOIN ns ON ns.oid = d.dictnamespace
WHERE d.oid NOT IN (SELECT objid FROM member WHERE classid = 'pg_ts_dict'::regclass)

UNION ALL
SELECT 'foreign data wrapper', quote_ident(f.fdwname), NULL, jsonb_build_object(
    'handler', nullif(f.fdwhandler, 0)::regproc::text, 'validator', nullif(f.fdwvalidator, 0)::regproc::text,
    'options', array_to_string(f.fdwoptions, ', '), 'grants', f.fdwacl::text)
FROM pg_foreign_data_wrapper f
WHERE f.oid NOT IN (SELECT objid FROM member WHERE classid = 'pg_foreign_data_wrapper'::regclass)

UNION ALL
SELECT 'foreign server', quote_ident(s.srvname), NULL, jsonb_build_object(
    'wrapper', (SELECT fdwname FROM pg_foreign_data_wrapper WHERE oid = s.srvfdw), 'type', s.srvtype, 'version', s.srvversion,
    'options', array_to_string(s.srvoptions, ', '), 'grants', s.srvacl::text)
FROM pg_foreign_server s
WHERE s.oid NOT IN (SELECT objid FROM member WHERE classid = 'pg_foreign_server'::regclass)

UNION ALL
-- The options hold passwords: only whether they differ is of interest.
SELECT 'user mapping', format('of %s on %I', usename, srvname), NULL, jsonb_build_object('options hash', md5(umoptions::text))
FROM pg_user_mappings

UNION ALL
SELECT 'language', quote_ident(l.lanname), NULL, jsonb_build_object('trusted', l.lanpltrusted, 'grants', l.lanacl::text)
FROM pg_language l
WHERE l.oid >= 16384 AND l.oid NOT IN (SELECT objid FROM member WHERE classid = 'pg_language'::regclass)

UNION ALL
SELECT 'database settings', coalesce('for ' || nullif(pg_get_userbyid(s.setrole), 'unknown (OID=0)'), 'for everyone'), NULL,
    jsonb_build_object('settings', (SELECT string_agg(one, ', ' ORDER BY one) FROM unnest(s.setconfig) one))
FROM pg_db_role_setting s WHERE s.setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())

UNION ALL
SELECT 'security label', format('%s for %s', pg_describe_object(l.classoid, l.objoid, l.objsubid), l.provider), NULL,
    jsonb_build_object('label', l.label)
FROM pg_seclabel l

UNION ALL
-- Comments on what has no row above.
SELECT 'comment', pg_describe_object(extra.classoid, extra.objoid, extra.objsubid), NULL,
    jsonb_build_object('comment', extra.description)
FROM extra
WHERE extra.classoid NOT IN ('pg_class'::regclass, 'pg_constraint'::regclass, 'pg_trigger'::regclass, 'pg_policy'::regclass,
        'pg_rewrite'::regclass, 'pg_statistic_ext'::regclass, 'pg_type'::regclass, 'pg_proc'::regclass, 'pg_namespace'::regclass,
        'pg_cast'::regclass, 'pg_operator'::regclass, 'pg_publication'::regclass, 'pg_event_trigger'::regclass,
        'pg_ts_config'::regclass, 'pg_extension'::regclass)
    AND (extra.classoid, extra.objoid) NOT IN (SELECT classid, objid FROM member)
