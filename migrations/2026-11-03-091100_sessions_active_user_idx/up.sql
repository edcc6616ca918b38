CREATE INDEX CONCURRENTLY sessions_active_user_idx ON sessions (user_id, expires_at DESC)
    WHERE revoked_at IS NULL;
