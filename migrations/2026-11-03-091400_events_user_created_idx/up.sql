CREATE INDEX CONCURRENTLY events_user_created_idx ON events (user_id, created_at DESC)
    WHERE user_id IS NOT NULL;
