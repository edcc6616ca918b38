CREATE INDEX CONCURRENTLY events_organization_created_idx ON events (organization_id, created_at DESC);
