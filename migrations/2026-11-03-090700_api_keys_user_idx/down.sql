DROP INDEX CONCURRENTLY api_keys_user_idx;
