CREATE INDEX CONCURRENTLY events_unprocessed_idx ON events (created_at)
    WHERE NOT processed AND retry_count < 5;
