DROP INDEX CONCURRENTLY users_status_role_idx;
