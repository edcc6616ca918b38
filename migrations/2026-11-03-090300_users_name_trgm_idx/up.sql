-- No pending list: names change rarely, and a long list (after a bulk load) costs every search until the next vacuum.
CREATE INDEX CONCURRENTLY users_name_trgm_idx ON users USING gin (name gin_trgm_ops) WITH (fastupdate = off)
    WHERE deleted_at IS NULL;
