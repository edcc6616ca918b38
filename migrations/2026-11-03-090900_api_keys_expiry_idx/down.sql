DROP INDEX CONCURRENTLY api_keys_expiry_idx;
