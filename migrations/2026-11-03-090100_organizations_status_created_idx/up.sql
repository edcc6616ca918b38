CREATE INDEX CONCURRENTLY organizations_status_created_idx ON organizations (status, created_at DESC)
    WHERE deleted_at IS NULL;
