-- Trigram indexes for the name searches. Everything else is plain PostgreSQL.
CREATE EXTENSION pg_trgm;

CREATE FUNCTION touch_updated_at() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    NEW.updated_at := now();
    RETURN NEW;
END
$$;

COMMENT ON FUNCTION touch_updated_at() IS 'row trigger: sets updated_at on every update';

-- LIKE + ATTACH takes SHARE UPDATE EXCLUSIVE on the parent, where CREATE TABLE .. PARTITION OF would take
-- ACCESS EXCLUSIVE and stop every reader. No default partition is made: with one, later partitions have to scan it
-- under ACCESS EXCLUSIVE, and DETACH CONCURRENTLY is refused.
-- Foreign keys make ATTACH take SHARE ROW EXCLUSIVE on the tables they refer to, and their writers wait for the end of
-- the transaction: keep it short where others work.
CREATE FUNCTION create_month_partitions(parent regclass, first_month date, months int) RETURNS int
LANGUAGE plpgsql AS $$
DECLARE
    parent_schema name;
    parent_name name;
    month timestamp;
    child_name name;
    child regclass;
    created int := 0;
BEGIN
    SELECT n.nspname, c.relname INTO parent_schema, parent_name
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.oid = parent AND c.relkind = 'p';
    IF NOT FOUND THEN
        RAISE EXCEPTION '% is not a partitioned table', parent USING ERRCODE = 'wrong_object_type';
    END IF;

    -- Two callers at once: the second waits here, then finds the work done.
    EXECUTE format('LOCK TABLE %I.%I IN SHARE UPDATE EXCLUSIVE MODE', parent_schema, parent_name);

    FOR i IN 0 .. months - 1 LOOP
        month := date_trunc('month', first_month::timestamp) + make_interval(months => i);
        child_name := parent_name || to_char(month, '_YYYY_MM');
        child := to_regclass(format('%I.%I', parent_schema, child_name));
        IF child IS NULL THEN
            EXECUTE format('CREATE TABLE %I.%I (LIKE %I.%I INCLUDING ALL EXCLUDING IDENTITY)',
                parent_schema, child_name, parent_schema, parent_name);
            -- Bounds are in UTC whatever the session's time zone is.
            EXECUTE format('ALTER TABLE %I.%I ATTACH PARTITION %I.%I FOR VALUES FROM (%L) TO (%L)',
                parent_schema, parent_name, parent_schema, child_name,
                to_char(month, 'YYYY-MM-DD HH24:MI:SS+00'),
                to_char(month + interval '1 month', 'YYYY-MM-DD HH24:MI:SS+00'));
            created := created + 1;
        ELSIF NOT EXISTS (
            SELECT FROM pg_catalog.pg_inherits h WHERE h.inhrelid = child AND h.inhparent = parent
        ) THEN
            RAISE EXCEPTION '% exists and is not a partition of %', child, parent
                USING ERRCODE = 'duplicate_table';
        END IF;
    END LOOP;
    RETURN created;
END
$$;

COMMENT ON FUNCTION create_month_partitions(regclass, date, int) IS
    'creates the missing monthly partitions (UTC months) of a table partitioned by a timestamptz; returns how many';
