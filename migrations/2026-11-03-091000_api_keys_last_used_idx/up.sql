CREATE INDEX CONCURRENTLY api_keys_last_used_idx ON api_keys (last_used_at DESC)
    WHERE revoked_at IS NULL AND last_used_at IS NOT NULL;
