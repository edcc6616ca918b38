CREATE INDEX CONCURRENTLY api_keys_organization_idx ON api_keys (organization_id, created_at DESC);
