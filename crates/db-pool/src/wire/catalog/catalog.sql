-- What the text of a statement may name, as far as its session is concerned:
--   f NAME  a function of pg_catalog that changes nothing of the session and runs no text that it is given
--   c NAME  a function of pg_catalog that does
--   k NAME  a key word that is no function's name without quotes, whatever follows it
--   t NAME  a key word that is an operator where an operand goes before it, and may be a function's name elsewhere
-- The example `catalog` runs this on servers of each version; a test compares its result with the server at hand.
WITH changing (pattern) AS (
    VALUES
        -- Settings, the seed of random numbers, what currval and lastval return.
        ('set\_config'), ('setseed'), ('nextval'), ('setval'),
        -- Locks that the end of the transaction does not free.
        ('pg\_advisory\_lock%'), ('pg\_try\_advisory\_lock%'),
        -- They run the text of a query that they are given.
        ('query\_to\_xml%'), ('cursor\_to\_xml%'), ('ts\_stat'), ('ts\_rewrite'),
        -- Slots, backups and origins belong to the session; decoding loads a library into it.
        ('pg\_create\_%\_replication\_slot'), ('pg\_copy\_%\_replication\_slot'), ('pg\_logical\_slot\_%'),
        ('pg\_replication\_slot\_advance'), ('pg\_sync\_replication\_slots'), ('pg\_backup\_%'), ('pg\_start\_backup'),
        ('pg\_stop\_backup'), ('pg\_replication\_origin\_session\_%'), ('pg\_replication\_origin\_xact\_%'),
        -- For pg_upgrade and initdb: they set what the backend does next.
        ('binary\_upgrade\_%'), ('pg\_stop\_making\_pinned\_objects')
)
SELECT DISTINCT
    CASE WHEN EXISTS (SELECT FROM changing WHERE proname LIKE pattern) THEN 'c ' ELSE 'f ' END || proname AS line
FROM pg_catalog.pg_proc AS p
WHERE pronamespace = 'pg_catalog'::regnamespace
    AND p.oid < 16384
    AND prokind <> 'p'
    -- The handlers of a language belong to its extension.
    AND NOT EXISTS (
        SELECT FROM pg_catalog.pg_depend AS d
        WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
    )
    -- Nobody can call what takes an internal value; but TABLESAMPLE names such functions.
    AND (NOT 'internal'::regtype = ANY (proargtypes) OR prorettype = 'tsm_handler'::regtype)
    AND prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype)
UNION ALL
SELECT CASE catcode WHEN 'T' THEN 't ' ELSE 'k ' END || word
FROM pg_catalog.pg_get_keywords()
WHERE catcode IN ('C', 'R', 'T')
