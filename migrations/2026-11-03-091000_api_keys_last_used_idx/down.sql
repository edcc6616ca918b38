DROP INDEX CONCURRENTLY api_keys_last_used_idx;
