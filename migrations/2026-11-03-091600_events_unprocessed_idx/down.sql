DROP INDEX CONCURRENTLY events_unprocessed_idx;
