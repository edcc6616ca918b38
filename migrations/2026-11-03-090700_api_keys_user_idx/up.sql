CREATE INDEX CONCURRENTLY api_keys_user_idx ON api_keys (user_id, created_at DESC);
