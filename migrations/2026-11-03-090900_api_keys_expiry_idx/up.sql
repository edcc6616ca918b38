CREATE INDEX CONCURRENTLY api_keys_expiry_idx ON api_keys (expires_at)
    WHERE revoked_at IS NULL AND expires_at IS NOT NULL;
