SELECT rel.kind, rel.name, NULL::text AS parent, jsonb_build_object(
    'owner', pg_get_userbyid(rel.relowner),
    'persistence', nullif(rel.relpersistence, 'p'),
    'access method', (SELECT amname FROM pg_am WHERE oid = rel.relam),
    'tablespace', (SELECT spcname FROM pg_tablespace WHERE oid = rel.reltablespace),
    'options', (SELECT array_to_string(array_agg(o ORDER BY o), ', ') FROM unnest(rel.reloptions) o),
    'toast options', (SELECT array_to_string(toast.reloptions, ', ') FROM pg_class toast WHERE toast.oid = rel.reltoastrelid),
    'row security', CASE WHEN rel.relrowsecurity THEN 'on' END,
    'forced row security', CASE WHEN rel.relforcerowsecurity THEN 'on' END,
    'replica identity', CASE WHEN rel.relkind IN ('r', 'p', 'm') THEN nullif(rel.relreplident, 'd') END,
    'of type', CASE WHEN rel.reloftype <> 0 THEN rel.reloftype::regtype::text END,
    'partitioned by', CASE WHEN rel.relkind = 'p' THEN pg_get_partkeydef(rel.oid) END,
    'partition', CASE WHEN rel.relispartition THEN pg_get_expr(rel.relpartbound, rel.oid) END,
    'inherits', (SELECT string_agg(inhparent::regclass::text, ', ' ORDER BY inhseqno) FROM pg_inherits WHERE inhrelid = rel.oid),
    'definition', CASE WHEN rel.relkind IN ('v', 'm') THEN pg_get_viewdef(rel.oid) END,
    'populated', CASE WHEN rel.relkind = 'm' AND NOT rel.relispopulated THEN 'no' END,
    'column order', CASE WHEN rel.relkind IN ('r', 'p', 'v', 'm', 'f', 'c') THEN (
        SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute
        WHERE attrelid = rel.oid AND attnum > 0 AND NOT attisdropped) END,
    'sequence', (SELECT format('%s start %s increment %s min %s max %s cache %s%s', format_type(seqtypid, NULL), seqstart,
            seqincrement, seqmin, seqmax, seqcache, CASE WHEN seqcycle THEN ' cycle' END)
        FROM pg_sequence WHERE seqrelid = rel.oid),
    'owned by', CASE WHEN rel.relkind = 'S' THEN (
        SELECT format('%s.%s', d.refobjid::regclass, quote_ident(a.attname))
        FROM pg_depend d JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
        WHERE d.classid = 'pg_class'::regclass AND d.objid = rel.oid AND d.refclassid = 'pg_class'::regclass
            AND d.deptype IN ('a', 'i')) END,
    'foreign table', (SELECT format('server %I options %s', s.srvname, f.ftoptions)
        FROM pg_foreign_table f JOIN pg_foreign_server s ON s.oid = f.ftserver WHERE f.ftrelid = rel.oid),
    'grants', (SELECT string_agg(format('%s to %s%s', privilege_type,
                CASE grantee WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(grantee) END,
                CASE WHEN is_grantable THEN ' with grant option' END), ', ' ORDER BY grantee, privilege_type, is_grantable)
        FROM aclexplode(coalesce(rel.relacl, acldefault(CASE rel.relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", rel.relowner)))
        WHERE rel.relkind <> 'c'),
    'comment', (SELECT description FROM pg_description
        WHERE classoid = 'pg_class'::regclass AND objoid = rel.oid AND objsubid = 0)
) AS definition, rel.oid
FROM rel WHERE rel.relkind NOT IN ('i', 'I')

UNION ALL
SELECT 'column', rel.name || '.' || quote_ident(a.attname), rel.kind || ' ' || rel.name, jsonb_build_object(
    'type', format_type(a.atttypid, a.atttypmod),
    'not null', CASE WHEN a.attnotnull THEN 'yes' END,
    'default', CASE WHEN a.attgenerated = '' THEN pg_get_expr(d.adbin, d.adrelid) END,
    'generated', CASE WHEN a.attgenerated <> '' THEN a.attgenerated::text || ' ' || pg_get_expr(d.adbin, d.adrelid) END,
    'identity', CASE a.attidentity WHEN 'a' THEN 'always' WHEN 'd' THEN 'by default' END,
    'collation', CASE WHEN a.attcollation <> t.typcollation THEN a.attcollation::regcollation::text END,
    'storage', CASE WHEN a.attstorage <> t.typstorage THEN a.attstorage END,
    'compression', nullif(a.attcompression, ''),
    'statistics target', nullif(a.attstattarget, -1),
    'options', array_to_string(a.attoptions, ', '),
    'foreign options', array_to_string(a.attfdwoptions, ', '),
    'inherited', CASE WHEN a.attinhcount > 0 THEN format('%s time(s)%s', a.attinhcount, CASE WHEN a.attislocal THEN ', also local' END) END,
    'grants', (SELECT string_agg(format('%s to %s%s', privilege_type,
                CASE grantee WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(grantee) END,
                CASE WHEN is_grantable THEN ' with grant option' END), ', ' ORDER BY grantee, privilege_type, is_grantable)
        FROM aclexplode(a.attacl)),
    'comment', (SELECT description FROM pg_description
        WHERE classoid = 'pg_class'::regclass AND objoid = a.attrelid AND objsubid = a.attnum)
), rel.oid
FROM rel JOIN pg_attribute a ON a.attrelid = rel.oid AND a.attnum > 0 AND NOT a.attisdropped
JOIN pg_type t ON t.oid = a.atttypid
LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE rel.relkind IN ('r', 'p', 'v', 'm', 'f', 'c')

UNION ALL
SELECT 'constraint', format('%I on %s', con.conname, rel.name), rel.kind || ' ' || rel.name, jsonb_build_object(
    'definition', pg_get_constraintdef(con.oid),
    'inherited', CASE WHEN con.coninhcount > 0 THEN format('%s time(s)%s', con.coninhcount, CASE WHEN con.conislocal THEN ', also local' END) END,
    'disabled triggers', (SELECT string_agg(tgenabled::text, '' ORDER BY tgenabled) FROM pg_trigger
        WHERE tgconstraint = con.oid AND tgisinternal AND tgenabled <> 'O'),
    'comment', (SELECT description FROM pg_description WHERE classoid = 'pg_constraint'::regclass AND objoid = con.oid)
), rel.oid
FROM rel JOIN pg_constraint con ON con.conrelid = rel.oid
WHERE con.contype IN ('c', 'f', 'p', 'u', 'x') AND NOT (con.contype = 'f' AND con.conparentid <> 0)

UNION ALL
-- From version 18 NOT NULL is a constraint. Its column says that it is there, its name keeps the table's former one:
-- only what is unusual about it is compared.
SELECT 'not null constraint', format('%s.%I', rel.name, a.attname), format('column %s.%I', rel.name, a.attname), jsonb_build_object(
    'valid', CASE WHEN NOT con.convalidated THEN 'no' END,
    'inherits', CASE WHEN con.connoinherit THEN 'no' END
), rel.oid
FROM rel JOIN pg_constraint con ON con.conrelid = rel.oid AND con.contype = 'n' AND (NOT con.convalidated OR con.connoinherit)
JOIN pg_attribute a ON a.attrelid = rel.oid AND a.attnum = con.conkey[1]

UNION ALL
SELECT 'index', rel.name,
    coalesce('constraint ' || quote_ident(con.conname) || ' on ' || tab.name, tab.kind || ' ' || tab.name), jsonb_build_object(
    'definition', pg_get_indexdef(rel.oid),
    'valid', CASE WHEN NOT (i.indisvalid AND i.indisready AND i.indislive) THEN 'no' END,
    'clustered', CASE WHEN i.indisclustered THEN 'yes' END,
    'replica identity', CASE WHEN i.indisreplident THEN 'yes' END,
    'attached to', (SELECT inhparent::regclass::text FROM pg_inherits WHERE inhrelid = rel.oid),
    'tablespace', (SELECT spcname FROM pg_tablespace WHERE oid = rel.reltablespace),
    'statistics targets', (SELECT string_agg(format('%s: %s', attnum, attstattarget), ', ' ORDER BY attnum) FROM pg_attribute
        WHERE attrelid = rel.oid AND coalesce(attstattarget, -1) <> -1),
    'comment', (SELECT description FROM pg_description WHERE classoid = 'pg_class'::regclass AND objoid = rel.oid)
), tab.oid
FROM rel JOIN pg_index i ON i.indexrelid = rel.oid JOIN rel tab ON tab.oid = i.indrelid
LEFT JOIN pg_constraint con ON con.conindid = rel.oid AND con.contype IN ('p', 'u', 'x')
WHERE rel.relkind IN ('i', 'I')

UNION ALL
SELECT 'trigger', format('%I on %s', tg.tgname, rel.name), rel.kind || ' ' || rel.name, jsonb_build_object(
    'definition', pg_get_triggerdef(tg.oid),
    'enabled', CASE tg.tgenabled WHEN 'D' THEN 'disabled' WHEN 'R' THEN 'replica' WHEN 'A' THEN 'always' END,
    'comment', (SELECT description FROM pg_description WHERE classoid = 'pg_trigger'::regclass AND objoid = tg.oid)
), rel.oid
FROM rel JOIN pg_trigger tg ON tg.tgrelid = rel.oid AND NOT tg.tgisinternal

UNION ALL
SELECT 'policy', format('%I on %s', pol.polname, rel.name), rel.kind || ' ' || rel.name, jsonb_build_object(
    'command', pol.polcmd,
    'permissive', CASE WHEN NOT pol.polpermissive THEN 'no' END,
    'roles', (SELECT string_agg(CASE r WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(r) END, ', ' ORDER BY r) FROM unnest(pol.polroles) r),
    'using', pg_get_expr(pol.polqual, pol.polrelid),
    'with check', pg_get_expr(pol.polwithcheck, pol.polrelid),
    'comment', (SELECT description FROM pg_description WHERE classoid = 'pg_policy'::regclass AND objoid = pol.oid)
), rel.oid
FROM rel JOIN pg_policy pol ON pol.polrelid = rel.oid

UNION ALL
SELECT 'rule', format('%I on %s', ru.rulename, rel.name), rel.kind || ' ' || rel.name, jsonb_build_object(
    'definition', pg_get_ruledef(ru.oid),
    'enabled', nullif(ru.ev_enabled, 'O'),
    'comment', (SELECT description FROM pg_description WHERE classoid = 'pg_rewrite'::regclass AND objoid = ru.oid)
), rel.oid
FROM rel JOIN pg_rewrite ru ON ru.ev_class = rel.oid AND ru.rulename <> '_RETURN'

UNION ALL
SELECT 'statistics', ns.prefix || quote_ident(s.stxname), rel.kind || ' ' || rel.name, jsonb_build_object(
    'definition', pg_get_statisticsobjdef(s.oid),
    'target', nullif(s.stxstattarget, -1),
    'owner', pg_get_userbyid(s.stxowner),
    'comment', (SELECT description FROM pg_description WHERE classoid = 'pg_statistic_ext'::regclass AND objoid = s.oid)
), rel.oid
FROM pg_statistic_ext s JOIN ns ON ns.oid = s.stxnamespace JOIN rel ON rel.oid = s.stxrelid
