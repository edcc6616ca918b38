SELECT CASE typ.typtype WHEN 'e' THEN 'enum' WHEN 'd' THEN 'domain' WHEN 'r' THEN 'range type' ELSE 'base type' END,
    typ.name, NULL::text, jsonb_build_object(
    'owner', pg_get_userbyid(typ.typowner),
    'values', (SELECT string_agg(quote_literal(enumlabel), ', ' ORDER BY enumsortorder) FROM pg_enum WHERE enumtypid = typ.oid),
    'base type', CASE WHEN typ.typtype = 'd' THEN format_type(typ.typbasetype, typ.typtypmod) END,
    'not null', CASE WHEN typ.typnotnull THEN 'yes' END,
    'default', typ.typdefault,
    'collation', CASE WHEN typ.typtype = 'd' AND typ.typcollation <> 0 THEN typ.typcollation::regcollation::text END,
    'range', (SELECT format('of %s, operator class %s, collation %s, canonical %s, difference %s', format_type(rngsubtype, NULL),
            opcname, rngcollation::regcollation, rngcanonical, rngsubdiff)
        FROM pg_range JOIN pg_opclass o ON o.oid = rngsubopc WHERE rngtypid = typ.oid),
    'functions', CASE WHEN typ.typtype = 'b' THEN concat_ws(', ', typ.typinput, typ.typoutput, typ.typlen, typ.typalign, typ.typstorage) END,
    'grants', (SELECT string_agg(format('%s to %s%s', privilege_type,
                CASE grantee WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(grantee) END,
                CASE WHEN is_grantable THEN ' with grant option' END), ', ' ORDER BY grantee, privilege_type, is_grantable)
        FROM aclexplode(coalesce(typ.typacl, acldefault('T', typ.typowner)))),
    'comment', (SELECT description FROM pg_description WHERE classoid = 'pg_type'::regclass AND objoid = typ.oid)
)
FROM typ WHERE typ.typtype IN ('e', 'd', 'r')
    OR (typ.typtype = 'b' AND NOT EXISTS (SELECT FROM pg_type element WHERE element.typarray = typ.oid))

UNION ALL
SELECT 'constraint', format('%I on domain %s', con.conname, typ.name), 'domain ' || typ.name, jsonb_build_object(
    'definition', pg_get_constraintdef(con.oid),
    'comment', (SELECT description FROM pg_description WHERE classoid = 'pg_constraint'::regclass AND objoid = con.oid)
)
FROM pg_constraint con JOIN typ ON typ.oid = con.contypid WHERE con.contype = 'c'

UNION ALL
SELECT CASE p.prokind WHEN 'p' THEN 'procedure' WHEN 'a' THEN 'aggregate' WHEN 'w' THEN 'window function' ELSE 'function' END,
    format('%s%I(%s)', ns.prefix, p.proname, pg_get_function_identity_arguments(p.oid)), NULL, jsonb_build_object(
    'definition', CASE WHEN p.prokind <> 'a' THEN pg_get_functiondef(p.oid) END,
    'aggregate', (SELECT concat_ws(', ', a.aggkind, a.aggnumdirectargs, a.aggtransfn, a.aggfinalfn, a.aggcombinefn, a.aggserialfn,
            a.aggdeserialfn, a.aggmtransfn, a.aggminvtransfn, a.aggmfinalfn, a.aggfinalextra, a.aggfinalmodify,
            a.aggsortop::regoper, a.aggtranstype::regtype, a.aggtransspace, a.agginitval, a.aggminitval, p.proparallel)
        FROM pg_aggregate a WHERE a.aggfnoid = p.oid),
    'owner', pg_get_userbyid(p.proowner),
    'grants', (SELECT string_agg(format('%s to %s%s', privilege_type,
                CASE grantee WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(grantee) END,
                CASE WHEN is_grantable THEN ' with grant option' END), ', ' ORDER BY grantee, privilege_type, is_grantable)
        FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner)))),
    'comment', (SELECT description FROM pg_description WHERE classoid = 'pg_proc'::regclass AND objoid = p.oid)
)
FROM pg_proc p JOIN ns ON ns.oid = p.pronamespace
WHERE p.oid NOT IN (SELECT objid FROM member WHERE classid = 'pg_proc'::regclass)
    -- A range type makes its own constructors.
    AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'i')

