CREATE INDEX CONCURRENTLY events_correlation_idx ON events (correlation_id, created_at);
