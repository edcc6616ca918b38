CREATE INDEX CONCURRENTLY events_type_created_idx ON events (event_type, created_at DESC);