UNION ALL
SELECT 'cast', format('(%s AS %s)', format_type(castsource, NULL), format_type(casttarget, NULL)), NULL, jsonb_build_object(
    'function', nullif(castfunc, 0)::regprocedure::text, 'context', castcontext, 'method', castmethod,
    'comment', (SELECT description FROM pg_description WHERE classoid = 'pg_cast'::regclass AND objoid = pg_cast.oid)
)
FROM pg_cast WHERE oid >= 16384 AND oid NOT IN (SELECT objid FROM member WHERE classid = 'pg_cast'::regclass)

UNION ALL
SELECT 'operator', o.oid::regoperator::text, NULL, jsonb_build_object(
    'function', o.oprcode::text, 'result', format_type(o.oprresult, NULL), 'commutator', nullif(o.oprcom, 0)::regoperator::text,
    'negator', nullif(o.oprnegate, 0)::regoperator::text, 'restrict', nullif(o.oprrest, 0)::text, 'join', nullif(o.oprjoin, 0)::text,
    'merges', o.oprcanmerge, 'hashes', o.oprcanhash, 'owner', pg_get_userbyid(o.oprowner),
    'comment', (SELECT description FROM pg_description WHERE classoid = 'pg_operator'::regclass AND objoid = o.oid)
)
FROM pg_operator o JOIN ns ON ns.oid = o.oprnamespace
WHERE o.oid NOT IN (SELECT objid FROM member WHERE classid = 'pg_operator'::regclass)

UNION ALL
SELECT 'operator class', format('%s%I using %s', ns.prefix, o.opcname, am.amname), NULL, jsonb_build_object(
    'type', format_type(o.opcintype, NULL), 'stores', nullif(o.opckeytype, 0)::regtype::text, 'default', o.opcdefault,
    'operators', (SELECT string_agg(format('%s %s', amopstrategy, amopopr::regoperator), ', ' ORDER BY amopstrategy, amopopr::regoperator::text)
        FROM pg_amop WHERE amopfamily = o.opcfamily),
    'functions', (SELECT string_agg(format('%s %s', amprocnum, amproc::regprocedure), ', ' ORDER BY amprocnum, amproc::regprocedure::text)
        FROM pg_amproc WHERE amprocfamily = o.opcfamily),
    'owner', pg_get_userbyid(o.opcowner)
)
FROM pg_opclass o JOIN ns ON ns.oid = o.opcnamespace JOIN pg_am am ON am.oid = o.opcmethod
WHERE o.oid NOT IN (SELECT objid FROM member WHERE classid = 'pg_opclass'::regclass)

UNION ALL
SELECT 'operator family', format('%s%I using %s', ns.prefix, f.opfname, am.amname), NULL, jsonb_build_object(
    'operators', (SELECT string_agg(format('%s %s', amopstrategy, amopopr::regoperator), ', ' ORDER BY amopstrategy, amopopr::regoperator::text)
        FROM pg_amop WHERE amopfamily = f.oid),
    'functions', (SELECT string_agg(format('%s %s', amprocnum, amproc::regprocedure), ', ' ORDER BY amprocnum, amproc::regprocedure::text)
        FROM pg_amproc WHERE amprocfamily = f.oid),
    'owner', pg_get_userbyid(f.opfowner)
)
FROM pg_opfamily f JOIN ns ON ns.oid = f.opfnamespace JOIN pg_am am ON am.oid = f.opfmethod
WHERE f.oid NOT IN (SELECT objid FROM member WHERE classid = 'pg_opfamily'::regclass)
    -- One that holds a class is told by it. An empty one does nothing: the server keeps it behind a class that is dropped.
    AND NOT EXISTS (SELECT FROM pg_opclass o WHERE o.opcfamily = f.oid)
    AND (EXISTS (SELECT FROM pg_amop WHERE amopfamily = f.oid) OR EXISTS (SELECT FROM pg_amproc WHERE amprocfamily = f.oid))
