CREATE INDEX CONCURRENTLY users_active_login_idx ON users (last_login_at DESC)
    WHERE status = 'active' AND deleted_at IS NULL AND last_login_at IS NOT NULL;
