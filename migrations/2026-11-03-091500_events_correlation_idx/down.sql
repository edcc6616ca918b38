DROP INDEX CONCURRENTLY events_correlation_idx;
