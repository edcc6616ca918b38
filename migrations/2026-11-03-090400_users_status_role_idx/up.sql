CREATE INDEX CONCURRENTLY users_status_role_idx ON users (status, role, created_at DESC)
    WHERE deleted_at IS NULL;
