CREATE INDEX CONCURRENTLY organizations_created_idx ON organizations (created_at DESC)
    WHERE deleted_at IS NULL;
