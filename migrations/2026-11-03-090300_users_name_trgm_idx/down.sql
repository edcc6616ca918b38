DROP INDEX CONCURRENTLY users_name_trgm_idx;
